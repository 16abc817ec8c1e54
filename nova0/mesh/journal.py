"""What was begun and what was answered, on disk: at most one execution per request id.

One append-only file per process; commits wait together on one fsync (native.Worker). A record lives
until the caller acknowledges it, or a day; an intent without an answer, found at start, is OutcomeUnknown.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import msgspec
from gevent.event import AsyncResult
from msgspec import Struct

from nova0.crashpoints import crash_point
from nova0.mesh.codec import wire_form
from nova0.mesh.errors import BadArguments, Busy, OutcomeUnknown
from nova0.mesh.keys import write_secret
from nova0.mesh.wire import BROKEN
from nova0.native import Job, Worker

LOG = logging.getLogger(__name__)
MOST = 20_000  # records kept; over it new work gets Busy
KEEP_S = 86_400.0  # an answer nobody acknowledged
SPARE_S = 600.0  # under pressure answers this old go early
REWRITE_BYTES = 16 << 20
MAX_ANSWER_BYTES = 1 << 20  # larger answers are sent but not kept


class Intent(Struct, array_like=True, tag=1):
    request_id: str
    hash: bytes
    method: str
    at: float  # wall clock; only for ageing


class Done(Struct, array_like=True, tag=2):
    request_id: str
    good: bool
    body: bytes  # the result, or the error, as it travels


class Dropped(Struct, array_like=True, tag=3):
    request_ids: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Intent | Done | Dropped).decode


class Record:
    """One request: `done` is ready once `(good, body)` is on disk; `outcome` is what goes there."""

    __slots__ = ("done", "intent", "outcome")

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.outcome: Done | None = None
        self.done: AsyncResult = AsyncResult()


class Journal:
    def __init__(self, path: str | Path, node: str) -> None:
        self._path, self._node = Path(path), node
        self._records: dict[str, Record] = {}
        self._dropped: list[str] = []
        self._read()
        self._file: BinaryIO = self._rewritten()
        self._worker = Worker(f"{node} journal", self._write_batch)

    def begin(self, request_id: str, hash_: bytes, method: str) -> tuple[Record, bool]:
        """(record, whether to run it). On disk before it returns True. A known id gives its record: join
        or repeat its answer. Raises Busy over the bound, BadArguments for the same id with other arguments."""
        known = self._records.get(request_id)
        if known is not None:
            if known.intent.hash != hash_:
                raise BadArguments(f"{self._node}: request id {request_id} was used with other arguments")
            return known, False
        self._make_room()
        record = self._records[request_id] = Record(Intent(request_id, hash_, method, time.time()))
        try:
            self._commit(record.intent)
        except BaseException as error:
            del self._records[request_id]
            record.done.set((False, _encode(wire_form(Busy(f"{self._node}: {method} was not started: {error}")))))
            raise
        crash_point("mesh.intent.written")
        return record, True

    def finish(self, record: Record, good: bool, body: bytes) -> None:
        """Keep the answer, then let those who wait have it."""
        kept = Done(record.intent.request_id, good, body)
        if len(body) > MAX_ANSWER_BYTES:
            why = OutcomeUnknown(f"{record.intent.method} ended, but its answer was too large to be kept")
            kept = Done(record.intent.request_id, False, _encode(wire_form(why)))
        record.outcome = kept
        try:
            self._commit(kept)
        except OSError as error:  # the answer is true all the same; after a restart it is OutcomeUnknown
            LOG.error("%s: the answer of %s is not on disk: %s", self._node, record.intent.method, error)
        record.done.set((good, body))

    def drop(self, request_ids: list[str]) -> None:
        """The caller has stored these answers. Written with the next commit: lost at a crash, they age out."""
        gone = [r for r in request_ids if r in self._records and self._records[r].done.ready()]
        for request_id in gone:
            del self._records[request_id]
        self._dropped += gone

    def __len__(self) -> int:
        return len(self._records)

    def close(self) -> None:
        self._worker.stop()
        self._file.close()

    def _make_room(self) -> None:
        if len(self._records) < MOST:
            return
        oldest = time.time() - SPARE_S
        old = [r for r, record in self._records.items() if record.done.ready() and record.intent.at < oldest]
        self.drop(old[: MOST // 10])
        if len(self._records) >= MOST:
            raise Busy(f"{self._node}: {MOST} requests are recorded and not acknowledged; ask again later")

    def _commit(self, entry: Any) -> None:
        body = _framed(entry)
        self._worker.submit(lambda: self._write(body))

    # on the worker's thread, which alone writes

    def _write(self, body: bytes) -> None:
        if os.write(self._file.fileno(), body) != len(body):
            raise OSError(errno.ENOSPC, f"{self._path}: no space left; free some, nothing new is started before")

    def _write_batch(self, jobs: list[Job]) -> None:
        """All that wait, then one fsync for them; none of them if the disk refuses one."""
        before = os.fstat(self._file.fileno()).st_size
        dropped, self._dropped = self._dropped, []
        try:
            if dropped:
                self._write(_framed(Dropped(dropped)))
            for job in jobs:
                job.run()
            failed = next((job.error for job in jobs if job.error is not None), None)
            if failed is not None:
                raise failed
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), before)
            self._dropped += dropped
            for job in jobs:
                job.error = error
            return
        if os.fstat(self._file.fileno()).st_size > REWRITE_BYTES:
            old, self._file = self._file, self._rewritten()
            old.close()

    def _read(self) -> None:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return
        at, oldest = 0, time.time() - KEEP_S
        while at + 8 <= len(raw):
            size, check = int.from_bytes(raw[at : at + 4], "big"), int.from_bytes(raw[at + 4 : at + 8], "big")
            body = raw[at + 8 : at + 8 + size]
            if len(body) < size or crc32(body) != check:
                LOG.warning("%s: journal %s ends torn at byte %d, as after a power cut", self._node, self._path, at)
                break
            try:
                entry = _decode(body)
            except BROKEN:  # zeros, where the file grew and its blocks were never written, have a right sum
                LOG.warning("%s: journal %s cannot be read from byte %d on", self._node, self._path, at)
                break
            at += 8 + size
            self._apply(entry)
        for request_id, record in list(self._records.items()):
            if record.intent.at < oldest:
                del self._records[request_id]
            elif not record.done.ready():
                why = OutcomeUnknown(
                    f"{self._node}: {record.intent.method} was begun and this node restarted before it was recorded "
                    "as done: look at the thing itself and decide"
                )
                record.outcome = Done(request_id, False, _encode(wire_form(why)))
                record.done.set((False, record.outcome.body))

    def _apply(self, entry: Intent | Done | Dropped) -> None:
        if isinstance(entry, Intent):
            self._records[entry.request_id] = Record(entry)
        elif isinstance(entry, Done):
            if entry.request_id in self._records:
                self._records[entry.request_id].outcome = entry
                self._records[entry.request_id].done.set((entry.good, entry.body))
        else:
            for request_id in entry.request_ids:
                self._records.pop(request_id, None)

    def _rewritten(self) -> BinaryIO:
        """The file with only what still counts, opened for appending."""
        parts = []
        for record in list(self._records.values()):
            parts.append(_framed(record.intent))
            if record.outcome is not None:
                parts.append(_framed(record.outcome))
        write_secret(self._path, b"".join(parts))
        return open(self._path, "ab", buffering=0)


def _framed(entry: Any) -> bytes:
    body = _encode(entry)
    return len(body).to_bytes(4, "big") + crc32(body).to_bytes(4, "big") + body
