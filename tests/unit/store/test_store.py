"""The store keeps what it acknowledged, undoes what failed, and moves its schema forward only."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys

import gevent
import peewee
import pytest
from gevent import monkey

from nova0.controller.db import migrations
from nova0.controller.db.base_table import DATABASE
from nova0.controller.db.operation_tables import FactRow, OutboxRow
from nova0.controller.db.store import Store, StoreDamaged, StoreUnavailable
from nova0.controller.db.tables import ALL


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store.sqlite")
    yield made
    made.close()


def add(name):
    return OutboxRow.create(event_type=name, payload={}).event_type


def names(store):
    return store.read(lambda: [row.event_type for row in OutboxRow.select().order_by(OutboxRow.id)])


def test_what_a_closure_raises_undoes_it_alone_and_is_raised(store):
    def bad():
        add("bad")
        raise ValueError("no")

    def run(closure):
        try:
            return store.write(closure)
        except ValueError as error:
            return str(error)

    jobs = [gevent.spawn(run, bad if n % 3 == 0 else lambda n=n: add(f"good{n}")) for n in range(30)]
    gevent.joinall(jobs)
    assert sorted(names(store)) == sorted(f"good{n}" for n in range(30) if n % 3)
    assert [job.value for job in jobs[::3]] == ["no"] * 10


@pytest.mark.covers("S166")
def test_acknowledged_writes_survive_a_kill(tmp_path):
    program = """
from gevent import monkey; monkey.patch_all()
import sys, os, signal
from pathlib import Path
from nova0.controller.db.base_table import DATABASE
from nova0.controller.db.store import Store, StoreDamaged, StoreUnavailable
from nova0.controller.db.operation_tables import OutboxRow
store = Store(Path(sys.argv[1]))
for n in range(50):
    store.write(lambda: OutboxRow.create(event_type=f"e{n}", payload={}))
    print(n, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "s.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60)
    acknowledged = len(done.stdout.split())
    assert acknowledged == 50
    found = sqlite3.connect(path).execute("SELECT count(*) FROM outbox").fetchone()[0]
    assert found == acknowledged


@pytest.mark.covers("S167")
def test_migrations_make_the_schema_of_the_tables(tmp_path):
    migrated = peewee.SqliteDatabase(str(tmp_path / "a.sqlite"))
    migrations.run(migrated)
    declared = peewee.SqliteDatabase(":memory:")
    with declared.bind_ctx(ALL):
        declared.create_tables(ALL, safe=False)

    def schema(database):
        found = {}
        for (table,) in database.execute_sql("SELECT name FROM sqlite_master WHERE type='table'"):
            if not table.startswith("sqlite_"):
                columns = database.execute_sql(f'PRAGMA table_info("{table}")').fetchall()
                indexes = [row[1:3] for row in database.execute_sql(f'PRAGMA index_list("{table}")')]
                found[table] = (sorted(row[1:4] for row in columns), sorted(indexes))
        return found

    assert schema(migrated) == schema(declared)


@pytest.mark.covers("S065")
def test_a_store_of_a_later_version_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "s.sqlite"
    sqlite3.connect(path).execute("PRAGMA user_version = 9999")
    with pytest.raises(migrations.StoreTooNew, match="install the newer nova0"):
        Store(path)


def test_the_file_is_for_its_owner_only_and_the_mark_grows(tmp_path):
    path = tmp_path / "s.sqlite"
    store = Store(path)
    before = store.commit_mark()
    store.write(lambda: add("x"))
    assert store.commit_mark() == before + 1
    store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Store(path)
    assert again.commit_mark() == before + 1
    assert again.read(lambda: FactRow.get(FactRow.name == "commit_mark").value) == before + 1
    again.close()


def test_readers_see_what_was_written_before_them(store):
    store.write(lambda: add("a"))
    assert names(store) == ["a"]


@pytest.mark.covers("S058")
def test_the_loop_runs_on_while_the_store_is_busy(store):
    ticks = []
    ticking = gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.001)) for _ in range(1000)])
    sleep = monkey.get_original("time", "sleep")
    store.read(lambda: sleep(0.3))
    ticking.kill()
    assert len(ticks) > 50


def full(store, pages=None):
    """SQLite's own bound on the file: what it says at it is what it says on a full disk. Without `pages`: none."""
    store.read(lambda: DATABASE.execute_sql(f"PRAGMA max_page_count = {pages or 1 << 30}").fetchall())


def big():
    return OutboxRow.create(event_type="big", payload={"x": "y" * 200_000})


def test_a_full_store_says_so_undoes_all_and_goes_on_without_a_restart(store, caplog):
    store.write(lambda: add("before"))
    mark = store.commit_mark()
    full(store, 1)  # SQLite takes the present size for less
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as told:
            store.write(big)
        assert told.value.full and "its disk is full" in told.value.message and "free space" in told.value.message
        assert str(store.path) not in told.value.message and str(store.path) in str(told.value)
    assert names(store) == ["before"] and store.commit_mark() == mark
    full(store)
    store.write(big)
    assert names(store) == ["before", "big"] and store.commit_mark() == mark + 1
    assert caplog.text.count("takes nothing down") == 1 and caplog.text.count("takes writes again") == 1


def test_what_fits_is_written_beside_what_does_not(store):
    full(store, 1)
    jobs = [gevent.spawn(lambda closure=closure: store.write(closure)) for closure in (lambda: add("small"), big)]
    gevent.joinall(jobs)
    full(store)
    assert isinstance(jobs[1].exception, StoreUnavailable)
    assert names(store) == (["small"] if jobs[0].successful() else [])


def test_a_commit_that_fails_undoes_every_closure_of_it(store, monkeypatch):
    """As SQLite does when the journal cannot grow: it has rolled back by itself, and a second ROLLBACK is an error."""
    real = DATABASE.execute_sql

    def fails(sql, *rest, **more):
        if sql != "COMMIT":
            return real(sql, *rest, **more)
        real("ROLLBACK")
        cause = sqlite3.OperationalError("database or disk is full")
        cause.sqlite_errorcode = sqlite3.SQLITE_FULL
        error = peewee.OperationalError("database or disk is full")
        error.__context__ = cause
        raise error

    monkeypatch.setattr(DATABASE, "execute_sql", fails)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.write(lambda: add("lost"))
    monkeypatch.undo()
    store.write(lambda: add("kept"))
    assert names(store) == ["kept"]


@pytest.mark.parametrize("done", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_store_taken_away_while_it_is_open_takes_nothing_more(store, done):
    store.write(lambda: add("kept"))
    done(store.path)
    with pytest.raises(StoreDamaged, match=r"while nova0 runs.*put a backup back"):
        store.write(lambda: add("would be lost"))


def test_a_store_locked_by_another_program_is_not_called_full(store):
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store.read(lambda: DATABASE.execute_sql("PRAGMA busy_timeout = 10").fetchall())
    with pytest.raises(StoreUnavailable, match="locked") as told:
        store.write(lambda: add("x"))
    assert not told.value.full
    holder.close()
    store.write(lambda: add("y"))
