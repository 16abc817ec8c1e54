"""A boot ends in ACTIVE, or in ERROR with a reason a person can act on; nothing is left taken."""

from __future__ import annotations

import gevent
import pytest

from nova0.controller.db.compute_tables import ActionEventRow, ActionRow, ClaimRow, FaultRow, HostRow
from nova0.objects.errors import DriverError, NoSpace
from nova0.objects.flavor import Flavor
from nova0.objects.states import PowerState, VmState

BIG = Flavor(flavor_id="9", name="m1.big", vcpus=1, memory_mb=4096, root_gb=1)


def fault(cloud, uuid):
    return cloud.store.read(
        lambda: FaultRow.select().where(FaultRow.instance_uuid == uuid).order_by(FaultRow.id.desc()).first()
    )


def taken(cloud):
    return cloud.store.read(lambda: {h.host: (h.servers, h.memory_mb_used) for h in HostRow.select()})


@pytest.mark.covers("S398", "S372", "S173", "S174")
def test_a_server_becomes_active_and_its_steps_are_shown(cloud):
    cloud.host("lab1")
    uuid = cloud.boot()
    row = cloud.settled(uuid)
    assert (row.vm_state, row.power_state, row.host) == (VmState.ACTIVE, PowerState.RUNNING, "lab1")
    assert row.launched_at
    action = cloud.store.read(lambda: ActionRow.get(ActionRow.instance_uuid == uuid))
    assert action.action == "create" and action.finish_time and action.message is None
    events = cloud.store.read(
        lambda: [(e.event, e.result) for e in ActionEventRow.select().order_by(ActionEventRow.id)]
    )
    assert ("prepare", "Success") in events and ("start", "Success") in events


@pytest.mark.covers("S005", "S111", "S368", "S125", "S128", "S146")
def test_no_valid_host_names_what_each_filter_left(cloud):
    cloud.host("lab1", memory_mb=1024)
    cloud.host("lab2", memory_mb=1024)
    row = cloud.settled(cloud.boot(BIG))
    assert row.vm_state == VmState.ERROR and row.host is None
    message = fault(cloud, row.uuid).message
    assert "No valid host was found" in message
    assert "2 hosts" in message and "RamFilter left 0" in message
    assert taken(cloud) == {"lab1": (0, 0), "lab2": (0, 0)}


@pytest.mark.covers("S111", "S001")
def test_without_any_host_a_server_ends_in_error(cloud):
    cloud.controller.scheduler._started -= 60  # the time to gather hosts is over
    row = cloud.settled(cloud.boot())
    assert row.vm_state == VmState.ERROR
    assert "0 hosts" in fault(cloud, row.uuid).message


@pytest.mark.covers("S005", "S125")
def test_the_host_with_most_free_memory_is_chosen(cloud):
    for name, memory in (("lab1", 2048), ("lab2", 8192), ("lab3", 4096)):
        cloud.host(name, memory_mb=memory)
    assert cloud.settled(cloud.boot()).host == "lab2"


def test_a_host_that_fails_is_left_clean_and_another_tried(cloud):
    def no_space(uuid):
        raise NoSpace("lab1: no space for image x (needs 2 GiB, 1 free in /x): free space")

    first = cloud.host("lab1", memory_mb=16384)
    first.script["prepare"] = no_space
    second = cloud.host("lab2")
    row = cloud.settled(cloud.boot())
    assert (row.vm_state, row.host, row.generation) == (VmState.ACTIVE, "lab2", 2)
    assert ("delete", row.uuid) in first.asked
    assert taken(cloud) == {"lab1": (0, 0), "lab2": (1, 512)}
    assert second.guests_here[row.uuid] == PowerState.RUNNING


@pytest.mark.covers("S157", "S273")
def test_when_all_hosts_fail_the_fault_gives_each_reason_and_nothing_is_kept(cloud):
    hosts = [cloud.host(f"lab{i}") for i in (1, 2, 3, 4)]
    for host in hosts:

        def broken(uuid, name=host.name):
            raise DriverError(f"{name}: qemu exited: bad machine type")

        host.script["prepare"] = broken
    row = cloud.settled(cloud.boot())
    assert row.vm_state == VmState.ERROR and row.host is None
    details = fault(cloud, row.uuid).details
    assert details.count("bad machine type") == 3, "three hosts are tried, not more"
    assert cloud.store.read(lambda: ClaimRow.select().count()) == 0
    assert all(not host.guests_here for host in hosts)


@pytest.mark.covers("S084", "S160", "S159", "S168")
def test_a_hundred_at_once_on_a_host_with_room_for_ten(cloud):
    cloud.host("lab1", memory_mb=512 * 10, vcpus=100)
    uuids = [cloud.boot() for _ in range(100)]
    rows = [cloud.settled(uuid, 60) for uuid in uuids]
    assert sum(row.vm_state == VmState.ACTIVE for row in rows) == 10
    assert sum(row.vm_state == VmState.ERROR for row in rows) == 90
    assert taken(cloud) == {"lab1": (10, 5120)}


def test_a_host_that_dies_before_it_has_leave_costs_nothing(cloud):
    first = cloud.host("lab1", memory_mb=16384)
    first.script["start"] = lambda uuid, generation: (cloud.net.kill(first.bus), gevent.sleep(30))
    cloud.host("lab2")
    row = cloud.settled(cloud.boot(), 40)
    assert (row.vm_state, row.host) == (VmState.ACTIVE, "lab2")


def test_a_host_that_dies_with_leave_keeps_the_server_until_it_returns(cloud):
    first = cloud.host("lab1", memory_mb=16384)
    first.script["leave_granted"] = lambda uuid, generation: (cloud.net.kill(first.bus), gevent.sleep(60))
    cloud.host("lab2")
    uuid = cloud.boot()
    row = cloud.until(lambda: row if (row := cloud.row(uuid)).vm_state == VmState.ERROR else None, 40)
    assert row.host == "lab1", "it may be running there: it is not started elsewhere"
    assert "nova0 fence lab1" in fault(cloud, uuid).details
    assert taken(cloud)["lab1"][0] == 1
    again = cloud.host("lab1")
    again.guests_here[uuid] = PowerState.RUNNING
    row = cloud.until(lambda: row if (row := cloud.row(uuid)).vm_state == VmState.ACTIVE else None, 20)
    assert row.host == "lab1" and ("start", uuid) not in again.asked
