"""Delete wins over everything; power changes end where they should; hosts' reports are taken up."""

from __future__ import annotations

import gevent
import pytest
from gevent.lock import RLock

from nova0.controller.db.compute_tables import ClaimRow, HostRow, InstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.objects.errors import DriverError
from nova0.objects.host import Disowned, GuestInfo
from nova0.objects.states import PowerState, VmState
from nova0.rpcapi.conductor import ConductorAPI


def gone(cloud, uuid):
    return cloud.until(lambda: cloud.row(uuid).deleted_at)


def claims(cloud):
    return cloud.store.read(lambda: ClaimRow.select().count())


@pytest.mark.covers("S178")
def test_delete_gives_everything_back_and_keeps_the_row(cloud):
    host = cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    cloud.ask("delete", uuid)
    gone(cloud, uuid)
    row = cloud.row(uuid)
    assert row.vm_state == VmState.DELETED and row.terminated_at
    cloud.until(lambda: claims(cloud) == 0)
    assert host.guests_here == {}


@pytest.mark.covers("S397")
def test_delete_before_a_host_was_found(cloud):
    uuid = cloud.boot()
    cloud.ask("delete", uuid)
    gone(cloud, uuid)
    cloud.host("lab1")
    gevent.sleep(0.3)
    assert cloud.row(uuid).vm_state == VmState.DELETED, "the boot was superseded"


def test_delete_during_prepare_leaves_no_guest(cloud):
    host = cloud.host("lab1")
    preparing = gevent.event.Event()
    host.script["prepare"] = lambda uuid: (preparing.set(), gevent.sleep(0.3))
    uuid = cloud.boot()
    preparing.wait(30)
    cloud.ask("delete", uuid)
    gone(cloud, uuid)
    states = cloud.until(
        lambda: (
            found
            if "running" not in (found := [o.state for o in cloud.store.read(lambda: list(OperationRow.select()))])
            else None
        )
    )
    assert sorted(states) == ["done", "failed"]
    assert claims(cloud) == 0 and cloud.row(uuid).vm_state == VmState.DELETED


@pytest.mark.covers("S295")
def test_with_its_host_silent_a_server_is_gone_at_once_but_its_claim_stays(cloud):
    host = cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    cloud.net.kill(host.bus)
    cloud.ask("delete", uuid)
    gone(cloud, uuid)
    assert claims(cloud) == 1, "the guest may still run with its address"
    again = cloud.host("lab1")
    again.guests_here[uuid] = PowerState.RUNNING
    cloud.until(lambda: claims(cloud) == 0, 15)
    assert again.guests_here == {}


@pytest.mark.parametrize(
    "asked, rests, power",
    [
        (["stop"], VmState.STOPPED, PowerState.SHUTDOWN),
        (["stop", "start"], VmState.ACTIVE, PowerState.RUNNING),
        (["reboot"], VmState.ACTIVE, PowerState.RUNNING),
        (["pause"], VmState.PAUSED, PowerState.PAUSED),
        (["pause", "unpause"], VmState.ACTIVE, PowerState.RUNNING),
    ],
)
def test_power_operations_come_to_rest(cloud, asked, rests, power):
    cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    for kind in asked:
        cloud.ask(kind, uuid)
        cloud.until(lambda: not unfinished(cloud))
    row = cloud.row(uuid)
    assert (row.vm_state, row.power_state, row.task_state) == (rests, power, None)


def unfinished(cloud):
    return cloud.store.read(lambda: OperationRow.select().where(OperationRow.state.in_(("ready", "running"))).count())


def test_a_power_operation_that_fails_leaves_the_server_as_it_was(cloud):
    host = cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)

    def broken(uuid):
        raise DriverError("lab1: libvirt says no")

    host.script["pause"] = broken
    cloud.ask("pause", uuid)
    cloud.until(lambda: not unfinished(cloud))
    row = cloud.row(uuid)
    assert (row.vm_state, row.task_state) == (VmState.ACTIVE, None)


@pytest.mark.covers("S290")
def test_a_guest_that_stopped_by_itself_shows_shutoff(cloud):
    host = cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    host.guests_here[uuid] = PowerState.SHUTDOWN
    host.bus.stub(ConductorAPI, "ctl").power_changed(uuid, 1, int(PowerState.SHUTDOWN))
    cloud.until(lambda: cloud.row(uuid).vm_state == VmState.STOPPED)


@pytest.mark.covers("S290")
def test_a_guest_running_though_stopped_is_stopped(cloud):
    host = cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    cloud.ask("stop", uuid)
    cloud.until(lambda: not unfinished(cloud))
    host.guests_here[uuid] = PowerState.RUNNING
    host.bus.stub(ConductorAPI).compare([GuestInfo(uuid=uuid, generation=1, power_state=PowerState.RUNNING)])
    cloud.until(lambda: host.guests_here[uuid] == PowerState.SHUTDOWN)


@pytest.mark.covers("S293")
def test_a_host_is_told_to_remove_what_the_store_does_not_place_there(cloud):
    host = cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    cloud.ask("delete", uuid)
    cloud.until(lambda: cloud.row(uuid).deleted_at and not unfinished(cloud))
    stray = GuestInfo(uuid=uuid, generation=1, power_state=PowerState.RUNNING)
    host.guests_here[uuid] = PowerState.RUNNING
    asked = len(host.asked)
    generation = cloud.row(uuid).generation
    told = host.bus.stub(ConductorAPI).compare([stray])
    assert told == [Disowned(uuid=uuid, reason="deleted", generation=generation)]
    cloud.until(lambda: uuid not in host.guests_here)  # by a delete of its own, not by that answer
    assert host.asked[asked:] == [("delete", uuid)]


@pytest.mark.covers("S293")
def test_many_guests_of_a_host_that_was_away_are_deleted_one_by_one_and_a_failing_one_again(cloud):
    """Fenced, its servers deleted and settled; then it is back with all of them."""
    host = cloud.host("lab1")
    uuids = [cloud.boot() for _ in range(4)]
    for uuid in uuids:
        cloud.settled(uuid)
        cloud.store.write(
            InstanceRow.update(host=None, deleted_at=1.0, generation=7).where(InstanceRow.uuid == uuid).execute
        )
    with_me = [GuestInfo(uuid=uuid, generation=1, power_state=PowerState.RUNNING) for uuid in uuids]
    generations = []

    def refuse(uuid, generation):
        generations.append(generation)
        if uuid == uuids[1] and len(generations) < 5:
            raise DriverError("lab1: it will not go")

    host.script["delete"] = refuse
    assert len(host.bus.stub(ConductorAPI).compare(with_me)) == 4
    cloud.until(lambda: list(host.guests_here) == [uuids[1]])
    assert generations == [7, 7, 7, 7]

    def asked_again():  # the host tells each minute what it holds; while it is still being asked nothing is added
        host.bus.stub(ConductorAPI).compare(with_me[1:2])
        return not host.guests_here

    cloud.until(asked_again)


def test_a_guest_the_store_never_knew_is_left_alone(cloud):
    host = cloud.host("lab1")
    strange = GuestInfo(uuid="5a0f8c9e-0000-4000-8000-000000000000", generation=1, power_state=PowerState.RUNNING)
    assert host.bus.stub(ConductorAPI).compare([strange]) == []


@pytest.mark.covers("S083", "S292", "S162", "S168")
def test_a_wrong_sum_is_right_after_the_audit(cloud):
    from nova0.controller.conductor import claims as books

    cloud.host("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    cloud.store.write(lambda: HostRow.update(memory_mb_used=99999, servers=7).execute())
    lines = cloud.store.write(books.audit)
    row = cloud.store.read(lambda: HostRow.get())
    assert (row.memory_mb_used, row.servers) == (512, 1) and len(lines) == 1


def test_a_boot_that_a_delete_superseded_changes_nothing_more(cloud):
    """Its host refuses the start, and the boot would turn to another: but the server is being deleted."""
    host = cloud.host("lab1")
    cloud.host("lab2", memory_mb=1024)
    starting, deleting = gevent.event.Event(), gevent.event.Event()

    def refused(uuid, generation):
        starting.set()
        deleting.wait(30)
        raise DriverError("lab1: no")

    host.locks = {}
    host._alone = lambda uuid: RLock()  # the delete gets through while the start hangs
    host.script["start"] = refused
    uuid = cloud.boot()
    starting.wait(30)
    generations = []
    host.script["delete"] = lambda uuid, generation: (generations.append(generation), deleting.set(), gevent.sleep(0.3))
    cloud.ask("delete", uuid)
    gone(cloud, uuid)
    cloud.until(lambda: not unfinished(cloud))
    assert generations == [2] and cloud.row(uuid).generation == 2
