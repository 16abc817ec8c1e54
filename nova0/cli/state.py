"""The folder of this machine's state: whether it is nova0's, and taking away what is nova0's in it.

Only what nova0 writes there, by name, is ever removed; a folder that others use is neither taken nor removed.
"""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

from nova0 import atomic_file
from nova0.cli.failure import Failure

MARK = ".nova0"
_TEXT = "This folder is nova0's. `nova0 destroy --purge` or `nova0 leave --purge` takes away what nova0 keeps in it.\n"
_ROLE = ("role.*", "leaving.json*", "outside.json*")  # last: by these an interrupted removal is gone on with
OURS = (
    *("run", "log", "mesh", "own", "secrets", "tls", "token.key*", "store.sqlite*"),
    *("images", "build", "instances", "instances-records", "networks", "libvirt", "ssh"),
    *("kvm.json*", "host-options.json*", "fake-guests.*", "fake-networks.*"),
    *_ROLE,
)
_MAY_BE_THERE = ("run", "log", "clouds.yaml", "lost+found")  # in a folder that is taken as new


def is_ours(state_path: Path) -> bool:
    """A folder that nova0 made or took; that of an earlier version is known by what is in it. Raises
    Failure where that is not for this user to see."""
    known = (MARK, "role.json", "mesh/node.cert", "mesh/node.key", "leaving.json")
    try:
        return any((state_path / name).exists() for name in known)
    except PermissionError:
        raise Failure(f"{state_path} is another user's: use sudo, or set NOVA0_STATE_PATH") from None


def is_hosts(state_path: Path) -> bool:
    """Of a joined machine, as its keys tell: it cannot sign for its cluster."""
    return (state_path / "mesh/node.cert").exists() and not (state_path / "mesh/signer.key").exists()


def take(state_path: Path) -> None:
    """Mark a folder as nova0's. Raises Failure for one in which there is something of others, OSError."""
    if not is_ours(state_path):
        others = sorted(path.name for path in state_path.iterdir() if path.name not in _MAY_BE_THERE)
        if others:
            shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            raise Failure(
                f"{state_path} is not nova0's and not empty ({shown}): nothing was written there; set NOVA0_STATE_PATH "
                "to a folder of nova0's own"
            )
    if not (state_path / MARK).exists():
        atomic_file.write(state_path / MARK, _TEXT, 0o644)


def refuse_if_not_ours(state_path: Path) -> None:
    """Before anything is taken away. Raises Failure."""
    if not is_ours(state_path):
        raise Failure(f"{state_path} is not nova0's: nothing was removed; see NOVA0_STATE_PATH and `nova0 config show`")
    mounts = _mounted_below(state_path)
    if mounts:
        raise Failure(f"{mounts[0]} is a mount point: unmount it first; nothing was removed")


def remove(state_path: Path, keep: tuple[str, ...] = ()) -> list[str]:
    """Take away what is nova0's, but for names in `keep`; the folder too, when nothing is left and it is no mount point
    and no link. A link goes, never what it points to. Returns a line for each thing worth telling. Can be repeated when
    it was cut short. Raises OSError."""
    folder = state_path.resolve()
    ours = [path for path in sorted(folder.iterdir()) if _is_any(path.name, OURS) and path.name not in keep]
    for path in sorted(ours, key=lambda path: _is_any(path.name, _ROLE)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if keep:
        return [f"{state_path}, but for {', '.join(name for name in keep if (folder / name).exists()) or 'nothing'}"]
    left = sorted(path.name for path in folder.iterdir() if path.name != MARK)
    (folder / MARK).unlink(missing_ok=True)
    if left:
        return [f"what is nova0's in {state_path}; kept: {', '.join(left[:5])}{', ...' if len(left) > 5 else ''}"]
    if state_path.is_symlink() or os.path.ismount(folder):
        kind = "link" if state_path.is_symlink() else "mount point"
        return [f"what is in {state_path}; the folder stays, it is a {kind}"]
    folder.rmdir()
    return [str(state_path)]


def _is_any(name: str, patterns: tuple[str, ...]) -> bool:
    if name.startswith(".") and name.endswith(".new"):  # left by a write that was killed, as atomic_file names it
        name = name[1:].rsplit(".", 2)[0]
    return any(fnmatch(name, pattern) for pattern in patterns)


def _mounted_below(state_path: Path) -> list[str]:
    folder = str(state_path.resolve())
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    places = [line.split()[4].encode().decode("unicode_escape") for line in lines]  # a space is \040 there
    return sorted(place for place in places if place.startswith(folder.rstrip("/") + "/"))
