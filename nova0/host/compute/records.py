"""What this host remembers of its instances, on disk before it acts: instance, generation, lease, tombstones.

One file an instance, written whole (`nova0.atomic_file`); tombstones are lines appended to one file. No hypervisor
and no network may enter.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections import OrderedDict
from pathlib import Path

import msgspec
from gevent.lock import RLock

from nova0 import atomic_file
from nova0.mesh.errors import BadArguments
from nova0.native import offload
from nova0.objects.errors import DriverError
from nova0.objects.instance import Instance

LOG = logging.getLogger(__name__)

TOMBSTONES = 10_000  # remembered; a call later than so many deletions is past every retry of the mesh
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Record(msgspec.Struct, kw_only=True, gc=False):
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
        """Read what an earlier run left. A record that cannot be read is set aside (.unreadable), told in the log and
        by `nova0 doctor`, and its guest is left to the comparison with the store. Nothing here keeps a host from
        starting: neither one bad file nor a disk that takes nothing."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # holds user data
        for left in self.directory.glob(".*.new"):  # of a write that a kill cut short
            left.unlink(missing_ok=True)
        for path in self.directory.glob("[!.]*.json"):
            try:
                record = _decoder.decode(path.read_bytes())
                if record.uuid != path.stem:
                    raise msgspec.ValidationError(f"it is of instance {record.uuid}")
                if record.instance.admin_password is not None:  # an earlier version kept it
                    record.instance = without_password(record.instance)
                    with contextlib.suppress(OSError):  # a full disk: at its next change
                        atomic_file.write(path, msgspec.json.encode(record))
                self._records[path.stem] = record
            except (msgspec.DecodeError, OSError) as error:  # DecodeError: also what does not fit
                self._set_aside(path, error)
        try:
            self._read_graves()
        except OSError as error:
            LOG.error("%s: %s: %s: deletes of late calls are held against the store", self.host, self._graves, error)

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_suffix(".unreadable")
        try:
            path.rename(aside)
        except OSError as refused:  # a disk that takes nothing: it is found again at the next start
            LOG.warning("%s: %s stays where it is: %s", self.host, path, refused)
        LOG.error(
            "%s: the record of instance %s cannot be read (%s): set aside as %s; its guest runs on and is taken up "
            "again from the store: look at `nova0 ps --all`, then remove that file",
            *(self.host, path.stem, error, aside),
        )

    def _read_graves(self) -> None:
        if not self._graves.exists():
            return
        lines = self._graves.read_text(errors="replace").splitlines()
        for line in lines:
            uuid, _, generation = line.partition(" ")
            if _UUID.fullmatch(uuid) and generation.isdecimal() and generation.isascii():  # a line may be torn
                self._remember(uuid, int(generation))
        self._lines = len(lines)
        if self._graves_text().decode().splitlines() != lines:
            atomic_file.write(self._graves, self._graves_text())
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
        self._effect(record.uuid, atomic_file.write, self._path(record.uuid), body)
        self._records[record.uuid] = record

    def drop(self, uuid: str) -> None:
        """Forget the record; the tombstone stays."""
        for path in (self._path(uuid), self._path(uuid).with_suffix(".unreadable")):
            self._effect(uuid, path.unlink, True)
        self._records.pop(uuid, None)

    def bury(self, uuid: str, generation: int) -> None:
        """Leave a tombstone: calls of this and lower generations are refused from now on. On disk when
        this returns; repeating it costs nothing."""
        checked_uuid(uuid)
        with self._burying:
            if self._tombstones.get(uuid, 0) >= generation:
                return
            self._effect(uuid, atomic_file.append, self._graves, f"{uuid} {generation}\n".encode())
            self._remember(uuid, generation)
            self._lines += 1
            if self._lines > 2 * self._most:
                self._effect(uuid, atomic_file.write, self._graves, self._graves_text())
                self._lines = len(self._tombstones)

    def keep_file(self, name: str, body: bytes) -> None:
        """What else this host remembers of its instances, whole or as it was. On disk when this returns."""
        try:
            offload(atomic_file.write, self.directory / name, body)
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
                f"{self.host}: cannot record instance {uuid} in {self.directory} ({error}): nothing was done: "
                "free space on this host, or mend its file system, then ask again"
            ) from error


def without_password(instance: Instance) -> Instance:
    """The instance as it is kept: its password goes onto the config drive when that is written, and nowhere else."""
    return msgspec.structs.replace(instance, admin_password=None)


def checked_uuid(uuid: str) -> str:
    """The uuid, fit to be a file's name. Raises BadArguments."""
    if not _UUID.fullmatch(uuid):
        raise BadArguments(f"uuid: {uuid!r} is no uuid in its usual form", field="uuid")
    return uuid
