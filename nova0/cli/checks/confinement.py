"""What holds guests in on this machine, and what its other users can see of them."""

from __future__ import annotations

import os
from pathlib import Path

from nova0.cli.checks import OK, WARNING, Finding, Look

_GUEST = b"guest=instance-"  # how libvirt names ours to QEMU
_READ_ONLY = ("run/libvirt/libvirt-sock-ro", "run/libvirt/virtqemud-sock-ro")


def check(look: Look) -> list[Finding]:
    if look.fake:
        return []
    return [*_guests(look), *_sockets(look), *_files(look), *_bounds(look)]


def _guests(look: Look) -> list[Finding]:
    as_root, by_tcp, unbounded, every = 0, 0, 0, 0
    for process in (look.root / "proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if not any(word.startswith(_GUEST) for word in words):
                continue
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
            groups = (process / "cgroup").read_text()
        except OSError:
            continue  # it ended, or is not for this user to look at
        every += 1
        as_root += status.get("Uid", "").split()[:1] == ["0"]
        by_tcp += b"-vnc" in words and not words[words.index(b"-vnc") + 1].startswith((b"unix:", b"vnc=unix:", b"none"))
        unbounded += "/machine" not in groups
    findings = []
    again = "stop and start their servers"
    if as_root:
        found = f"{as_root} guests run as root, from an earlier version"
        findings.append(Finding("guests' user", WARNING, found, again))
    elif every:
        findings.append(Finding("guests' user", OK, f"{every} guests, none as root"))
    if by_tcp:
        found = f"{by_tcp} guests show their screens on a TCP port of this machine, to all of its users"
        findings.append(Finding("screens", WARNING, found, f"{again}, or set libvirt.vnc = false before"))
    if unbounded:
        findings.append(Finding("bounds", WARNING, f"{unbounded} guests are in no control group", again))
    return findings


def _sockets(look: Look) -> list[Finding]:
    places = [look.root / place for place in _READ_ONLY] + [look.state_path / "libvirt/run/libvirt-sock-ro"]
    return [
        Finding(
            "libvirt's socket", WARNING, f"any user of this machine may ask {place} about guests",
            "libvirtd.conf: unix_sock_ro_perms = \"0700\" (with systemd: SocketMode of its socket unit)",
        )
        for place in places
        if _mode(place) & 0o002 and all(_mode(folder) & 0o001 for folder in place.parents)
    ]  # fmt: skip


def _files(look: Look) -> list[Finding]:
    if not all(_mode(folder) & 0o001 for folder in (look.state_path, *look.state_path.parents)):
        return []
    folders = [path for path in _listed(look.state_path / "instances") if _mode(path) & 0o001]
    seen = [path for folder in folders for path in _listed(folder) if path.is_file() and _mode(path) & 0o004]
    if not seen:
        return []
    remedy = "start nova0 anew; stop and start their servers"
    return [Finding("guests' files", WARNING, f"other users of this machine can read {len(seen)} of them", remedy)]


def _bounds(look: Look) -> list[Finding]:
    root = look.root / "sys/fs/cgroup"
    unified = look.text("/sys/fs/cgroup/cgroup.controllers").split()
    has = lambda name: name in unified or (root / name / "cgroup.procs").exists()  # noqa: E731
    missing = [name for name in ("cpu", "memory") if not has(name)]
    if not missing:
        return []
    remedy = "mount them (Debian does); until then a broken guest may take all of it"
    return [Finding("control groups", WARNING, f"none here for {' and '.join(missing)} of guests", remedy)]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _mode(path: Path) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0
