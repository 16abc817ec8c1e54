"""Whose a guest's files are: the hypervisor's user's, and nobody else reads them. All changes of mode and owner of
disks, consoles, config drives and cached images are made here.

Folders are 0700, files 0600. What lies in a guest's folder may have been put there by a hypervisor that its guest broke
out of: links are never followed, and a file with more than one name is left alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

FOLDER, FILE = 0o700, 0o600
PASSAGE = 0o711  # may be passed through, not listed


@dataclass(frozen=True)
class Owner:
    """The user and group the hypervisor runs guests as. Only root can give files away."""

    uid: int
    gid: int

    def folder(self, path: Path) -> None:
        """Make a folder, or take one that is there. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=FOLDER)
        with _opened(path, os.O_DIRECTORY) as descriptor:
            self._take(descriptor, FOLDER)

    def file(self, path: Path) -> None:
        """Make an empty file, or take one that is there. Raises OSError."""
        with _opened(path, os.O_CREAT) as descriptor:
            if _is_a_file(descriptor):
                self._take(descriptor, FILE)

    def everything(self, path: Path) -> None:
        """A folder and all that is in it, made by an earlier version or by another program."""
        if not path.exists():
            return
        self.folder(path)
        for _, folders, files, at in os.fwalk(path):
            for name in folders:
                with contextlib.suppress(OSError), _opened(Path(name), os.O_DIRECTORY, at) as descriptor:
                    self._take(descriptor, FOLDER)
            for name in files:
                with contextlib.suppress(OSError), _opened(Path(name), 0, at) as descriptor:
                    if _is_a_file(descriptor):
                        self._take(descriptor, FILE)

    def _take(self, descriptor: int, mode: int) -> None:
        status = os.fstat(descriptor)
        if os.geteuid() == 0 and (status.st_uid, status.st_gid) != (self.uid, self.gid):
            os.fchown(descriptor, self.uid, self.gid)
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(descriptor, mode)


def ours() -> Owner:
    """This process's own user, as which its hypervisor runs guests where nothing says otherwise."""
    return Owner(os.geteuid(), os.getegid())


def passage(path: Path) -> None:
    """A folder that others pass through and can't list. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True, mode=PASSAGE)
    if stat.S_IMODE(path.stat().st_mode) != PASSAGE:
        path.chmod(PASSAGE)


def close_socket(path: Path) -> bool:
    """Make a UNIX socket its owner's alone; False where there is none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        os.chmod(f"/proc/self/fd/{descriptor}", FILE)
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(path: Path, flags: int, at: int | None = None):  # type: ignore[no-untyped-def]
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, FILE, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_a_file(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
