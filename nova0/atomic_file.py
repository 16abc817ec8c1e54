"""Files that are written whole or not at all, also on a full disk and through a power cut.

A new file is written beside the old one with its final mode, synced, and renamed over it; whatever goes wrong before
(no space, a write cut short, a disk that fails) is raised as OSError naming the file, the old file stays, and nothing
is left beside it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# What a disk says that takes nothing more: no space, a quota, a file size limit, read-only, failing.
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


def write(path: Path, body: bytes | str, mode: int = 0o600, *, sync: bool = True) -> None:
    """Replace `path`. `sync=False`: for what is made anew at every start, and so need not outlive a power cut.
    Raises OSError; `path` is then as it was."""
    with writing(path, mode, sync=sync) as file:
        write_all(file.fileno(), body.encode() if isinstance(body, str) else body)


def create(path: Path, body: bytes | str, mode: int = 0o600) -> bool:
    """As `write`, where there is no such file yet; False where there is: it stays. Of two processes that start
    together one makes it, whole."""
    with writing(path, mode, replace=False) as file:
        write_all(file.fileno(), body.encode() if isinstance(body, str) else body)
        made = os.fstat(file.fileno())
    return os.path.samestat(made, os.stat(path))


@contextmanager
def writing(path: Path, mode: int = 0o600, *, sync: bool = True, replace: bool = True) -> Iterator[BinaryIO]:
    """An open file that takes the name `path` when the body ends well. For what does not fit into memory, or is
    written by a library; others use `write`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if replace:
            os.rename(temporary, path)
        else:
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            os.unlink(temporary)
    except BaseException as error:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = str(path)
        raise
    if sync:
        sync_folder(path.parent)


def write_all(descriptor: int, body: bytes) -> None:
    """Every byte of it. A disk that takes only some of them says why at the next. Raises OSError."""
    left = memoryview(body)
    while left:
        written = os.write(descriptor, left)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left = left[written:]


def append(path: Path, body: bytes, mode: int = 0o600) -> None:
    """A line more, synced; what could be written of one that did not fit is taken back. One writer at a time.
    Raises OSError; `path` is then as it was."""
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
    try:
        before = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, body)
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, before)
            error.filename = error.filename or str(path)
            raise
    finally:
        os.close(descriptor)
    if new:
        sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock while the body runs; False where another process does. Only its owner may open `path`, for whoever
    opens a file may lock it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """So that a name made or changed in it outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(error: BaseException) -> bool:
    """Whether this is a disk that takes nothing more, and so a matter of the operator's, not of a fault."""
    return isinstance(error, OSError) and error.errno in DISK_ERRORS
