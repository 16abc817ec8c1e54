"""Files are written whole or not at all, on a disk that is full and by every part of nova0."""

from __future__ import annotations

import ast
import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nova0 import atomic_file

ROOT = Path(__file__).parents[2]

# (file, function) -> why it may write by itself. Everything else goes through nova0.atomic_file.
ALLOWED = {
    ("nova0/mesh/keys.py", "only_one"): "a lock: holds nothing",
    ("nova0/mesh/tokens.py", "FileTokenBook._open"): "a lock: holds nothing",
    ("nova0/mesh/identity.py", "_writing"): "a lock: holds nothing",
    ("nova0/mesh/journal.py", "Journal._rewritten"): "opens what Journal._write appends to",
    ("nova0/mesh/journal.py", "Journal._write"): "an append: a write cut short is an error, and is cut back",
    ("nova0/mesh/streams/files.py", "_open_alone"): "a download: blocks are verified, and written by contents.keep",
    ("nova0/mesh/streams/contents.py", "keep"): "a download: its own full-write loop",
    ("nova0/mesh/streams/files.py", "_settle"): "a download's rename after fsync",
    ("nova0/mesh/stalls.py", "Stalls._look"): "standard error, from a thread that may take no lock",
    ("nova0/controller/db/store.py", "Store.__init__"): "an empty file with its mode; SQLite writes it",
    ("nova0/controller/image/storage.py", "receive"): "an upload: streamed by write_all, removed on failure",
    ("nova0/controller/image/storage.py", "_receive"): "an upload's rename after fsync",
    ("nova0/mesh/identity.py", "_finish_switch"): "moves a key that was written whole",
    ("nova0/mesh/rotation.py", "Rotation.order"): "moves a key that was written whole",
    ("nova0/mesh/joining.py", "_set_aside_if_put_out"): "moves files aside",
    ("nova0/host/compute/records.py", "Records._set_aside"): "moves a file aside",
    ("nova0/controller/db/witness.py", "want_new"): "moves files aside",
    ("nova0/host/disk/overlay.py", "make"): "renames what qemu-img wrote",
    ("nova0/controller/scheduler/host_book.py", "HostBook._take"): "no file: columns in memory",
    ("nova0/cli/clouds.py", "merge"): "YAML into memory",
    ("nova0/cli/main.py", "_main"): "/dev/null",
    ("nova0/cli/tunnel.py", "_write"): "standard output, with its own full-write loop",
    ("nova0/cli/start.py", "start"): "a log that children write",
    ("nova0/cli/supervise.py", "Child.start"): "a log that children write",
    ("nova0/cli/supervise.py", "Child._look_at_loop"): "a line in a log",
    ("nova0/cli/supervise.py", "_say"): "a line in a log",
    ("nova0/log.py", "_File._open"): "a log: lines appended",
    ("nova0/log.py", "turn_over"): "renames logs",
    ("agents/watchdog.py", "_beat"): "a pipe",
    ("nova0/cli/commands/mesh_graph.py", "draw"): "renames what Graphviz wrote",
    ("nova0/host/virt/libvirt/console_log.py", "trim"): "a log that QEMU writes: cut in place, under its writer",
    ("nova0/host/virt/libvirt/own_daemon.py", "OwnDaemon.start"): "a log that libvirtd writes",
    ("nova0/host/virt/libvirt/kvm_probe.py", "probe"): "a temporary file of one sector, for one run of QEMU",
    ("nova0/host/network/linux.py", "LinuxCarrier.sweep"): "/proc/sys",
    ("nova0/host/network/linux.py", "LinuxCarrier._forward"): "/proc/sys",
    ("nova0/host/network/linux.py", "LinuxCarrier._check"): "/proc/sys",
    ("nova0/host/network/gateway.py", "_set"): "/proc/sys",
    ("nova0/host/image/tiny/build.py", "_build"): "a folder of its own, whose files are renamed when all are there",
    ("nova0/host/image/tiny/build.py", "build"): "a folder of its own",
}  # fmt: skip
METHODS = {"write_bytes", "write_text"}
OS_CALLS = {"write", "writev", "pwrite", "pwritev", "rename", "replace", "sendfile", "copy_file_range"}
SHUTIL_CALLS = {"copyfile", "copy", "copy2", "copyfileobj", "copytree", "move"}
TEMPFILE_CALLS = {"mkstemp", "NamedTemporaryFile", "TemporaryFile", "mkdtemp", "TemporaryDirectory"}


def _writes(call: ast.Call) -> bool:
    """Whether this call opens a file for writing, writes into one, or puts one in another's place."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
    if owner == "os":
        if name == "open":
            return any(flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"))
        return name in OS_CALLS or (name == "fdopen" and _mode_writes(call))
    if owner == "shutil":
        return name in SHUTIL_CALLS
    if owner == "tempfile":
        return name in TEMPFILE_CALLS
    if owner in ("json", "pickle", "yaml"):
        return name == "dump"
    if name in METHODS:
        return True
    if name == "open":
        return _mode_writes(call)
    moves = isinstance(function, ast.Attribute) and name in ("rename", "replace")
    return moves and len(call.args) == 1 and not call.keywords


def _mode_writes(call: ast.Call) -> bool:
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    texts += [k.value.value for k in call.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
    return any(set(text) & set("wax+") and set(text) <= set("rwaxbt+") for text in texts)


def _found() -> dict[tuple[str, str], int]:
    """(file, function) -> a line in which it writes."""
    found = {}
    for folder in ("nova0", "agents"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path == ROOT / "nova0/atomic_file.py":
                continue
            for where, call in _calls(ast.parse(path.read_text())):
                if _writes(call):
                    found[str(path.relative_to(ROOT)), where] = call.lineno
    return found


def _calls(tree: ast.AST, where: tuple[str, ...] = ()):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield ".".join(where), node
        inner = (*where, node.name) if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else where
        yield from _calls(node, inner)


def test_nothing_else_writes_files():
    found = _found()
    assert {f"{file}:{line} {where}" for (file, where), line in found.items() if (file, where) not in ALLOWED} == set()
    assert set(ALLOWED) - set(found) == set(), "these write nothing any more: take them off the list"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_mode_from_the_beginning_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "deep" / "secret"
    atomic_file.write(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    atomic_file.write(path, "two", 0o644)
    assert path.read_text() == "two" and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not atomic_file.create(path, "three") and path.read_text() == "two"
    assert atomic_file.create(tmp_path / "new", "made") and left(tmp_path) == ["deep", "new"]


def test_a_write_cut_short_goes_on_and_at_the_end_of_the_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path, real = tmp_path / "record", os.write
    monkeypatch.setattr(os, "write", lambda number, body: real(number, bytes(body)[:3]))
    atomic_file.write(path, b"0123456789")
    assert path.read_bytes() == b"0123456789"

    room = [4]

    def fills_up(number, body):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= (taken := min(room[0], len(body)))
        return real(number, bytes(body)[:taken])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(OSError) as told:
        atomic_file.write(path, b"abcdefghij")
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(path)
    assert path.read_bytes() == b"0123456789" and left(tmp_path) == ["record"]

    room[0] = 4
    with pytest.raises(OSError):
        atomic_file.append(path, b"a line too long\n")
    assert path.read_bytes() == b"0123456789", "nothing of it is left"


def _limited(program: str, folder: Path, most: int) -> subprocess.CompletedProcess[str]:
    """As a process whose files may have `most` bytes: the kernel takes a part, then says EFBIG."""
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )


def test_a_limit_of_the_kernel_is_an_error_and_the_old_file_stays(tmp_path):
    (tmp_path / "kept").write_bytes(b"old")
    program = """
import sys; from pathlib import Path; from nova0 import atomic_file
try:
    atomic_file.write(Path(sys.argv[1]) / "kept", bytes(10_000))
except OSError as error:
    print(atomic_file.is_full(error), error)
"""
    done = _limited(program, tmp_path, 4096)
    assert done.stdout.startswith("True") and "kept" in done.stdout, done.stderr
    assert (tmp_path / "kept").read_bytes() == b"old" and left(tmp_path) == ["kept"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, for a small tmpfs")
def test_on_a_disk_that_is_full_the_old_file_stays(tmp_path):
    program = """
import sys; from pathlib import Path; from nova0 import atomic_file
folder = Path(sys.argv[1])
atomic_file.write(folder / "kept", b"old")
try:
    atomic_file.write(folder / "kept", bytes(1 << 20))
except OSError as error:
    print(error)
print((folder / "kept").read_bytes(), sorted(p.name for p in folder.iterdir()))
"""
    script = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert "No space left on device" in done.stdout and done.stdout.endswith("b'old' ['kept']\n"), done.stderr
