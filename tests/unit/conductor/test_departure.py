"""A host leaves for good: its servers end in ERROR with a fault that says so, and can be deleted; its name is free."""

from __future__ import annotations

import pytest
from gevent.event import Event

from nova0.controller.db.compute_tables import AggregateRow, ClaimRow, FaultRow, HostRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.mesh.errors import NotAllowed
from nova0.objects.states import PowerState, VmState
from nova0.rpcapi.conductor import ConductorAPI
from tests.unit.conductor.conftest import ScriptedHost


def booted(cloud, count):
    uuids = [cloud.boot() for _ in range(count)]
    for uuid in uuids:
        assert cloud.settled(uuid).vm_state == VmState.ACTIVE
    return uuids


def away(cloud, host):
    """Its agents have stopped; what is left is a node that says goodbye. Returns that node's bus."""
    cloud.net.kill(host.bus)
    bus = cloud.net.bus(host.name, "host", ("host",))
    bus.start()
    return bus


def test_its_servers_show_error_and_why_and_are_deleted_like_any_other(cloud):
    host = cloud.host("lab1")
    uuids = booted(cloud, 3)
    cloud.store.write(lambda: AggregateRow.create(name="rack", hosts=["lab0", "lab1"]))
    bus = away(cloud, host)
    assert sorted(bus.stub(ConductorAPI).host_leaves()) == sorted(uuids)
    for uuid in uuids:
        row = cloud.row(uuid)
        assert (row.vm_state, row.task_state, row.host) == (VmState.ERROR, None, None)
        assert row.power_state == PowerState.NOSTATE
        fault = cloud.store.read(lambda uuid=uuid: FaultRow.get(FaultRow.instance_uuid == uuid))
        assert fault.message.startswith("host lab1 left the cluster on 20") and "removed" in fault.message
    assert cloud.store.read(lambda: (ClaimRow.select().count(), HostRow.select().count())) == (0, 0)
    assert cloud.store.read(lambda: AggregateRow.get(AggregateRow.name == "rack").hosts) == ["lab0"]
    assert bus.stub(ConductorAPI).host_leaves() == []  # asked again
    cloud.ask("delete", uuids[0])
    cloud.until(lambda: cloud.row(uuids[0]).deleted_at)
    unfinished = OperationRow.select().where(OperationRow.finished_at.is_null())
    cloud.until(lambda: not cloud.store.read(unfinished.count))


@pytest.mark.slow
def test_what_was_under_way_there_ends_too(cloud):
    host = cloud.host("lab1")
    stopping, deleting = booted(cloud, 2)
    preparing = Event()
    host.script["prepare"] = lambda uuid: preparing.set() or Event().wait()
    building = cloud.boot()
    assert preparing.wait(30)
    bus = away(cloud, host)
    cloud.ask("stop", stopping, {"patience_s": 0})
    cloud.ask("delete", deleting)
    told = bus.stub(ConductorAPI).host_leaves()
    assert sorted(told) == sorted([stopping, building])
    assert {cloud.row(uuid).vm_state for uuid in told} == {VmState.ERROR}
    assert {cloud.row(uuid).task_state for uuid in told} == {None}
    cloud.until(lambda: cloud.row(deleting).host is None and cloud.row(deleting).deleted_at, 60)
    unfinished = OperationRow.select().where(OperationRow.state.in_(("ready", "running")))
    cloud.until(lambda: not cloud.store.read(unfinished.count), 60)


def test_a_machine_that_comes_under_the_same_name_begins_anew(cloud):
    first = cloud.host("lab1")
    booted(cloud, 1)
    first.bus.stub(ConductorAPI).host_leaves()
    first.bus.stop()
    ScriptedHost(cloud.net, "lab1").join()
    row = cloud.store.read(lambda: HostRow.get(HostRow.host == "lab1"))
    assert (row.disabled, row.forced_down, row.servers) == (False, False, 0)
    booted(cloud, 1)


def test_the_controllers_own_machine_does_not_leave(cloud):
    bus = cloud.net.bus(cloud.bus.host, "host", ("host",))
    bus.start()
    with pytest.raises(NotAllowed, match="nova0 destroy"):
        bus.stub(ConductorAPI).host_leaves()
