"""The store: one native thread runs every transaction, so no greenlet switch can happen inside one.

Closures given to `write` run in BEGIN IMMEDIATE; those waiting together share one commit (each in its
own savepoint, so that one failing undoes only itself). A closure must be quick, must not touch the
loop, and must return plain values or fully read rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import peewee

from nova0.controller.db import migrations
from nova0.controller.db.base_table import DATABASE
from nova0.native import Job, Worker

T = TypeVar("T")

_COUNT = "UPDATE fact SET value = CAST(value AS INTEGER) + 1 WHERE name = 'commit_mark'"
_MARK = "SELECT value FROM fact WHERE name = 'commit_mark'"


class Store:
    """Opens `path` (made 0600 if absent), brings the schema forward, and serves transactions.

    Raises `StoreTooNew` when a later nova0 wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        self._after: list[Callable[[], None]] = []
        self._mark = 0
        self._closed = False
        self._worker = Worker("store", self._run_batch)
        try:
            self._worker.submit(self._open)
        except BaseException:
            self.close()
            raise

    def write(self, closure: Callable[[], T]) -> T:
        """Run in a transaction and return its result once committed. What it raises undoes it and is raised here."""
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
            self._worker.submit(DATABASE.close)
            self._worker.stop()

    def _open(self) -> None:
        DATABASE.init(
            str(self.path),
            pragmas={
                "journal_mode": "wal",
                "synchronous": "full",
                "foreign_keys": 1,
                "busy_timeout": 5000,
                "cache_size": -16000,  # KiB
            },
        )
        DATABASE.connect()
        migrations.run(DATABASE)
        DATABASE.execute_sql("INSERT OR IGNORE INTO fact (name, value) VALUES ('commit_mark', '0')")
        self._mark = int(DATABASE.execute_sql(_MARK).fetchone()[0])

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

    def _commit(self, jobs: list[Job]) -> None:
        try:
            with DATABASE.atomic("IMMEDIATE"):
                for job in jobs:
                    self._in_savepoint(job)
                DATABASE.execute_sql(_COUNT)  # in the store, for another process may commit to it, too
                mark = int(DATABASE.execute_sql(_MARK).fetchone()[0])
        except peewee.DatabaseError as error:  # the commit itself failed (disk full): none of them happened
            for job in jobs:
                job.error, job.value = job.error or error, None
            return
        self._mark = mark
        for heard in self._after:
            heard()

    @staticmethod
    def _in_savepoint(job: Job) -> None:
        with DATABASE.savepoint() as savepoint:
            job.run()
            if job.error is not None:
                savepoint.rollback()


def dump(row: peewee.Model) -> dict[str, Any]:
    """A row as a plain mapping of its columns."""
    return dict(row.__data__)
