"""Images on this host: fetched once, from whoever has them, verified before first use, offered to other hosts,
removed when long unused.

Knows files and the images agent; nothing of instances, disks or hypervisors may enter.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from gevent.event import AsyncResult, Event

from nova0 import atomic_file, clock
from nova0.disk_image import inspection
from nova0.disk_image.layout import BadFormat
from nova0.host.disk import ownership
from nova0.host.disk.ownership import Owner
from nova0.mesh.bus import Bus
from nova0.mesh.errors import Busy, CallTimeout, FileIncomplete, MeshError, Unreachable
from nova0.mesh.streams.files import Files
from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.surface import CONTROLLER, HOST
from nova0.native import offload
from nova0.objects.errors import ImageUnusable, NoSpace
from nova0.objects.image import ImageHolders, ImageRef
from nova0.rpcapi.images import ImagesAPI

LOG = logging.getLogger(__name__)
GIB = 1024**3
CONTAINERS = {"bare", "ami", "aki", "ari"}  # nothing around the bytes
FORMATS = {"raw", "qcow2", "aki", "ari"}  # aki, ari: the field's names for a kernel and a ramdisk
PATIENCE_S = 120.0  # with everybody it could come from, since the last bytes that came
WATCH_S = 1.0  # who waits looks at least so often whether it is still wanted
BETWEEN_S = 1.0  # between attempts to ask the controller
MOST_HOLDERS = 16  # of one image, named to one host
READ = 1 << 20  # bytes hashed at a time
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.part)?")

Progress = Callable[[int], None]  # percent


def sweep(directory: Path) -> list[str]:
    """Remove the images of a cache that nobody uses any more; other files, and a folder that has some, stay. A line for
    what was removed. Raises OSError."""
    images = [path for path in directory.iterdir() if _ID.fullmatch(path.name) and path.is_file()]
    for path in images:
        path.unlink()
    return [f"{len(images)} cached images in {directory}"] if images else []


class ImageCache:
    """`directory` holds <image id> (verified) and <image id>.part (coming in). `images` gives the stub to
    ask; `patience_s` bounds how long it is asked again while nothing comes."""

    def __init__(
        self, bus: Bus, directory: Path, images: Callable[[], ImagesAPI], patience_s: float = PATIENCE_S
    ) -> None:
        self.host, self.directory, self._images, self._patience_s = bus.host, directory, images, patience_s
        self._files = Files(bus)
        self._coming: dict[str, _Download] = {}
        self._aged_at = clock.moment()

    def open(self, owner: Owner | None = None) -> None:
        """`owner`: the hypervisor's user, who alone reads what is here; default: ours. Raises OSError."""
        self._owner = owner or ownership.ours()
        self._owner.everything(self.directory)
        self._owner.folder(self.directory)

    def fetch(self, image: ImageRef, progress: Progress = lambda percent: None) -> Path:
        """The verified file of the image; several that want it wait for one download. `progress` is called
        by each waiter for itself, at least every WATCH_S; what it raises ends that wait, not the download.
        Raises ImageUnusable, NoSpace."""
        self._check_name_and_format(image)
        path = self.directory / image.id
        if path.exists() and path.stat().st_size == image.size:
            _touch(path)  # its age counts from here
            progress(100)
            return path
        coming = self._coming.get(image.id)
        if coming is None:
            coming = self._coming[image.id] = _Download()
            gevent.spawn(self._bring, image, path, coming)
        while not coming.done.ready():
            progress(coming.percent)
            coming.moved.wait(WATCH_S)
        coming.done.get()
        progress(100)
        return path

    def offer(self, image_id: str, digest: bytes, peer: str) -> Ticket:
        """Leave for node `peer` to fetch an image that is here. Raises ImageUnusable where it is not, or another."""
        path = self.directory / image_id
        if not _SAFE.fullmatch(image_id) or path.suffix == ".part" or not path.exists():
            raise ImageUnusable(f"{self.host}: image {image_id} is not here")
        _touch(path)  # not removed while others want it
        offer = self._files.offer(path, peer=peer)
        if offer.digest != digest:
            raise ImageUnusable(f"{self.host}: image {image_id} is another one here")
        return offer.ticket

    def age(self, used: set[str], unused_s: float) -> list[str]:
        """Remove images (and leftovers of downloads) that nobody uses and that were not asked for within
        `unused_s`; returns what was removed."""
        removed: list[str] = []
        moved, self._aged_at = clock.jumped_s(self._aged_at), clock.moment()
        if moved:  # ages tell nothing now: they begin anew
            LOG.warning("%s: image cache: not cleaned: this host's clock was moved by %+.0f s", self.host, moved)
            for path in self.directory.iterdir():
                _touch(path)
            return removed
        for path in sorted(self.directory.iterdir()):
            image_id = path.name.removesuffix(".part")
            idle = image_id not in self._coming and (path.suffix == ".part" or image_id not in used)
            try:
                if idle and time.time() - max(path.stat().st_atime, path.stat().st_mtime) > unused_s:
                    path.unlink()
                    removed.append(path.name)
            except OSError as error:
                LOG.warning("%s: image cache: %s not removed: %s", self.host, path, error)
        return removed

    def _check_name_and_format(self, image: ImageRef) -> None:
        if not _SAFE.fullmatch(image.id):
            raise ImageUnusable(f"{self.host}: image id {image.id!r} cannot name a file: register it under another id")
        if image.disk_format not in FORMATS:
            raise ImageUnusable(
                f"{self.host}: image {image.name} has disk format {image.disk_format}, which this host cannot boot: "
                f"convert it to qcow2 or raw (qemu-img convert) and upload that"
            )
        if image.container_format not in CONTAINERS:
            raise ImageUnusable(
                f"{self.host}: image {image.name} has container format {image.container_format}, which this host "
                "cannot boot: upload the disk that is in it, with container_format bare"
            )

    def _bring(self, image: ImageRef, path: Path, coming: _Download) -> None:
        """The download's own greenlet: nobody who waits can take it from the others."""
        try:
            self._download(image, path, coming)
        except Exception as error:
            if atomic_file.is_full(error):
                path.with_name(path.name + ".part").unlink(missing_ok=True)  # others need its room
                error = self._no_space(image, image.size)
            elif not isinstance(error, MeshError):
                LOG.exception("%s: image %s: download failed", self.host, image.id)
                error = ImageUnusable(f"{self.host}: image {image.name}: {error}: check {self.directory}, ask again")
            coming.done.set_exception(error)
        else:
            coming.done.set(None)
        finally:
            del self._coming[image.id]
            coming.moved.set()

    def _download(self, image: ImageRef, path: Path, coming: _Download) -> None:
        part = path.with_name(path.name + ".part")
        have = min(part.stat().st_blocks * 512, image.size) if part.exists() else 0
        self._check_space(image, have)
        held = self._holders(image)
        if held.size != image.size:
            raise ImageUnusable(
                f"{self.host}: image {image.name}: its file on the controller has {held.size} bytes, not "
                f"{image.size}: it is damaged: upload it again"
            )

        def tell(done: int, size: int) -> None:
            coming.tell(100 * done // size if size else 100)

        def check(part: Path) -> None:
            digest = hashlib.sha512()
            offload(_hash_file, part, digest)
            if digest.hexdigest() != image.sha512.lower():
                part.unlink()
                raise ImageUnusable(
                    f"{self.host}: image {image.name} ({image.id}) arrived with another checksum than it was stored "
                    "with: upload it again; the bad copy is removed here"
                )
            self._check_content(image, part)

        if len(held.holders) > MOST_HOLDERS:
            raise ImageUnusable(f"{self.host}: image {image.name}: the controller names {len(held.holders)} holders")
        sources = {holder: partial(self._images().ticket, image.id, holder) for holder in held.holders}
        try:
            self._files.fetch(
                path,
                image.size,
                held.digest,
                sources,
                on_progress=tell,
                check=check,
                patience_s=self._patience_s,
                roles=(CONTROLLER, HOST),
            )
            self._owner.file(path)
        except FileIncomplete as error:
            done = error.data.get("done", 0)
            raise ImageUnusable(
                f"{self.host}: image {image.name}: stopped after {done} of {image.size} bytes: {error}; "
                "what came is kept and continued at the next attempt"
            ) from error

    def _holders(self, image: ImageRef) -> ImageHolders:
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                return self._images().holders(image.id)
            except (Unreachable, CallTimeout, Busy) as error:
                if time.monotonic() >= give_up:
                    raise ImageUnusable(
                        f"{self.host}: image {image.name}: nobody says where it is: {error}: ask again later"
                    ) from error
                gevent.sleep(BETWEEN_S)

    def _check_space(self, image: ImageRef, have: int) -> None:
        if shutil.disk_usage(self.directory).free < image.size - have:
            raise self._no_space(image, image.size - have)

    def _no_space(self, image: ImageRef, needed: int) -> NoSpace:
        free = shutil.disk_usage(self.directory).free
        return NoSpace(
            f"{self.host}: no space for image {image.name} (needs {needed / GIB:.1f} GiB, "
            f"{free / GIB:.1f} free in {self.directory}): free space or set image_cache_dir"
        )

    def _check_content(self, image: ImageRef, part: Path) -> None:
        """The controller looked too, but an image may be of an earlier time, when it saw less."""
        try:
            with open(part, "rb") as file:
                inspection.inspect(file.fileno(), image.disk_format)
        except BadFormat as error:
            part.unlink()
            raise ImageUnusable(f"{self.host}: image {image.name}: {error}") from None


class _Download:
    """One image coming in."""

    def __init__(self) -> None:
        self.done, self.moved, self.percent = AsyncResult(), Event(), 0

    def tell(self, percent: int) -> None:
        if percent != self.percent:
            self.percent = percent
            self.moved.set()
            self.moved.clear()


def _touch(path: Path) -> None:
    """Used now. The time of its content stays: what is known of that stays known."""
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _hash_file(path: Path, digest: Any) -> None:
    with open(path, "rb") as file:
        while block := file.read(READ):
            digest.update(block)
