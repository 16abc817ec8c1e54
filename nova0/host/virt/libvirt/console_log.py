"""A guest's serial log on disk: read from its end, and kept from filling the host.

The folder is the hypervisor's user's: a link that a broken hypervisor left in the log's place is not followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

MOST_BYTES = 4 * 1024 * 1024
KEEP_BYTES = 1024 * 1024


def tail(path: Path, most_bytes: int) -> bytes:
    """The last `most_bytes` of the log; empty where the guest has said nothing yet."""
    if most_bytes <= 0:
        return b""
    try:
        with os.fdopen(_open(path, os.O_RDONLY), "rb") as log:
            end = log.seek(0, 2)
            log.seek(max(0, end - most_bytes))
            return log.read(most_bytes)
    except OSError:
        return b""


def trim(path: Path) -> bool:
    """Cut a log that has grown over MOST_BYTES to its last KEEP_BYTES; returns whether it was cut. The
    writer appends (O_APPEND), so cutting under it is safe; what it says in between may be lost."""
    try:
        if path.lstat().st_size <= MOST_BYTES:
            return False
        kept = tail(path, KEEP_BYTES)
        with os.fdopen(_open(path, os.O_RDWR), "r+b") as log:
            log.truncate(0)
            log.write(kept)
    except OSError:
        return False
    return True


def _open(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise OSError(f"{path} is no file of its own")
    return descriptor
