"""The store: one native thread runs every transaction, so no greenlet switch can happen inside one.

Closures given to `write` run in BEGIN IMMEDIATE; those waiting together share one commit (each in its
own savepoint, so that one failing undoes only itself). A closure must be quick, must not touch the
loop, and must return plain values or fully read rows.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import gevent
import peewee

from nova0.controller.db import migrations
from nova0.controller.db.base_table import DATABASE
from nova0.controller.db.steady_clock import SteadyClock
from nova0.native import Job, Worker

T = TypeVar("T")
log = logging.getLogger(__name__)

BUSY_MS = 5000
INCREMENTAL = 2  # of auto_vacuum
QUIET_S = 1.0  # without a commit, until the journal is emptied
LOOKS_MOST = 10  # and after so many in any case

_COUNT = "UPDATE fact SET value = CAST(value AS INTEGER) + 1 WHERE name = 'commit_mark'"
_MARK = "SELECT value FROM fact WHERE name = 'commit_mark'"
_PRIMARY = 0xFF  # SQLite's extended codes say more in their upper bits
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REFUSED = {  # what SQLite says of a file that takes nothing now -> (what it is, the operator's remedy)
    sqlite3.SQLITE_FULL: ("its disk is full", "free space there, or give state_path a larger disk"),
    sqlite3.SQLITE_IOERR: ("its disk fails or is full", "free space there; look at quotas and at the kernel's log"),
    sqlite3.SQLITE_READONLY: ("its disk is read-only", "mount it for writing, or give the file its rights back"),
    sqlite3.SQLITE_CANTOPEN: ("its journal can't be made", "free space and inodes there, mend the folder's rights"),
    sqlite3.SQLITE_BUSY: ("another program holds its store locked", "end that program: sqlite3?"),
}


class StoreUnavailable(Exception):
    """The store takes nothing now; nothing of the transaction happened, and it may be tried again. `message` is for
    everybody and names no path; `full`: a disk that takes no more is why."""

    kind: ClassVar[str] = "ControllerUnavailable"  # as which it crosses the mesh (nova0.objects.errors)

    def __init__(self, what: str, remedy: str, *, full: bool = True) -> None:
        self.message = (
            f"The controller can write nothing down now: {what}. Nothing was changed; once its operator has mended "
            f"that ({remedy}) ask again."
        )
        super().__init__(f"{what}: {remedy}")
        self.full = full


class StoreDamaged(StoreUnavailable):
    """What the file holds is no store any more, or it was taken away under us."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__("its store is damaged", "`nova0 doctor` there says how", full=False)
        self.args = (f"{path}: {what}: {REMEDY.format(path=path)}",)


REMEDY = (
    "put a backup back (docs/backup.md, `nova0 down` first), or save what can be read: "
    "sqlite3 {path} .recover | sqlite3 NEW.sqlite"
)


class Store:
    """Opens `path` (made 0600 if absent), brings the schema forward, and serves transactions.

    Raises `StoreTooNew` when a later nova0 wrote it, StoreDamaged, StoreUnavailable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        self._emptying: gevent.Greenlet | None = None
        self._after: list[Callable[[], None]] = []
        self._mark = 0
        self._closed = False
        self._file = os.stat(path)
        self._trouble = ""  # what was last logged of a file that takes nothing
        self.clock: SteadyClock
        self._worker = Worker("store", self._run_batch)
        try:
            self._worker.submit(self._open)
        except peewee.DatabaseError as error:
            self.close()
            raise self._told(error) from error
        except BaseException:
            self.close()
            raise
        self._emptying = gevent.spawn(self._empty_journal)

    def write(self, closure: Callable[[], T]) -> T:
        """Run in a transaction and return its result once committed. What it raises undoes it and is raised here;
        StoreUnavailable where the disk takes nothing."""
        return self._worker.submit(closure, write=True)

    def read(self, closure: Callable[[], T]) -> T:
        """Run without changing anything (a write in it is an error of ours: use `write`)."""
        return self._worker.submit(closure, write=False)

    def on_commit(self, heard: Callable[[], None]) -> None:
        """`heard()` on the store thread after every commit that wrote: set a flag, ring a bell, no more."""
        self._after.append(heard)

    def commit_mark(self) -> int:
        """Grows with every commit, for ever: a store restored from an older copy shows a lower one."""
        return self._mark

    def close(self) -> None:
        """Finish what is queued and close the file; asked again: nothing."""
        if not self._closed:
            self._closed = True
            if self._emptying is not None:
                self._emptying.kill()
            self._worker.submit(self._end)
            self._worker.stop()

    def _end(self) -> None:
        with contextlib.suppress(AttributeError, peewee.DatabaseError, StoreDamaged):  # not opened, or nothing to keep
            self._is_still_there()
            self.clock.keep()
        DATABASE.close()

    def _open(self) -> None:
        DATABASE.init(
            str(self.path),
            pragmas={
                "auto_vacuum": 2,  # incremental; before all else: it is decided when a file gets its first page
                "secure_delete": 1,  # what is deleted is overwritten
                "journal_mode": "wal",
                "synchronous": "full",
                "foreign_keys": 1,
                "busy_timeout": BUSY_MS,
                "cache_size": -16000,  # KiB
            },
        )
        DATABASE.connect()
        migrations.run(DATABASE)
        self._make_shrinkable()
        DATABASE.execute_sql("INSERT OR IGNORE INTO fact (name, value) VALUES ('commit_mark', '0')")
        self._mark = int(DATABASE.execute_sql(_MARK).fetchone()[0])
        self.clock = SteadyClock(DATABASE)

    def _make_shrinkable(self) -> None:
        """A file of an earlier version is written anew once: only then can it shrink, and what was deleted from it
        is gone. Where that can't be (no room, somebody else reads it) it is tried at the next start."""
        if DATABASE.execute_sql("PRAGMA auto_vacuum").fetchone()[0] == INCREMENTAL:
            return
        try:
            DATABASE.execute_sql("VACUUM")
            DATABASE.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except peewee.DatabaseError as error:
            log.warning("%s was not written anew, and cannot shrink: %s: tried at the next start", self.path, error)

    def _overwritten(self) -> bool:
        """On the store thread: what was written lies in the file itself and its journal is emptied, for that
        holds pages as they were. False while somebody else reads the store."""
        DATABASE.execute_sql("PRAGMA busy_timeout = 0")
        try:
            return not DATABASE.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            DATABASE.execute_sql(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _empty_journal(self) -> None:
        """Whenever the store has been quiet, or busy for long."""
        emptied, last, looks = -1, self._mark, 0  # an earlier run may have left a journal
        while True:
            gevent.sleep(QUIET_S)
            looks += 1
            quiet, last = self._mark == last, self._mark
            if last == emptied or not (quiet or looks >= LOOKS_MOST):
                continue
            with contextlib.suppress(peewee.DatabaseError):
                if self._worker.submit(self._overwritten):
                    emptied, looks = last, 0

    def _run_batch(self, jobs: list[Job]) -> None:
        waiting: list[Job] = []
        for job in jobs:
            if job.tags.get("write"):
                waiting.append(job)
            else:
                if waiting:
                    self._commit(waiting)
                    waiting = []
                job.run()
        if waiting:
            self._commit(waiting)
        for job in jobs:
            job.error = self._told(job.error)

    def _commit(self, jobs: list[Job]) -> None:
        """SQLite may have undone the whole transaction by itself when the disk took nothing: so what is still open
        is asked, never assumed, and the first error is the one that is told."""
        try:
            self._is_still_there()
            DATABASE.execute_sql("BEGIN IMMEDIATE")
            for job in jobs:
                self._in_savepoint(job)
            DATABASE.execute_sql(_COUNT)  # in the store, for another process may commit to it, too
            mark = int(DATABASE.execute_sql(_MARK).fetchone()[0])
            DATABASE.execute_sql("COMMIT")
        except Exception as error:  # noqa: BLE001 - none of them happened, and each is told
            for job in jobs:
                job.error, job.value = job.error or error, None
            with contextlib.suppress(peewee.DatabaseError):
                if DATABASE.connection().in_transaction:
                    DATABASE.execute_sql("ROLLBACK")
            return
        self._mark = mark
        if self._trouble:
            log.warning("the store takes writes again")
            self._trouble = ""
        for heard in self._after:
            heard()

    @staticmethod
    def _in_savepoint(job: Job) -> None:
        DATABASE.execute_sql("SAVEPOINT job")
        job.run()
        if job.error is not None:
            if not DATABASE.connection().in_transaction:
                raise job.error
            DATABASE.execute_sql("ROLLBACK TO job")
        DATABASE.execute_sql("RELEASE job")

    def _is_still_there(self) -> None:
        """SQLite would go on writing into a file that was removed, and all of it would be lost at the next start."""
        try:
            there = os.stat(self.path)
        except OSError as error:
            raise StoreDamaged(self.path, f"its file was taken away while nova0 runs ({error.strerror})") from None
        if not os.path.samestat(there, self._file):
            raise StoreDamaged(self.path, "another file was put in its place while nova0 runs")
        if not there.st_size:
            raise StoreDamaged(self.path, "it was emptied while nova0 runs")

    def _told(self, error: Any) -> Any:
        """SQLite's word about the file as StoreUnavailable or StoreDamaged, logged once; other errors as they are."""
        code = getattr(getattr(error, "__context__", None), "sqlite_errorcode", 0) & _PRIMARY
        if isinstance(error, peewee.DatabaseError) and code in _DAMAGED:
            error = StoreDamaged(self.path, str(error))
        elif isinstance(error, peewee.DatabaseError) and code in _REFUSED:
            what, remedy = _REFUSED[code]
            full = code != sqlite3.SQLITE_BUSY
            error = StoreUnavailable(what, remedy, full=full)
            error.args = (f"{self.path}: {what}{_room(self.path)}: {remedy}",)
        if isinstance(error, StoreUnavailable) and error.message != self._trouble:
            self._trouble = error.message
            log.error("the store takes nothing down: %s; what is under way waits until it does", error)
        return error


def _room(path: Path) -> str:
    with contextlib.suppress(OSError):
        return f" ({shutil.disk_usage(path.parent).free >> 20} MB are free)"
    return ""


def dump(row: peewee.Model) -> dict[str, Any]:
    """A row as a plain mapping of its columns."""
    return dict(row.__data__)
