"""A controller that is mistaken, or lies, disowns many guests at once: this host keeps them."""

from __future__ import annotations

import msgspec
import pytest

from nova0.clock import Moment
from nova0.controller.db.compute_tables import InstanceRow
from nova0.host.compute import adopt
from nova0.host.compute.disowned import FILE, WINDOW_S, Disownings
from nova0.host.compute.records import Records
from nova0.mesh.errors import NotAllowed, StoreDoubted
from nova0.objects.host import Disowned
from nova0.objects.states import PowerState
from nova0.rpcapi.compute import ComputeAPI
from tests.unit.host.lab import a_view, an_instance
from tests.unit.host.test_with_conductor import cloud  # noqa: F401  a fixture

RUNNING = PowerState.RUNNING


def booted(lab, count):
    machine = lab.host()
    assert machine.adoption.adopted.wait(30)
    servers = [an_instance(number) for number in range(1, count + 1)]
    for server in servers:
        lab.compute().prepare(server, [a_view(*servers)])
        lab.compute().start(server.uuid, 1)
    lab.conductor.placed, lab.conductor.views = servers, [a_view(*servers)]
    return machine, [server.uuid for server in servers]


def here(machine):
    return {found.uuid for found in machine.driver.found()}


def myself(machine):
    return machine.bus.stub(ComputeAPI, machine.host)


@pytest.mark.covers("S293")
def test_a_mass_disowning_removes_nothing_and_is_told(lab):
    machine, uuids = booted(lab, 5)
    lab.conductor.disowned = uuids
    adopt.compare(machine.guests)
    assert here(machine) == set(uuids)
    assert {guest.kept for guest in myself(machine).held()} == {"deleted"}
    assert "5 guests" in machine.resources.state().notes[-1]
    adopt.compare(machine.guests)  # and it stays so
    assert here(machine) == set(uuids)
    lab.conductor.disowned = []  # placed here again: nothing is in doubt any more
    adopt.compare(machine.guests)
    assert {guest.kept for guest in myself(machine).held()} == {""}
    assert not any("kept in doubt" in note for note in machine.resources.state().notes)


@pytest.mark.covers("S293")
def test_a_few_at_a_time_go_until_they_are_too_many_also_across_restarts(lab):
    machine, uuids = booted(lab, 6)
    lab.conductor.disowned = uuids[:2]
    adopt.compare(machine.guests)
    assert here(machine) == set(uuids[2:])
    lab.kill()
    lab.conductor.disowned = uuids[2:4]
    machine = lab.host()
    assert machine.adoption.adopted.wait(30)
    assert here(machine) == set(uuids[2:])
    lab.conductor.disowned = uuids[2:3]  # fewer at once, and a toggling store: they count all the same
    adopt.compare(machine.guests)
    lab.conductor.disowned = []
    adopt.compare(machine.guests)
    lab.conductor.disowned = uuids[4:5]
    adopt.compare(machine.guests)
    assert here(machine) == set(uuids[2:])


@pytest.mark.covers("S293")
def test_deletes_one_by_one_are_obeyed_and_end_the_doubt(lab):
    machine, uuids = booted(lab, 5)
    lab.conductor.disowned = uuids
    adopt.compare(machine.guests)
    for uuid in uuids:
        lab.compute().delete(uuid, 2)
    assert here(machine) == set()
    assert machine.guests.disowned.kept() == {}
    assert not any(machine.guests.inventory().values())


@pytest.mark.covers("S293")
def test_a_person_at_the_machine_releases_what_was_shown_and_nobody_else_may(lab):
    machine, uuids = booted(lab, 5)
    lab.conductor.disowned = uuids[:4]
    adopt.compare(machine.guests)
    with pytest.raises(NotAllowed):
        lab.compute().release(uuids)
    assert here(machine) == set(uuids)
    assert set(myself(machine).release([*uuids[:3], uuids[4]])) == set(uuids[:3])  # the fifth was not in doubt
    assert here(machine) == set(uuids[3:])
    adopt.compare(machine.guests)
    assert here(machine) == set(uuids[3:])  # what was not let go stays in doubt
    assert set(myself(machine).release(uuids)) == {uuids[3]}
    lab.conductor.disowned = uuids[4:]
    adopt.compare(machine.guests)
    assert here(machine) == set()  # counting began anew


@pytest.mark.covers("S293")
@pytest.mark.parametrize(("reason", "ahead"), [("because", 1), ("", 1), ("deleted", -1)])
def test_what_does_not_fit_the_hosts_own_record_is_kept(lab, reason, ahead):
    machine, uuids = booted(lab, 1)
    lab.conductor.disowned, lab.conductor.reason, lab.conductor.ahead = uuids, reason, ahead
    adopt.compare(machine.guests)
    assert here(machine) == set(uuids)
    lab.conductor.reason, lab.conductor.ahead = "moved", 0
    adopt.compare(machine.guests)
    assert here(machine) == set()


def test_nothing_is_released_for_a_store_in_doubt(lab, monkeypatch):
    machine, uuids = booted(lab, 5)
    lab.conductor.disowned = uuids
    adopt.compare(machine.guests)
    monkeypatch.setattr(machine.guests, "store_doubt", lambda: "restored from an older copy")
    with pytest.raises(StoreDoubted, match="older copy"):
        myself(machine).release(uuids)
    assert here(machine) == set(uuids)


def test_what_was_let_go_and_failed_goes_at_the_next_audit(lab, monkeypatch):
    machine, uuids = booted(lab, 2)
    lab.conductor.disowned = uuids
    remove = machine.driver.remove
    monkeypatch.setattr(machine.driver, "remove", lambda uuid: (_ for _ in ()).throw(OSError("busy")))
    adopt.compare(machine.guests)
    assert here(machine) == set(uuids)
    monkeypatch.setattr(machine.driver, "remove", remove)
    adopt.compare(machine.guests)
    assert here(machine) == set()


class Book:
    """Disownings with time that passes, a clock that anybody sets, and a machine that restarts."""

    def __init__(self, tmp_path):
        self.records = Records("lab1", tmp_path)
        self.records.open()
        self.clock, self.ticks, self.boot = 1_000_000.0, 1000.0, "a"
        self.start()

    def start(self):
        self.book = Disownings(self.records, lambda: Moment(self.boot, self.ticks, self.clock))
        self.book.open()

    def wait(self, seconds):
        self.clock += seconds
        self.ticks += seconds

    def judge(self, *numbers):
        said = [Disowned(uuid=uuid_of(n), reason="deleted", generation=3) for n in numbers]
        let_go = self.book.judge(said, {uuid_of(n): 2 for n in range(50)})
        return sorted(int(uuid[-2:]) for uuid in let_go)


def uuid_of(number):
    return f"5a0f8c9e-0000-4000-8000-0000000000{number:02}"


@pytest.mark.parametrize("boots", ["aa", "ab"], ids=["one run", "the machine restarts"])
def test_ten_minutes_later_a_few_more_may_go_though_the_clock_was_ahead(tmp_path, boots):
    book = Book(tmp_path)
    book.clock += 86_400
    assert book.judge(1, 2, 3) == [1, 2, 3]
    book.clock -= 86_400
    book.boot = boots[1]
    book.start()
    assert book.judge(4) == []
    book.wait(WINDOW_S - 1)
    assert book.judge(4, 5) == []
    assert book.judge() == []
    book.wait(WINDOW_S + 1)
    assert book.judge(4, 5) == [4, 5]


def test_a_clock_set_ahead_lets_no_more_go(tmp_path):
    """threat: who disowns a host's guests tells it the time, too."""
    book = Book(tmp_path)
    assert book.judge(1, 2, 3) == [1, 2, 3]
    for first in (4, 7):
        book.clock += 2 * WINDOW_S
        assert book.judge(*range(first, first + 3)) == []
        book.start()
    assert book.judge() == []
    book.wait(WINDOW_S + 1)
    assert book.judge(10) == [10]


def test_a_batch_in_doubt_holds_back_those_that_come_later(tmp_path):
    book = Book(tmp_path)
    assert book.judge(1, 2, 3, 4) == []
    book.wait(10 * WINDOW_S)
    assert book.judge(1, 2, 3, 4, 5) == []
    assert len(book.book.kept()) == 5


def test_a_file_that_cannot_be_read_keeps_nobody_from_starting(tmp_path):
    book = Book(tmp_path)
    book.judge(1, 2, 3, 4)
    path = book.records.directory / FILE
    assert len(msgspec.json.decode(path.read_bytes())) == 4
    path.write_bytes(path.read_bytes()[:20])
    book.start()
    assert book.judge(1, 2, 3, 4) == []


@pytest.mark.covers("S293")
def test_a_host_that_was_away_while_many_servers_were_deleted_removes_them_all_by_itself(cloud):  # noqa: F811
    machine = cloud.machine("lab1")
    uuids = [cloud.boot() for _ in range(6)]
    for uuid in uuids:
        cloud.settled(uuid)
    cloud.kill(machine)
    for uuid in uuids[:5]:  # settled without it, as after `nova0 fence`
        cloud.store.write(
            InstanceRow.update(host=None, deleted_at=1.0, generation=9).where(InstanceRow.uuid == uuid).execute
        )
    machine = cloud.machine("lab1")
    cloud.until(lambda: here(machine) == {uuids[5]})
    cloud.until(lambda: not machine.guests.disowned.kept())
    assert machine.guests.inventory()["disks"] == [uuids[5]]
