"""The life of a server on its host, asked over the bus as a controller asks."""

from __future__ import annotations

import time

import gevent
import pytest

from nova0.host.compute import power_off
from nova0.mesh.errors import BadArguments
from nova0.objects.errors import DriverError, InstanceNotFound, LeaveRefused, Stale
from nova0.objects.states import PowerState
from tests.unit.host.lab import a_view, an_instance, eventually

RUNNING, PAUSED, SHUTDOWN = PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUTDOWN


@pytest.fixture
def host(lab):
    return lab.host()


@pytest.fixture
def compute(lab, host):
    return lab.compute()


@pytest.fixture
def running(lab, compute):
    """A server that runs."""
    instance = an_instance()
    compute.prepare(instance, [a_view(instance)])
    compute.start(instance.uuid, 1)
    return instance


def nothing_is_left(inventory):
    return {kind: found for kind, found in inventory.items() if found} == {}


@pytest.mark.covers("S081")
def test_a_server_is_prepared_started_stopped_and_deleted(lab, compute):
    instance = an_instance()
    assert compute.prepare(instance, [a_view(instance)]).power_state == SHUTDOWN
    started = compute.start(instance.uuid, 1)
    assert (started.power_state, started.leased, started.host) == (RUNNING, True, "lab1")
    assert compute.stop(instance.uuid, 1, 10.0).power_state == SHUTDOWN
    assert compute.start(instance.uuid, 1).power_state == RUNNING
    compute.delete(instance.uuid, 2)
    assert compute.inspect(instance.uuid) is None


@pytest.mark.covers("S081")
def test_every_step_may_be_asked_again(compute):
    instance = an_instance()
    for _ in range(2):
        compute.prepare(instance, [a_view(instance)])
    for _ in range(2):
        assert compute.start(instance.uuid, 1).power_state == RUNNING
    for _ in range(2):
        assert compute.stop(instance.uuid, 1, 0).power_state == SHUTDOWN
    for _ in range(2):
        compute.delete(instance.uuid, 2)


def test_preparing_a_running_server_again_leaves_it_running(compute, running):
    assert compute.prepare(running, [a_view(running)]).power_state == RUNNING
    assert compute.inspect(running.uuid).leased


def test_deleting_leaves_an_empty_inventory(lab, compute):
    instances = [an_instance(number, ports=2, config_drive=True) for number in range(1, 4)]
    for instance in instances:
        compute.prepare(instance, [a_view(*instances)])
    compute.start(instances[0].uuid, 1)
    before = compute.inventory()
    assert len(before["guests"]) == len(before["disks"]) == len(before["metadata"]) == 3
    assert len(before["taps"]) == len(before["rules"]) == 6 and before["bridges"]
    for instance in instances:
        compute.delete(instance.uuid, 2)
    assert nothing_is_left(compute.inventory())


def test_progress_names_the_stages(lab, host):
    told = []
    instance = an_instance()
    lab.compute(on_progress=told.append).prepare(instance, [a_view(instance)])
    assert [value["stage"] for value in told] == ["network", "disk", "define", "define"]
    assert told[-1]["percent"] == 100


def test_a_late_start_after_a_delete_is_refused(lab, compute, running):
    compute.delete(running.uuid, 2)
    asked = len(lab.conductor.asked)
    with pytest.raises(Stale, match="lab1"):
        compute.start(running.uuid, 1)
    with pytest.raises(Stale):
        compute.prepare(running, [a_view(running)])
    assert compute.inspect(running.uuid) is None
    assert len(lab.conductor.asked) == asked


def test_a_delete_of_a_server_never_met_refuses_its_late_prepare(compute):
    instance = an_instance(generation=3)
    compute.delete(instance.uuid, 3)
    with pytest.raises(Stale):
        compute.prepare(instance, [a_view(instance)])
    assert nothing_is_left(compute.inventory())


def test_a_server_may_come_back_under_a_higher_generation(compute, running):
    compute.delete(running.uuid, 2)
    again = an_instance(uuid=running.uuid, generation=3)
    compute.prepare(again, [a_view(again, revision=2)])
    assert compute.start(again.uuid, 3).power_state == RUNNING


def test_an_older_generation_than_seen_is_refused_everywhere(compute, running):
    compute.stop(running.uuid, 5, 0)
    for refused in (
        lambda: compute.prepare(running, [a_view(running)]),
        lambda: compute.start(running.uuid, 4),
        lambda: compute.stop(running.uuid, 4, 0),
        lambda: compute.reboot(running.uuid, 4, True),
        lambda: compute.pause(running.uuid, 4),
        lambda: compute.unpause(running.uuid, 4),
        lambda: compute.delete(running.uuid, 4),
        lambda: compute.describe_anew(running),
    ):
        with pytest.raises(Stale, match="generation"):
            refused()
    assert compute.inspect(running.uuid).generation == 5


def test_starting_what_was_not_prepared_says_so(compute):
    with pytest.raises(InstanceNotFound, match="prepare it first"):
        compute.start(an_instance().uuid, 1)


def test_a_uuid_that_is_none_touches_nothing(lab, compute):
    bad = an_instance(uuid="../../etc", ports=0)
    for refused in (lambda: compute.prepare(bad, []), lambda: compute.delete("../../etc", 1)):
        with pytest.raises(BadArguments, match="uuid"):
            refused()
    assert nothing_is_left(compute.inventory())


def test_nothing_starts_without_leave(lab, compute):
    instance = an_instance()
    compute.prepare(instance, [a_view(instance)])
    lab.conductor.refuse = True
    with pytest.raises(LeaveRefused):
        compute.start(instance.uuid, 1)
    assert compute.inspect(instance.uuid).power_state == SHUTDOWN
    assert not compute.inspect(instance.uuid).leased


def test_nothing_starts_after_the_lease_has_run_out(lab, compute):
    instance = an_instance()
    compute.prepare(instance, [a_view(instance)])
    lab.conductor.lease_ms = 50
    lab.conductor.before_answer = lambda: gevent.sleep(0.1)  # the answer is on its way longer than it holds
    with pytest.raises(LeaveRefused, match="lease of 50 ms ended"):
        compute.start(instance.uuid, 1)
    assert compute.inspect(instance.uuid).power_state == SHUTDOWN


def test_nothing_starts_while_the_controller_cannot_be_asked(lab, host):
    instance = an_instance()
    lab.compute().prepare(instance, [a_view(instance)])
    other = lab.net.bus("ctl2", "api", roles=("controller",))
    other.start()
    lab.net.kill(lab.controller)
    from nova0.rpcapi.compute import ComputeAPI

    with pytest.raises(LeaveRefused, match="nothing was started"):
        other.stub(ComputeAPI, "lab1").start(instance.uuid, 1)
    assert host.driver.find(instance.uuid).power_state == SHUTDOWN
    lab.controller_up()


def test_a_deaf_guest_loses_its_power_after_patience(lab, compute, running, option, monkeypatch):
    option("shutdown_s", -1, group="fake")
    monkeypatch.setattr(power_off, "ASK_AGAIN_S", 0.05)
    asked = []
    driver = lab.machines["lab1"].driver
    shut_down = driver.shut_down
    monkeypatch.setattr(driver, "shut_down", lambda uuid: (asked.append(uuid), shut_down(uuid)))
    started = time.monotonic()
    assert compute.stop(running.uuid, 1, 0.2).power_state == SHUTDOWN
    assert time.monotonic() - started >= 0.2
    assert len(asked) >= 3


def test_a_guest_that_obeys_is_stopped_as_soon_as_it_is_off(compute, running, option):
    option("shutdown_s", 0.1, group="fake")
    started = time.monotonic()
    assert compute.stop(running.uuid, 1, 60).power_state == SHUTDOWN
    assert time.monotonic() - started < 30, "it did not wait for the patience of 60 s"


def test_a_paused_guest_is_stopped_at_once(compute, running):
    compute.pause(running.uuid, 1)
    started = time.monotonic()
    assert compute.stop(running.uuid, 1, 60).power_state == SHUTDOWN
    assert time.monotonic() - started < 30, "it did not wait for the patience of 60 s"


def test_a_delete_does_not_wait_for_the_patience_of_a_stop(compute, running, option):
    option("shutdown_s", -1, group="fake")
    stopping = gevent.spawn(compute.stop, running.uuid, 1, 60)
    gevent.sleep(0.05)
    with gevent.Timeout(30):
        compute.delete(running.uuid, 2)
    with pytest.raises(Stale):
        stopping.get()


def boots(host, instance):
    return host.driver.console_log(instance.uuid, 10_000).count(b"login:")


def test_a_soft_reboot_goes_through_the_guest(host, compute, running):
    assert compute.reboot(running.uuid, 1, False).power_state == RUNNING
    assert boots(host, running) == 2


@pytest.mark.covers("S284")
def test_a_soft_reboot_of_a_deaf_guest_becomes_a_hard_one(host, compute, running, option, monkeypatch):
    option("shutdown_s", -1, group="fake")
    monkeypatch.setattr(power_off, "SOFT_REBOOT_S", 0.1)
    assert compute.reboot(running.uuid, 1, False).power_state == RUNNING
    assert boots(host, running) == 2


def test_a_hard_reboot_starts_a_stopped_guest_with_leave(lab, compute, running):
    compute.stop(running.uuid, 1, 0)
    lab.conductor.asked.clear()
    assert compute.reboot(running.uuid, 1, True).power_state == RUNNING
    assert lab.conductor.asked == [(running.uuid, 1)]


def test_pause_and_unpause(compute, running):
    assert compute.pause(running.uuid, 1).power_state == PAUSED
    assert compute.unpause(running.uuid, 1).power_state == RUNNING


@pytest.mark.covers("S238")
def test_a_driver_that_cannot_pause_says_not_supported(lab, compute, running, monkeypatch):
    from nova0.host.virt.driver import Driver
    from nova0.host.virt.fake import FakeDriver
    from nova0.objects.errors import NotSupported

    monkeypatch.setattr(FakeDriver, "pause", Driver.pause)
    with pytest.raises(NotSupported, match="lab1: the fake driver cannot pause"):
        compute.pause(running.uuid, 1)
    assert compute.inspect(running.uuid).power_state == RUNNING


def test_the_console_log_is_the_guests(compute, running):
    assert compute.console_log(running.uuid, 1000).rstrip().endswith(b"vm1 login:")
    with pytest.raises(InstanceNotFound):
        compute.console_log(an_instance().uuid, 10)


def test_a_failing_guest_can_be_removed_without_a_trace(compute):
    instance = an_instance(metadata={"nova0:fail": "define"})
    with pytest.raises(DriverError, match="lab1: define"):
        compute.prepare(instance, [a_view(instance)])
    compute.delete(instance.uuid, 2)
    assert nothing_is_left(compute.inventory())


def test_a_delete_that_fails_half_way_is_finished_by_the_next(lab, compute, running, monkeypatch):
    from nova0.objects.errors import NetworkError

    carrier = lab.machines["lab1"].networks.carrier
    with monkeypatch.context() as broken:

        def refuse(port_id):
            raise NetworkError(f"lab1: unplug {port_id}: busy")

        broken.setattr(carrier, "unplug", refuse)
        with pytest.raises(DriverError, match="unplug"):
            compute.delete(running.uuid, 2)
    assert compute.inspect(running.uuid) is None and compute.inventory()["taps"]
    compute.delete(running.uuid, 2)
    assert nothing_is_left(compute.inventory())


class Overlaps:
    """Counts how many `define`s of a driver are under way at once, in all and of one server."""

    def __init__(self, driver, monkeypatch):
        self.now, self.most, self.most_of_one = [], 0, 0
        define = driver.define

        def counted(instance, disks):
            self.now.append(instance.uuid)
            self.most = max(self.most, len(self.now))
            self.most_of_one = max(self.most_of_one, self.now.count(instance.uuid))
            gevent.sleep(0.03)
            self.now.remove(instance.uuid)
            define(instance, disks)

        monkeypatch.setattr(driver, "define", counted)


@pytest.mark.covers("S081")
def test_operations_on_one_server_wait_for_each_other_and_others_do_not(host, compute, monkeypatch):
    overlaps = Overlaps(host.driver, monkeypatch)
    one, two = an_instance(1), an_instance(2)
    jobs = [gevent.spawn(compute.prepare, instance, [a_view(one, two)]) for instance in (one, one, two)]
    gevent.joinall(jobs, raise_error=True)
    assert (overlaps.most_of_one, overlaps.most) == (1, 2)


def test_builds_at_once_are_bounded(lab, option, monkeypatch):
    option("max_concurrent_builds", 2)
    overlaps = Overlaps(lab.host().driver, monkeypatch)
    instances = [an_instance(number) for number in range(1, 5)]
    jobs = [gevent.spawn(lab.compute().prepare, instance, [a_view(*instances)]) for instance in instances]
    gevent.joinall(jobs, raise_error=True)
    assert overlaps.most == 2


def test_what_a_guest_does_by_itself_is_told_and_what_was_asked_is_not(lab, host, compute, running):
    compute.stop(running.uuid, 1, 0)
    compute.start(running.uuid, 1)
    gevent.sleep(0.05)
    assert lab.conductor.changes == []
    host.driver.crash(running.uuid)
    eventually(lambda: lab.conductor.changes == [(running.uuid, 1, PowerState.CRASHED)])


@pytest.mark.covers("S002")
def test_a_host_reports_its_capacity_when_it_starts(lab, host):
    state = eventually(lambda: lab.conductor.reports)[0]
    assert (state.host, state.vcpus, state.reserved_memory_mb) == ("lab1", 64, 512)
    assert lab.compute().host_state().vcpus == 64


def test_describing_anew_changes_what_is_told_and_nothing_else(host, compute, running):
    renamed = an_instance(uuid=running.uuid, name="renamed", ports=0)
    compute.describe_anew(renamed)
    assert host.records.get(running.uuid).instance.name == "renamed"
    assert compute.inspect(running.uuid).power_state == RUNNING


@pytest.mark.parametrize(
    ("setting", "said"), [("network_carrier", "use auto, linux or none"), ("compute_driver", "uml")]
)
def test_a_host_that_cannot_be_says_why(lab, setting, said):
    from nova0.mesh.errors import MeshError

    with pytest.raises(MeshError, match=said):
        lab.host("lab9", **{setting: "uml"})
    lab.machines.pop("lab9")


def test_a_state_directory_that_cannot_be_names_the_option(lab):
    (lab.directory / "file").write_text("")
    with pytest.raises(DriverError, match="set state_path"):
        lab.host("lab9", state_dir=lab.directory / "file" / "below")
    lab.machines.pop("lab9")


def test_a_host_without_devices_says_it_cannot_reach_a_guest(lab, compute, running):
    from nova0.objects.errors import NotSupported

    with pytest.raises(NotSupported, match="books only"):
        lab.network().connect(running.ports[0].network_id, running.ports[0].ip, 22)


def test_a_password_goes_onto_the_config_drive_and_into_no_other_file(lab, compute):
    instance = an_instance(admin_password="Marked-passw0rd")
    compute.prepare(instance, [a_view(instance)])
    compute.start(instance.uuid, 1)
    kept = [path for path in (lab.directory / "lab1").rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if b"Marked-passw0rd" in path.read_bytes()]
