"""What this host remembers of its instances, on disk before it acts: instance, generation, lease, tombstones.

Written whole by temporary file, fsync and rename, one file an instance; tombstones are lines appended to
one file. No hypervisor and no network may enter.
"""

from __future__ import annotations

import logging
import os
import re
from collections import OrderedDict
from pathlib import Path

import msgspec
from gevent.lock import RLock

from nova0.mesh.errors import BadArguments
from nova0.native import offload
from nova0.objects.errors import DriverError
from nova0.objects.instance import Instance

LOG = logging.getLogger(__name__)

TOMBSTONES = 10_000  # remembered; a call later than so many deletions is past every retry of the mesh
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Record(msgspec.Struct, kw_only=True):
    """One instance this host was asked to hold."""

    instance: Instance
    generation: int  # highest seen
    leased: bool = False  # was started under a granted leave
    run: bool = False  # was last asked to run, for resuming after the machine's own restart
    started_at: float | None = None  # seconds since the epoch, for show

    @property
    def uuid(self) -> str:
        return self.instance.uuid


_decoder = msgspec.json.Decoder(Record)


class Records:
    """`state_dir`/instances-records/<uuid>.json and tombstones. Raises DriverError where the disk refuses."""

    def __init__(self, host: str, state_dir: Path, most_tombstones: int = TOMBSTONES) -> None:
        self.host, self.directory, self._most = host, state_dir / "instances-records", most_tombstones
        self._graves = self.directory / "tombstones"
        self._records: dict[str, Record] = {}
        self._tombstones: OrderedDict[str, int] = OrderedDict()
        self._burying = RLock()  # a line appended while the file is written anew would be lost
        self._lines = 0  # in the tombstones' file, superseded ones included

    def open(self) -> None:
        """Read what an earlier run left. A record that cannot be read is set aside (.unreadable), told in
        the log, and its guest is left to the comparison with the store."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # holds passwords and user data
        for path in self.directory.glob("*.json"):
            try:
                self._records[path.stem] = _decoder.decode(path.read_bytes())
            except (msgspec.DecodeError, OSError) as error:
                LOG.error("%s: record %s cannot be read (%s): set aside as .unreadable", self.host, path.stem, error)
                path.rename(path.with_suffix(".unreadable"))
        if self._graves.exists():
            for line in self._graves.read_text().splitlines():
                uuid, _, generation = line.partition(" ")
                if _UUID.fullmatch(uuid) and generation.isdigit():  # the last line may be torn
                    self._remember(uuid, int(generation))
            self._write(self._graves, self._graves_text())
            self._lines = len(self._tombstones)

    def get(self, uuid: str) -> Record | None:
        return self._records.get(uuid)

    def all(self) -> list[Record]:
        return list(self._records.values())

    def highest(self, uuid: str) -> int:
        """The highest generation this host was told of; 0 for an instance it never met."""
        record = self._records.get(uuid)
        return max(record.generation if record else 0, self._tombstones.get(uuid, 0))

    def buried(self, uuid: str) -> int:
        """The generation at which it was deleted here; 0 when it was not."""
        return self._tombstones.get(uuid, 0)

    def keep(self, record: Record) -> None:
        """On disk when this returns."""
        body = msgspec.json.encode(record)
        self._effect(record.uuid, self._write, self._path(record.uuid), body)
        self._records[record.uuid] = record

    def drop(self, uuid: str) -> None:
        """Forget the record; the tombstone stays."""
        self._path(uuid).unlink(missing_ok=True)
        self._records.pop(uuid, None)

    def bury(self, uuid: str, generation: int) -> None:
        """Leave a tombstone: calls of this and lower generations are refused from now on. On disk when
        this returns; repeating it costs nothing."""
        checked_uuid(uuid)
        with self._burying:
            if self._tombstones.get(uuid, 0) >= generation:
                return
            self._effect(uuid, self._append, f"{uuid} {generation}\n".encode())
            self._remember(uuid, generation)
            self._lines += 1
            if self._lines > 2 * self._most:
                self._effect(uuid, self._write, self._graves, self._graves_text())
                self._lines = len(self._tombstones)

    def keep_file(self, name: str, body: bytes) -> None:
        """What else this host remembers of its instances, whole or as it was. On disk when this returns."""
        try:
            offload(self._write, self.directory / name, body)
        except OSError as error:
            raise DriverError(
                f"{self.host}: {self.directory / name} cannot be written ({error}): free space or mend the file system"
            ) from error

    def _remember(self, uuid: str, generation: int) -> None:
        self._tombstones[uuid] = max(generation, self._tombstones.pop(uuid, 0))
        while len(self._tombstones) > self._most:
            self._tombstones.popitem(last=False)

    def _graves_text(self) -> bytes:
        return "".join(f"{uuid} {generation}\n" for uuid, generation in self._tombstones.items()).encode()

    def _path(self, uuid: str) -> Path:
        return self.directory / f"{checked_uuid(uuid)}.json"

    def _effect(self, uuid: str, write, *args) -> None:
        try:
            offload(write, *args)
        except OSError as error:
            raise DriverError(
                f"{self.host}: cannot record instance {uuid} in {self.directory} ({error}): nothing was done; "
                "free space or mend the file system"
            ) from error

    def _write(self, path: Path, body: bytes) -> None:
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, body)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
        self._sync_directory()

    def _append(self, line: bytes) -> None:
        new = not self._graves.exists()
        descriptor = os.open(self._graves, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checked_uuid(uuid: str) -> str:
    """The uuid, fit to be a file's name. Raises BadArguments."""
    if not _UUID.fullmatch(uuid):
        raise BadArguments(f"uuid: {uuid!r} is no uuid in its usual form", field="uuid")
    return uuid
