"""A host process dies or loses its controller and comes back: guests run on and both sides agree again."""

from __future__ import annotations

import gevent
import pytest

from nova0.host.compute import adopt, networks
from nova0.host.compute.records import Records
from nova0.mesh.local import LocalBus
from nova0.objects.errors import NetworkError, Stale
from nova0.objects.states import PowerState
from tests.unit.host.lab import NETWORK, a_view, an_instance, eventually

RUNNING, SHUTDOWN = PowerState.RUNNING, PowerState.SHUTDOWN


def boot(lab, *instances, revision=1):
    for instance in instances:
        lab.compute().prepare(instance, [a_view(*instances, revision=revision)])
        lab.compute().start(instance.uuid, instance.generation)


def adopted(machine):
    assert machine.adoption.adopted.wait(30)
    return machine


@pytest.mark.covers("S045")
def test_running_guests_are_adopted_after_a_kill(lab):
    lab.host()
    servers = [an_instance(number) for number in range(1, 4)]
    boot(lab, *servers)
    lab.compute().stop(servers[2].uuid, 1, 0)
    lab.kill()
    lab.conductor.placed, lab.conductor.views = servers, [a_view(*servers)]
    adopted(lab.host())
    told = {guest.uuid: guest.power_state for guest in lab.conductor.compared[-1]}
    assert told == {servers[0].uuid: RUNNING, servers[1].uuid: RUNNING, servers[2].uuid: SHUTDOWN}
    assert all(guest.generation == 1 and guest.leased for guest in lab.conductor.compared[-1])
    assert len(lab.compute().inventory()["taps"]) == 3


@pytest.mark.covers("S045", "S293")
def test_what_the_store_disowns_is_removed_and_nothing_else(lab):
    lab.host()
    mine, theirs = an_instance(1), an_instance(2)
    boot(lab, mine, theirs)
    lab.kill()
    lab.conductor.placed, lab.conductor.views = [mine], [a_view(mine, revision=2)]
    lab.conductor.disowned = [theirs.uuid]
    adopted(lab.host())
    left = lab.compute().inventory()
    assert left["guests"] == left["disks"] == left["metadata"] == [mine.uuid]
    assert left["taps"] == [mine.ports[0].tap]
    with pytest.raises(Stale):
        lab.compute().start(theirs.uuid, 1)


@pytest.mark.design("R6")
def test_a_store_in_doubt_disowns_in_vain(lab, monkeypatch):
    lab.host()
    server = an_instance(1)
    boot(lab, server)
    lab.kill()
    monkeypatch.setattr(LocalBus, "store_doubt", lambda self: "restored from an older copy")
    lab.conductor.disowned = [server.uuid]
    adopted(lab.host())
    assert lab.compute().inventory()["guests"] == [server.uuid]
    lab.kill()
    monkeypatch.undo()
    adopted(lab.host())
    assert lab.compute().inventory()["guests"] == []


def test_without_a_controller_nothing_is_destroyed_and_it_is_asked_until_it_answers(lab, monkeypatch):
    monkeypatch.setattr(adopt, "RETRY_S", (0.05, 0.05))
    lab.host()
    server = an_instance()
    boot(lab, server)
    lab.kill()
    lab.net.kill(lab.controller)
    machine = lab.host()
    assert not machine.adoption.adopted.wait(0.3)
    inventory = machine.guests.inventory()
    assert inventory["guests"] == inventory["metadata"] == [server.uuid] and len(inventory["taps"]) == 1
    assert machine.driver.find(server.uuid).power_state == RUNNING
    lab.conductor.placed, lab.conductor.views = [server], [a_view(server)]
    lab.controller_up()
    adopted(machine)
    assert lab.compute().inspect(server.uuid).power_state == RUNNING


def test_a_controller_that_comes_back_is_told_everything_again(lab):
    machine = adopted(lab.host())
    server = an_instance()
    boot(lab, server)
    lab.conductor.placed, lab.conductor.views = [server], [a_view(server)]
    told = len(lab.conductor.reports)
    lab.net.kill(lab.controller)
    lab.controller_up()
    eventually(lambda: len(lab.conductor.reports) > told)
    eventually(lambda: [guest.uuid for guest in lab.conductor.compared[-1]] == [server.uuid])
    assert machine.driver.find(server.uuid).power_state == RUNNING


def test_an_absent_controller_does_not_fill_the_log(lab, monkeypatch, caplog):
    monkeypatch.setattr(adopt, "RETRY_S", (0.01, 0.01))
    monkeypatch.setattr(networks, "RETRY_S", (0.01, 0.01))
    lab.net.kill(lab.controller)
    caplog.set_level("INFO")
    machine = lab.host()
    compute, network = machine.agents()
    network.audit()
    for _ in range(10):
        compute.update_available_resource()
        compute.sync_power_states()
        gevent.sleep(0.02)
    told = [record.message for record in caplog.records if record.name.startswith("nova0.host")]
    assert len(told) == 2, told
    lab.controller_up()
    assert machine.adoption.adopted.wait(30)


def test_a_controller_that_appears_is_told_at_once(lab, monkeypatch):
    monkeypatch.setattr(adopt, "RETRY_S", (60, 60))
    lab.net.kill(lab.controller)
    machine = lab.host()
    assert not machine.adoption.adopted.wait(0.1)
    lab.controller_up()
    assert machine.adoption.adopted.wait(30)
    assert lab.conductor.reports


def test_what_was_disowned_under_an_older_generation_is_left_alone(lab):
    """The answer was on its way while the controller placed the server here anew."""
    machine = adopted(lab.host())
    server = an_instance(generation=1)
    boot(lab, server)
    from nova0.host.compute.delete import remove_disowned

    again = an_instance(uuid=server.uuid, generation=2)
    lab.compute().prepare(again, [a_view(again, revision=2)])
    remove_disowned(machine.guests, server.uuid, 1)
    assert lab.compute().inspect(server.uuid).power_state == RUNNING


def test_a_delete_cut_short_is_finished_at_the_next_start(lab, monkeypatch):
    machine = lab.host()
    server = an_instance()
    boot(lab, server)
    machine.records.bury(server.uuid, 2)  # the process died right after the tombstone
    lab.kill()
    lab.net.kill(lab.controller)
    machine = lab.host()
    assert {kind: found for kind, found in machine.guests.inventory().items() if found} == {}
    lab.controller_up()


def test_one_instance_that_fails_does_not_keep_the_others_waiting(lab, monkeypatch, option):
    option("disown_most", 10)
    lab.host()
    servers = [an_instance(number) for number in range(1, 4)]
    boot(lab, *servers)
    lab.kill()
    lab.conductor.disowned = [server.uuid for server in servers]
    machine = lab.host()
    adopted(machine)
    lab.kill()

    lab.conductor.disowned = []
    machine = adopted(lab.host())
    fresh = [an_instance(number, generation=5) for number in range(4, 7)]
    boot(lab, *fresh, revision=3)
    lab.conductor.disowned = [server.uuid for server in fresh]
    remove = machine.driver.remove

    def stubborn(uuid):
        if uuid == fresh[0].uuid:
            raise NetworkError("lab1: it will not go")
        remove(uuid)

    monkeypatch.setattr(machine.driver, "remove", stubborn)
    adopt.compare(machine.guests)
    assert [found.uuid for found in machine.driver.found()] == [fresh[0].uuid]


def test_tombstones_outlive_the_process(lab):
    lab.host()
    server = an_instance()
    boot(lab, server)
    lab.compute().delete(server.uuid, 2)
    lab.kill()
    lab.host()
    with pytest.raises(Stale):
        lab.compute().prepare(server, [a_view(server)])


def test_tombstones_are_bounded_and_the_newest_stay(tmp_path):
    records = Records("lab1", tmp_path, most_tombstones=10)
    records.open()
    uuids = [an_instance().uuid for _ in range(35)]
    for generation, uuid in enumerate(uuids, 1):
        records.bury(uuid, generation)
    again = Records("lab1", tmp_path, most_tombstones=10)
    again.open()
    assert [again.buried(uuid) for uuid in uuids[-10:]] == list(range(26, 36))
    assert [again.buried(uuid) for uuid in uuids[:25]] == [0] * 25
    assert len((tmp_path / "instances-records/tombstones").read_text().splitlines()) == 10


def test_a_torn_tombstone_and_an_unreadable_record_do_not_keep_the_host_down(tmp_path, caplog):
    records = Records("lab1", tmp_path)
    records.open()
    server = an_instance()
    records.bury(server.uuid, 7)
    with open(records.directory / "tombstones", "a") as graves:
        graves.write("1234-torn")
    (records.directory / f"{an_instance().uuid}.json").write_text("{")
    again = Records("lab1", tmp_path)
    again.open()
    assert again.buried(server.uuid) == 7 and again.all() == []
    assert "set aside" in caplog.text


@pytest.mark.covers("S045")
def test_guests_are_resumed_after_the_machines_own_restart_where_wanted(lab, option):
    option("resume_guests_state_on_host_boot", True)
    machine = lab.host()
    ran, rested = an_instance(1), an_instance(2)
    boot(lab, ran, rested)
    lab.compute().stop(rested.uuid, 1, 0)
    lab.kill()
    machine.driver.cut_power(ran.uuid)  # what the restart did to it
    (machine.records.directory / "boot-id").write_text("another boot")
    lab.conductor.placed, lab.conductor.views = [ran, rested], [a_view(ran, rested)]
    machine = adopted(lab.host())
    assert machine.driver.find(ran.uuid).power_state == RUNNING
    assert machine.driver.find(rested.uuid).power_state == SHUTDOWN


@pytest.mark.covers("S045")
def test_guests_are_not_resumed_when_only_the_process_restarted(lab, option):
    option("resume_guests_state_on_host_boot", True)
    machine = lab.host()
    server = an_instance()
    boot(lab, server)
    lab.kill()
    machine.driver.cut_power(server.uuid)
    lab.conductor.placed, lab.conductor.views = [server], [a_view(server)]
    machine = adopted(lab.host())
    assert machine.driver.find(server.uuid).power_state == SHUTDOWN


def test_a_guest_without_a_record_is_taken_up_from_the_store(lab):
    machine = lab.host()
    server = an_instance(generation=4)
    boot(lab, server)
    lab.kill()
    (machine.records.directory / f"{server.uuid}.json").unlink()
    lab.conductor.placed, lab.conductor.views = [server], [a_view(server)]
    machine = adopted(lab.host())
    assert machine.records.get(server.uuid).instance == server
    with pytest.raises(Stale):
        lab.compute().stop(server.uuid, 3, 0)


def test_a_changed_network_is_fetched_once_for_many_casts(lab):
    machine = adopted(lab.host())
    server = an_instance()
    boot(lab, server)
    fetched = []
    fetch = machine.networks._fetch
    machine.networks._fetch = lambda: (fetched.append(1), fetch())[1]
    lab.conductor.views = [a_view(server, revision=9)]
    for _ in range(20):
        lab.network().changed(NETWORK, 9)
    eventually(lambda: machine.networks.carried() == {NETWORK: 9})
    assert len(fetched) <= 2
    lab.network().changed(NETWORK, 9)
    lab.network().changed("99999999-2222-4333-8444-555555555555", 1)
    assert len(fetched) <= 2


def test_a_gap_in_the_casts_makes_the_host_ask(lab):
    machine = adopted(lab.host())
    server = an_instance()
    boot(lab, server)
    lab.conductor.views = [a_view(server, revision=7)]
    machine.bus.gap("network", "ctl/controller")
    eventually(lambda: machine.networks.carried() == {NETWORK: 7})


def test_a_network_the_store_does_not_know_stays_while_an_instance_here_needs_it(lab):
    """The store's answer may be older than what is being built here."""
    machine = adopted(lab.host())
    server = an_instance()
    boot(lab, server)
    lab.conductor.views = []
    machine.networks.fetch_anew()
    assert machine.networks.carried() == {NETWORK: 1}
    lab.compute().delete(server.uuid, 2)
    assert machine.networks.carried() == {}
