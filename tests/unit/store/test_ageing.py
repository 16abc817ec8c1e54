"""What was deleted leaves the store after a time, in pieces; what is still needed of it stays, and the file shrinks."""

from __future__ import annotations

import sqlite3
import time

import gevent
import pytest

from nova0.config import CONF
from nova0.controller.compute import usage
from nova0.controller.conductor import reports
from nova0.controller.db import ageing, slow_clock
from nova0.controller.db.compute_tables import (
    ActionEventRow,
    ActionRow,
    FaultRow,
    FlavorRow,
    InstanceRow,
    PastInstanceRow,
)
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import Store
from nova0.controller.upkeep import DAY_S, Upkeep
from nova0.objects.host import GuestInfo
from nova0.objects.states import PowerState

FLAVOR = {"name": "m1.tiny", "vcpus": 2, "memory_mb": 512, "root_gb": 1, "flavor_id": "1", "extra_specs": {"a": "b"}}
KINDS = (InstanceRow, ActionRow, ActionEventRow, FaultRow, OperationRow, ImageRow, ImageMemberRow, FlavorRow)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store.sqlite")
    yield made
    made.close()


def a_server(uuid, deleted_days_ago=None, **more):
    """In a transaction: a server with a history of one action, event, fault and operation."""
    ended = None if deleted_days_ago is None else time.time() - deleted_days_ago * DAY_S
    began = (ended or time.time()) - 3600
    InstanceRow.create(
        **{
            "uuid": uuid, "generation": 3, "name": f"name-{uuid}", "hostname": "s", "project_id": "p", "user_id": "u",
            "vm_state": "deleted" if ended else "active", "flavor": FLAVOR, "reservation_id": "r", "created_at": began,
            "launched_at": began, "deleted_at": ended, "terminated_at": ended, "host": None if ended else "lab1",
        } | more
    )  # fmt: skip
    action = ActionRow.create(instance_uuid=uuid, action="create", request_id="r", start_time=began)
    ActionEventRow.create(action_id=action.id, event="boot", start_time=began)
    FaultRow.create(instance_uuid=uuid, message="no", created_at=began)
    OperationRow.create(kind="boot", subject=uuid, state="done", request_id="r", created_at=began, finished_at=began)


def an_image(id, deleted_days_ago, **more):
    ImageRow.create(id=id, status="deleted", deleted_at=time.time() - deleted_days_ago * DAY_S, **more)


def counts(store):
    return store.read(lambda: {table.__name__: table.select().count() for table in KINDS})


def aged(store, days=90):
    return ageing.Purge(time.time() - days * DAY_S).run(store)


def test_only_what_was_deleted_long_ago_goes_and_with_it_its_history(store):
    def fill():
        a_server("old", 91)
        a_server("recent", 89)
        a_server("there")
        an_image("i-old", 91)
        an_image("i-recent", 1)
        FlavorRow.create(**FLAVOR | {"flavor_id": "9", "deleted_at": time.time() - 91 * DAY_S})
        FlavorRow.create(**FLAVOR | {"flavor_id": "10"})

    store.write(fill)
    expected = store.read(lambda: ageing.count(time.time() - 90 * DAY_S))
    assert aged(store) == expected
    assert len(expected) == 7 and set(expected.values()) == {1}
    left = counts(store)
    assert left["InstanceRow"] == left["ActionRow"] == left["ActionEventRow"] == left["FaultRow"] == 2
    assert {row.uuid for row in store.read(lambda: list(InstanceRow.select()))} == {"recent", "there"}
    assert [row.id for row in store.read(lambda: list(ImageRow.select()))] == ["i-recent"]
    assert not aged(store).total()


def test_a_server_that_a_host_still_has_to_remove_or_an_operation_works_on_stays(store):
    def fill():
        a_server("owed", 200, host="lab7")
        a_server("busy", 200)
        OperationRow.create(kind="delete", subject="busy", state="running", request_id="r", created_at=0)

    store.write(fill)
    aged(store)
    assert {row.uuid for row in store.read(lambda: list(InstanceRow.select()))} == {"owed", "busy"}
    assert store.read(lambda: OperationRow.select().where(OperationRow.state == "running").count()) == 1


def test_of_a_server_that_is_there_old_operations_and_faults_go_and_actions_stay(store):
    def fill():
        a_server("there")
        for day in (300, 200):
            moment = time.time() - day * DAY_S
            FaultRow.create(instance_uuid="other", message=f"{day}", created_at=moment)
            ActionRow.create(instance_uuid="there", action="reboot", request_id="r", start_time=moment)
            OperationRow.create(
                kind="reboot", subject="there", state="done", request_id="r", created_at=moment, finished_at=moment
            )

    store.write(fill)
    aged(store)
    assert [row.message for row in store.read(lambda: list(FaultRow.select()))] == ["no", "200"]
    assert counts(store)["OperationRow"] == 1
    assert counts(store)["ActionRow"] == 3


def test_a_host_that_was_away_for_longer_still_learns_that_its_guest_was_deleted(store):
    store.write(lambda: a_server("00000000-0000-4000-8000-000000000001", 400))
    aged(store)

    def guest(uuid):
        return GuestInfo(uuid=uuid, generation=2, power_state=PowerState.RUNNING)

    gone, never = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
    disowned = store.write(lambda: reports.compare("lab9", [guest(gone), guest(never)]))
    assert [getattr(one, "uuid", one) for one in disowned] == [gone]
    row = store.read(lambda: PastInstanceRow.get())
    assert (row.generation, row.deleted_at < time.time() - 399 * DAY_S) == (3, True)


def test_usage_reports_are_the_same_before_and_after(store):
    def report():
        spans = store.read(lambda: usage.of_servers(time.time() - 500 * DAY_S, time.time(), None))
        return [
            (getattr(span, "row", span).uuid, getattr(span, "row", span).name, round(span.hours, 6),
             {name: getattr(span, "row", span).flavor.get(name) for name in ("name", "vcpus", "memory_mb", "root_gb")})
            for span in spans
        ]  # fmt: skip

    store.write(lambda: list(map(a_server, "bac", (100, 91, 2))))
    before = report()
    aged(store)
    assert report() == before and [one[0] for one in before] == ["a", "b", "c"]
    assert store.read(lambda: "extra_specs" not in PastInstanceRow.get().flavor)


@pytest.mark.slow
def test_ten_thousand_go_in_pieces_that_keep_nobody_waiting_and_the_file_shrinks(store):
    def fill(first):
        for number in range(first, first + 500):
            a_server(f"{number:08}", 100, user_data=None, metadata={"text": "x" * 300})

    for first in range(0, 10_000, 500):
        store.write(lambda first=first: fill(first))
    store.read(store._overwritten)
    full = store.path.stat().st_size
    longest = 0.0

    def one(closure):
        nonlocal longest
        began = time.thread_time()
        try:
            return closure()
        finally:
            longest = max(longest, time.thread_time() - began)

    class Timed:
        read = store.read

        @staticmethod
        def write(closure):
            return store.write(lambda: one(closure))

    removed = ageing.Purge(time.time() - 90 * DAY_S).run(Timed)
    ageing.give_back(Timed)
    assert removed["servers"] == 10_000 and removed.total() == 50_000
    assert longest < 0.25, f"{longest:.3f} s of processor time in one transaction"
    store.read(store._overwritten)
    assert store.path.stat().st_size < full / 3, (full, store.path.stat().st_size)


def test_others_write_between_two_pieces(store):
    store.write(lambda: [a_server(f"{n}", 100) for n in range(300)] and None)
    written = []
    aged_all = gevent.spawn(lambda: ageing.Purge(time.time() - 50 * DAY_S).run(store, lambda: gevent.sleep(0.01)))
    while not aged_all.ready():
        written.append(store.write(lambda: a_server(f"new-{len(written)}")))
    assert len(written) > 3


class Clocks:
    """The wall clock and the seconds that this machine has run, as a test moves them."""

    def __init__(self, monkeypatch):
        self.wall, self.run = time.time(), 0.0
        monkeypatch.setattr(slow_clock, "now", lambda: self.wall)
        monkeypatch.setattr(slow_clock.time, "clock_gettime", lambda which: self.run)

    def pass_(self, days):
        self.wall += days * DAY_S
        self.run += days * DAY_S


def test_a_clock_that_jumps_ages_nothing(store, monkeypatch):
    clocks = Clocks(monkeypatch)
    store.write(lambda: a_server("x", 10))
    keeping = Upkeep(store)
    keeping.once()
    clocks.wall += 400 * DAY_S  # while it runs
    keeping.once()
    for _ in range(5):
        Upkeep(store).once()  # and at restarts
    clocks.pass_(1)
    keeping.once()
    assert counts(store)["InstanceRow"] == 1
    clocks.wall -= 400 * DAY_S  # somebody mends it
    keeping.once()
    clocks.pass_(70)
    keeping.once()
    assert counts(store)["InstanceRow"] == 1, "81 days"
    clocks.pass_(11)
    keeping.once()
    assert counts(store)["InstanceRow"] == 0


def test_a_store_that_rested_for_long_makes_up_for_it(store, monkeypatch):
    clocks = Clocks(monkeypatch)
    store.write(lambda: a_server("x", 0))
    Upkeep(store).once()
    clocks.wall += 91 * DAY_S  # switched off
    keeping = Upkeep(store)
    keeping.once()
    assert counts(store)["InstanceRow"] == 1
    clocks.pass_(31)
    keeping.once()
    assert counts(store)["InstanceRow"] == 0


def test_the_option_turns_it_off(store):
    store.write(lambda: list(map(a_server, ("x", "new"), (4000, None))))
    CONF.set_override("deleted_rows_days", 0)
    try:
        Upkeep(store).once()
    finally:
        CONF.clear_override("deleted_rows_days")
    assert counts(store)["InstanceRow"] == 2
    Upkeep(store).once()
    assert counts(store)["InstanceRow"] == 1


@pytest.mark.slow
def test_a_store_of_an_earlier_version_shrinks_too(tmp_path):
    path = tmp_path / "old.sqlite"
    Store(path).close()
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA auto_vacuum = 0")
    old.execute("PRAGMA journal_mode = delete")
    old.execute("VACUUM")
    assert old.execute("PRAGMA auto_vacuum").fetchone()[0] == 0
    old.close()
    store = Store(path)
    try:
        store.write(lambda: [an_image(f"i{n}", 100, properties={"x": "y" * 50_000}) for n in range(100)] and None)
        store.read(store._overwritten)
        full = path.stat().st_size
        aged(store)
        ageing.give_back(store)
        store.read(store._overwritten)
        assert full > 5_000_000 > 1_000_000 > path.stat().st_size
    finally:
        store.close()
