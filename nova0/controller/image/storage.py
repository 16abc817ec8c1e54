"""Image bytes on disk: taken in by pieces with bounded memory, hashed while they come, whole or not at all.

A file that is being received is locked, not marked in the store: whatever kills its writer frees it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nova0 import atomic_file
from nova0.disk_image import inspection
from nova0.native import offload

LOG = logging.getLogger(__name__)

_BLOCK = 1024 * 1024  # bytes handed to a thread at a time, in and out
_SPARE_BYTES = 64 * 1024 * 1024  # left free for the store, which shares the disk


class UploadBusy(Exception):
    """Somebody else is uploading this image now."""


class StorageFull(Exception):
    """No room; the message says how much is free. `too_large`: there is some, only this image needs more."""

    def __init__(self, message: str, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


@dataclass(frozen=True)
class Received:
    """What came, after it was made durable under its final name."""

    size: int
    md5: str
    sha512: str
    virtual_size: int | None


def folder(state_dir: Path) -> Path:
    return state_dir / "images"


def make_folder(state_dir: Path) -> None:
    """Where images are, in files of 0600: not listed by others, but passed through (a host keeps its own below it)."""
    folder(state_dir).mkdir(parents=True, exist_ok=True, mode=0o711)
    folder(state_dir).chmod(0o711)


def path(state_dir: Path, image_id: str) -> Path:
    """Where an image's bytes are."""
    return folder(state_dir) / image_id


def remove(state_dir: Path, image_id: str) -> None:
    """Forget an image's bytes; none there is fine."""
    for left in (path(state_dir, image_id), _part(state_dir, image_id)):
        left.unlink(missing_ok=True)


def read(state_dir: Path, image_id: str, offset: int, length: int) -> bytes:
    """Bytes [offset, offset+length), fewer only at the end. Blocking: for a thread."""
    with open(path(state_dir, image_id), "rb") as file:
        return os.pread(file.fileno(), length, offset)


def send(state_dir: Path, image_id: str, start: int, stop: int) -> Iterator[bytes]:
    """Bytes [start, stop) in blocks, each read on a real thread. Opened at once: a later delete does not cut it."""
    file = open(path(state_dir, image_id), "rb")  # noqa: SIM115 - closed by the generator it is given to
    return _blocks(file.fileno(), file.close, start, stop)


def _blocks(descriptor: int, close: Callable[[], None], start: int, stop: int) -> Iterator[bytes]:
    try:
        while start < stop:
            block = offload(os.pread, descriptor, min(_BLOCK, stop - start), start)
            if not block:
                raise OSError(errno.EIO, "the image file is shorter than it was")
            start += len(block)
            yield block
    finally:
        close()


def _part(state_dir: Path, image_id: str) -> Path:
    return folder(state_dir) / f"{image_id}.part"


def receive(
    state_dir: Path,
    image_id: str,
    pieces: Iterable[bytes],
    declared: str,
    length: int | None,
    *,
    begin: Callable[[], object],
    done: Callable[[Received], None],
) -> None:
    """Take in an image. `begin` and `done` run while the image is locked for this upload alone: `begin` raises
    where it has bytes already, `done` records them.

    Nothing is left when this raises: UploadBusy, StorageFull, layout.BadFormat, or whatever `pieces` (the
    sender stopped), `begin` or `done` raise.
    """
    make_folder(state_dir)
    _check_room(state_dir, length)
    part = _part(state_dir, image_id)
    descriptor = os.open(part, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadBusy(image_id) from None
        if not _is_still(part, descriptor):  # another upload ended between our open and our lock
            raise UploadBusy(image_id)
        try:
            begin()
            os.ftruncate(descriptor, 0)
            received = _receive(state_dir, image_id, descriptor, pieces, declared)
            try:
                done(received)
            except BaseException:
                path(state_dir, image_id).unlink(missing_ok=True)
                raise
        except OSError as error:
            if atomic_file.is_full(error):
                raise _full(state_dir, error) from None
            raise
        finally:
            part.unlink(missing_ok=True)  # gone already when it was given its final name
    finally:
        os.close(descriptor)


def _is_still(part: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(part), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _receive(state_dir: Path, image_id: str, descriptor: int, pieces: Iterable[bytes], declared: str) -> Received:
    sink = _Sink(descriptor)
    for block in _gathered(pieces):
        offload(sink.take, block)
    virtual_size = inspection.inspect(descriptor, declared)
    offload(os.fsync, descriptor)
    os.rename(_part(state_dir, image_id), path(state_dir, image_id))
    offload(atomic_file.sync_folder, folder(state_dir))
    return Received(sink.size, sink.md5.hexdigest(), sink.sha512.hexdigest(), virtual_size)


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces joined, so that a slow sender does not cost a thread switch each."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= _BLOCK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


class _Sink:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.md5 = hashlib.md5(usedforsecurity=False)  # the field's `checksum`; trust rests on sha512
        self.sha512 = hashlib.sha512()
        self.size = 0

    def take(self, block: bytes) -> None:
        self.md5.update(block)
        self.sha512.update(block)
        self.size += len(block)
        atomic_file.write_all(self._descriptor, block)


def _check_room(state_dir: Path, length: int | None) -> None:
    free = shutil.disk_usage(folder(state_dir)).free - _SPARE_BYTES
    if free < (length or 1):
        raise _full(state_dir, too_large=free > 0)


def _full(state_dir: Path, error: OSError | None = None, too_large: bool = False) -> StorageFull:
    free = max(0, shutil.disk_usage(folder(state_dir)).free - _SPARE_BYTES)
    LOG.error("images: %s takes no more bytes: %s (%d bytes free)", folder(state_dir), error or "too little room", free)
    return StorageFull(
        f"The controller's image storage takes no more bytes: {free / 2**30:.1f} GiB are free there. Nothing was kept: "
        "delete images, or have the operator free space or give state_path a larger disk; then upload it again.",
        too_large,
    )
