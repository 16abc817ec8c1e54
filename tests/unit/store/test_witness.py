"""A store that is lost, damaged or another's is never taken, nor made anew, in silence."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nova0.controller.db import facts, witness
from nova0.controller.db.store import Store
from nova0.controller.db.witness import StoreRefused, Witness

CLUSTER, OTHER = "aa" * 32, "bb" * 32


def run(state, cluster=CLUSTER, writes=0):
    """As a controller's start and end do."""
    note = witness.check(state, cluster)
    store = Store(witness.store_of(state))
    opened = store.write(lambda: facts.opened(cluster))
    for _ in range(writes):
        store.write(lambda: None)
    witness.write(state, Witness(opened.store_id, cluster, opened.boot, store.commit_mark()))
    store.close()
    return note, opened.store_id


@pytest.fixture
def state(tmp_path):
    run(tmp_path)
    return tmp_path


def keep_aside(state, name="backup"):
    shutil.copy(state / "store.sqlite", state / name)
    return state / name


def no_tables(path):
    path.unlink()
    sqlite3.connect(path).execute("VACUUM").connection.close()


def folder(path):
    path.unlink()
    path.mkdir()


def another(path):
    path.unlink()
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE notes (text)")


LOST = {
    "emptied": (lambda path: path.write_bytes(b""), "is empty"),
    "removed": (lambda path: path.unlink(), "is gone"),
    "without tables": (no_tables, "is empty"),
    "garbage": (lambda path: path.write_bytes(os.urandom(8192)), "is damaged"),
    "zeroed": (lambda path: path.write_bytes(bytes(8192)), "is damaged"),
    "head zeroed": (lambda path: path.write_bytes(bytes(100) + path.read_bytes()[100:]), "is damaged"),
    "cut in half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "is damaged"),
    "cut to a page": (lambda path: path.write_bytes(path.read_bytes()[:4096]), "is damaged"),
    "a page of zeros": (
        lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(4096) + path.read_bytes()[8192:]),
        "is damaged",
    ),
    "a folder": (folder, "is a folder"),
    "another program's": (another, "no store of nova0's"),
}


@pytest.mark.parametrize("how", LOST)
def test_a_lost_store_is_refused_with_the_remedy_and_left_as_it_is(state, how):
    """threat: an emptied or damaged store becomes a new cloud."""
    act, said = LOST[how]
    path = state / "store.sqlite"
    act(path)
    before = path.read_bytes() if path.is_file() else path.exists()
    with pytest.raises(StoreRefused) as told:
        witness.check(state, CLUSTER)
    assert said in told.value.message and str(path) in told.value.message
    assert "docs/backup.md" in told.value.message
    assert (path.read_bytes() if path.is_file() else path.exists()) == before


@pytest.mark.parametrize("left", ["mesh/boot.controller", "token.key", "secrets/admin.password"])
def test_a_lost_store_is_noticed_without_a_witness_too(tmp_path, left):
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).write_text("1")
    with pytest.raises(StoreRefused, match="is gone, but this cloud had a store"):
        witness.check(tmp_path, CLUSTER)


def test_a_first_start_makes_a_store_and_a_good_one_without_a_witness_is_taken(tmp_path):
    assert witness.check(tmp_path, CLUSTER) == ""
    _, made = run(tmp_path)
    witness.path_of(tmp_path).unlink()  # as before there were witnesses
    (tmp_path / "token.key").write_text("k")
    note, again = run(tmp_path)
    assert not note and again == made and witness.read(tmp_path).store_id == made


def test_a_torn_witness_neither_stops_a_good_store_nor_lets_a_lost_one_pass(state):
    (state / "token.key").write_text("k")
    witness.path_of(state).write_text('{"store_i')
    assert witness.check(state, CLUSTER) == ""
    (state / "store.sqlite").unlink()
    with pytest.raises(StoreRefused):
        witness.check(state, CLUSTER)


def test_the_store_of_another_cluster_or_another_store_needs_a_word(state, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    run(elsewhere, OTHER)
    shutil.copy(elsewhere / "store.sqlite", state / "store.sqlite")
    with pytest.raises(StoreRefused, match=r"another cluster.*--this-store"):
        witness.check(state, CLUSTER)
    again = tmp_path_factory.mktemp("again")
    run(again)
    shutil.copy(again / "store.sqlite", state / "store.sqlite")
    with pytest.raises(StoreRefused, match=r"another store.*--this-store"):
        witness.check(state, CLUSTER)
    witness.want_this(state)
    note, _ = run(state)
    assert "nova0 adopt" in note
    assert run(state)[0] == "", "the word counts once"


def test_an_older_copy_is_taken_and_said(state):
    backup = keep_aside(state)
    run(state, writes=5)
    shutil.copy(backup, state / "store.sqlite")
    note, _ = run(state)
    assert "older copy" in note and "nova0 adopt" in note


def test_a_new_store_on_the_operators_word_keeps_the_old_one_aside(state):
    old = (state / "store.sqlite").read_bytes()
    aside = witness.want_new(state)
    _, made = run(state)
    assert Path(aside).read_bytes() == old and witness.read(state).store_id == made
    (state / "store.sqlite").unlink()
    with pytest.raises(StoreRefused):
        witness.check(state, CLUSTER)
    assert witness.want_new(state) == ""


def test_a_file_that_may_not_be_read_is_named(state):
    if os.geteuid() == 0:
        pytest.skip("root may read all")
    (state / "store.sqlite").chmod(0)
    with pytest.raises(StoreRefused, match="can't be read"):
        witness.check(state, CLUSTER)


def test_a_large_store_is_not_looked_through_at_a_start(state):
    path = state / "store.sqlite"
    assert not witness.look(path, path.stat().st_size - 1).whole
    assert witness.look(path, path.stat().st_size).whole and witness.look(path).whole


MAKE = """
import os, shutil, sys
from pathlib import Path
from nova0.controller.db import facts, witness
from nova0.controller.db.operation_tables import FactRow
from nova0.controller.db.store import Store
state, cluster = Path(sys.argv[1]), sys.argv[2]
store = Store(witness.store_of(state))

def write(value, times):
    for _ in range(times):
        store.write(lambda: FactRow.insert(name="asked", value=value).on_conflict_replace().execute())

def empty():
    assert store._worker.submit(store._overwritten)

opened = store.write(lambda: facts.opened(cluster))
write("yesterday", 20)
empty()
shutil.copy(store.path, state / "yesterday")
write("today", 20)
empty()
witness.write(state, witness.Witness(opened.store_id, cluster, opened.boot, store.commit_mark()))
write("last", 3)
os._exit(9)
"""


@pytest.fixture
def crashed(tmp_path):
    """A store whose controller was killed: its last commits are in the journal. Beside it a copy of yesterday."""
    made = subprocess.run([sys.executable, "-c", MAKE, tmp_path, CLUSTER], timeout=60, capture_output=True, text=True)
    assert made.returncode == 9, made.stderr
    assert (tmp_path / "store.sqlite-wal").stat().st_size
    return tmp_path


def test_a_copy_put_back_beside_the_journal_of_the_store_that_was_there_is_refused(crashed):
    """threat: SQLite mixes both into a store of yesterday that says it is today's, and hosts believe it."""
    shutil.copy(crashed / "yesterday", crashed / "store.sqlite")
    before = {path.name: path.read_bytes() for path in crashed.glob("store.sqlite*")}
    witness.want_this(crashed)
    for _ in range(2):
        with pytest.raises(StoreRefused, match=r"store.sqlite-wal is of another store: .* remove .*-wal and .*-shm"):
            witness.check(crashed, CLUSTER)
    assert {path.name: path.read_bytes() for path in crashed.glob("store.sqlite*")} == before
    for side in ("-wal", "-shm"):
        (crashed / f"store.sqlite{side}").unlink()
    assert "as the operator said" in witness.check(crashed, CLUSTER)


def test_what_a_killed_controller_left_in_its_journal_is_taken(crashed):
    assert witness.check(crashed, CLUSTER) == ""
    store = Store(witness.store_of(crashed))
    assert store.read(lambda: facts._get("asked")) == "last"
    store.close()
