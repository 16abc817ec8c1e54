"""What was begun and what was answered, on disk: at most one execution per request.

A request is known by its caller and the id that caller gave it. One append-only file per process; commits
wait together on one fsync (native.Worker). A record lives until its caller needs it no more, or a day; an
intent without an answer, found at start, is OutcomeUnknown.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import msgspec
from gevent.event import AsyncResult
from msgspec import Struct

from nova0 import clock
from nova0.clock import Moment
from nova0.crashpoints import crash_point
from nova0.mesh import wire
from nova0.mesh.codec import wire_form
from nova0.mesh.errors import BadArguments, Busy, Cancelled, OutcomeUnknown
from nova0.mesh.keys import write_secret
from nova0.native import Job, Worker

LOG = logging.getLogger(__name__)
MOST = 20_000  # records kept; over it new work gets Busy
MOST_BYTES = 64 << 20  # of answers kept; the same
KEEP_S = 86_400.0  # an answer nobody acknowledged
REWRITE_BYTES = 16 << 20
SWEEP_S = 1.0  # looking through all records for ones to drop takes a while: not more often than this
MOST_CALLERS = 10_000  # whose marks are remembered


class Intent(Struct, array_like=True, tag=1):
    request_id: str
    hash: bytes
    method: str
    at: float  # wall clock
    caller: str = ""
    since: Moment | None = None  # for ageing; None: by an earlier nova0, which went by `at`

    def age_s(self) -> float:
        return clock.since(self.since) if self.since is not None else max(0.0, time.time() - self.at)


class Done(Struct, array_like=True, tag=2):
    request_id: str
    good: bool
    body: bytes  # the result, or the error, as it travels
    caller: str = ""


class Dropped(Struct, array_like=True, tag=3):
    request_ids: list[str]
    caller: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Intent | Done | Dropped).decode


class Record:
    """One request: `done` is ready once `(good, body)` is on disk; `outcome` is what goes there."""

    __slots__ = ("done", "intent", "outcome", "since", "unwanted")

    def __init__(self, intent: Intent, age_s: float = 0.0) -> None:
        self.intent = intent
        self.since = time.monotonic() - age_s
        self.outcome: Done | None = None
        self.unwanted = False  # its caller will not ask for the answer
        self.done: AsyncResult = AsyncResult()

    @property
    def key(self) -> tuple[str, str]:
        return self.intent.caller, self.intent.request_id


class Journal:
    def __init__(self, path: str | Path, node: str) -> None:
        self._path, self._node = Path(path), node
        self._records: dict[tuple[str, str], Record] = {}
        self._marks: dict[str, tuple[str, int]] = {}  # caller -> (start, number): below it nothing is asked again
        self._bytes = 0  # of the answers in `_records`
        self._swept = 0.0
        self._later: deque[Done | Dropped] = deque()  # written with the next commit
        self._read()
        self._file: BinaryIO = self._rewritten()
        self._worker = Worker(f"{node} journal", self._write_batch)

    def begin(self, caller: str, request_id: str, hash_: bytes, method: str) -> tuple[Record, bool]:
        """(record, whether to run it). On disk before it returns True. A known request gives its record: join
        or repeat its answer. Raises Busy over the bounds and where the disk takes nothing (nothing is started),
        BadArguments for the same id with other arguments, Cancelled for one its caller has done with."""
        # an older version wrote records that name no caller
        known = self._records.get((caller, request_id)) or self._records.get(("", request_id))
        if known is not None:
            if known.intent.hash != hash_:
                raise BadArguments(f"{self._node}: request id {request_id} was used with other arguments", used=True)
            return known, False
        if self._below_mark(caller, request_id):
            raise Cancelled(f"{self._node}: {caller} has done with request {request_id}: a late copy is not run")
        self._make_room()
        record = Record(Intent(request_id, hash_, method, time.time(), caller, clock.moment()))
        self._records[record.key] = record
        try:
            self._commit(record.intent)
        except BaseException as error:
            del self._records[record.key]
            self._later.append(Dropped([request_id], caller))
            why = Busy(f"{self._node}: {method} was not started: its journal takes nothing: {error}: free space there")
            record.done.set((False, _encode(wire_form(why))))
            if isinstance(error, OSError):
                raise why from error
            raise
        crash_point("mesh.intent.written")
        return record, True

    def finish(self, record: Record, good: bool, body: bytes) -> None:
        """Keep the answer, then let those who wait have it."""
        record.outcome = Done(record.intent.request_id, good, body, record.intent.caller)
        self._bytes += len(body)
        try:
            if not record.unwanted:
                self._commit(record.outcome)
        except OSError as error:  # the answer is true all the same; it is written once the disk takes it
            LOG.error("%s: the answer of %s is not on disk: %s", self._node, record.intent.method, error)
            self._later.append(record.outcome)
        record.done.set((good, body))
        if record.unwanted:
            self._forget([record])

    def drop(self, caller: str, request_ids: list[str]) -> None:
        """The caller has stored these answers, or wants them no more. Those still at work go when they end.
        Written with the next commit: lost at a crash, they go by the next mark, or with age."""
        gone = []
        for request_id in request_ids:
            record = self._records.get((caller, request_id))
            if record is not None:
                if record.done.ready():
                    gone.append(record)
                else:
                    record.unwanted = True
        self._forget(gone)

    def mark(self, caller: str, start: str, below: int) -> None:
        """The caller will ask no more for ids it made before this start, or with lower numbers. They are
        dropped when their room is needed, and a late copy of one is not run."""
        if start:
            self._marks[caller] = (start, below)
            if len(self._marks) > MOST_CALLERS:
                del self._marks[next(iter(self._marks))]

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Was this request (caller, its id) begun?"""
        return key in self._records

    def __len__(self) -> int:
        return len(self._records)

    def close(self) -> None:
        self._worker.stop()
        self._file.close()

    def _below_mark(self, caller: str, request_id: str) -> bool:
        """Of an unknown request: its number is below the caller's mark. Another start says nothing: the
        caller may be new, and its mark not here yet."""
        start, number = wire.made_by(request_id)
        marked, below = self._marks.get(caller, ("", 0))
        return bool(start) and start == marked and number < below

    def _done_with(self, record: Record) -> bool:
        """Nobody will ask for this answer: below its caller's mark, of an earlier start of it, or too old."""
        if record.since < time.monotonic() - KEEP_S:
            return True
        start, number = wire.made_by(record.intent.request_id)
        marked, below = self._marks.get(record.intent.caller, ("", 0))
        return bool(start and marked) and (start != marked or number < below)

    def _forget(self, records: list[Record]) -> None:
        by_caller: dict[str, list[str]] = {}
        for record in records:
            if self._records.pop(record.key, None) is not None:
                by_caller.setdefault(record.intent.caller, []).append(record.intent.request_id)
                self._bytes -= len(record.outcome.body) if record.outcome is not None else 0
        self._later.extend(Dropped(ids, caller) for caller, ids in by_caller.items())

    def _make_room(self) -> None:
        """Never at the cost of an answer somebody may still ask for."""
        if len(self._records) < MOST and self._bytes < MOST_BYTES:
            return
        if time.monotonic() > self._swept + SWEEP_S:
            self._swept = time.monotonic()
            self._forget([r for r in self._records.values() if r.done.ready() and self._done_with(r)])
        if len(self._records) >= MOST or self._bytes >= MOST_BYTES:
            raise Busy(
                f"{self._node}: {len(self._records)} answers ({self._bytes >> 20} MiB) wait for their callers to "
                "acknowledge them: nothing new is started before; ask again later"
            )

    def _commit(self, entry: Any) -> None:
        body = _framed(entry)
        self._worker.submit(lambda: body)

    # on the worker's thread, which alone writes

    def _write(self, body: bytes) -> None:
        if os.write(self._file.fileno(), body) != len(body):
            raise OSError(errno.ENOSPC, f"{self._path}: no space left; free some, nothing new is started before")

    def _write_batch(self, jobs: list[Job]) -> None:
        """All that wait by one write, then one fsync for them; none of them if the disk refuses it. (Each system
        call lets the loop have the interpreter, and getting it back from a busy one takes milliseconds.)"""
        later = [self._later.popleft() for _ in range(len(self._later))]
        for job in jobs:
            job.run()
        body = b"".join([*map(_framed, later), *(job.value for job in jobs)])
        try:
            self._write(body)
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)
            self._later.extendleft(reversed(later))
            for job in jobs:
                job.error = error
            return
        self._size += len(body)
        if self._size > self._rewrite_at:
            old, self._file = self._file, self._rewritten()
            old.close()

    def _read(self) -> None:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + 8 <= len(raw):
            size, check = int.from_bytes(raw[at : at + 4], "big"), int.from_bytes(raw[at + 4 : at + 8], "big")
            body = raw[at + 8 : at + 8 + size]
            if len(body) < size or crc32(body) != check:
                LOG.warning("%s: journal %s ends torn at byte %d, as after a power cut", self._node, self._path, at)
                break
            try:
                entry = _decode(body)
            except wire.BROKEN:  # zeros, where the file grew and its blocks were never written, have a right sum
                LOG.warning("%s: journal %s cannot be read from byte %d on", self._node, self._path, at)
                break
            at += 8 + size
            self._apply(entry)
        for key, record in list(self._records.items()):
            if self._done_with(record):
                del self._records[key]
                continue
            if record.outcome is None:
                why = OutcomeUnknown(
                    f"{self._node}: {record.intent.method} was begun and this node restarted before it was recorded "
                    "as done: look at the thing itself and decide"
                )
                record.outcome = Done(key[1], False, _encode(wire_form(why)), key[0])
            record.done.set((record.outcome.good, record.outcome.body))
            self._bytes += len(record.outcome.body)

    def _apply(self, entry: Intent | Done | Dropped) -> None:
        if isinstance(entry, Intent):
            record = Record(entry, entry.age_s())
            self._records[record.key] = record
        elif isinstance(entry, Done):
            if (entry.caller, entry.request_id) in self._records:
                self._records[entry.caller, entry.request_id].outcome = entry
        else:
            for request_id in entry.request_ids:
                self._records.pop((entry.caller, request_id), None)

    def _rewritten(self) -> BinaryIO:
        """The file with only what still counts, opened for appending."""
        parts = []
        for record in list(self._records.values()):
            parts.append(_framed(record.intent))
            if record.outcome is not None:
                parts.append(_framed(record.outcome))
        whole = b"".join(parts)
        write_secret(self._path, whole)
        self._size = len(whole)  # of the file: all that is written whole and synced
        self._rewrite_at = max(REWRITE_BYTES, 2 * len(whole))
        return open(self._path, "ab", buffering=0)


def _framed(entry: Any) -> bytes:
    body = _encode(entry)
    return len(body).to_bytes(4, "big") + crc32(body).to_bytes(4, "big") + body
