"""The suite every virt driver passes. Subclass `DriverContract`, give a `driver` fixture (opened, empty),
and where needed override `instance` and `disks`; name the test class Test…

    class TestLibvirt(DriverContract):
        @pytest.fixture
        def driver(self, tmp_path): ...
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from nova0.host.virt.driver import Driver, GuestDisks, GuestEvent
from nova0.objects.errors import DriverError, InstanceNotFound, NotSupported
from nova0.objects.flavor import Flavor
from nova0.objects.instance import Instance
from nova0.objects.states import PowerState

RUNNING, PAUSED, SHUTDOWN = PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUTDOWN


def an_instance(number: int = 1, generation: int = 1, **more: object) -> Instance:
    """A small server without an image or ports."""
    values: dict[str, object] = {
        "uuid": str(uuids.uuid4()),
        "generation": generation,
        "name": f"vm{number}",
        "hostname": f"vm{number}",
        "project_id": "p" * 32,
        "user_id": "u" * 32,
        "flavor": Flavor(flavor_id="1", name="m1.nano", vcpus=1, memory_mb=64, root_gb=1),
        "image": None,
        "number": number,
        "cluster_id": "contract",
    }
    return Instance(**{**values, **more})  # type: ignore[arg-type]


class DriverContract:
    """What `nova0.host.virt.driver.Driver` promises, as sentences."""

    obeys_shutdown_s: float | None = 5.0  # how long this driver's test guest may take; None: it has no ACPI

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Driver]:
        raise NotImplementedError("give an opened driver without guests")

    def instance(self, number: int = 1, generation: int = 1) -> Instance:
        return an_instance(number, generation)

    def disks(self, instance: Instance, tmp_path: Path) -> GuestDisks:
        return GuestDisks(directory=tmp_path / "instances" / instance.uuid, base=None, base_format="raw")

    def defined(self, driver: Driver, tmp_path: Path, number: int = 1) -> Instance:
        instance = self.instance(number)
        driver.define(instance, self.disks(instance, tmp_path))
        return instance

    def state(self, driver: Driver, uuid: str) -> PowerState | None:
        found = driver.find(uuid)
        return None if found is None else found.power_state

    def wait_for(self, driver: Driver, uuid: str, wanted: PowerState, patience_s: float) -> None:
        with gevent.Timeout(patience_s):
            while self.state(driver, uuid) != wanted:
                gevent.sleep(0.02)

    def test_it_describes_its_host_in_positive_numbers(self, driver):
        state = driver.host_state()
        assert state.host == driver.host
        assert state.vcpus > 0 and state.memory_mb > 0 and state.disk_gb > 0
        assert state.hypervisor_type and state.virt_type and state.arch
        assert state.hypervisor_hostname
        assert state.supported

    def test_a_defined_guest_is_found_and_does_not_run(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        assert self.state(driver, instance.uuid) == SHUTDOWN
        found = driver.find(instance.uuid)
        assert found.uuid == instance.uuid and found.generation == instance.generation
        assert self.disks(instance, tmp_path).directory.is_dir()

    def test_defining_again_makes_it_anew_under_the_new_generation(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        again = self.instance(instance.number, generation=instance.generation + 1)
        again = type(again)(**{f: getattr(again, f) for f in again.__struct_fields__} | {"uuid": instance.uuid})
        driver.define(again, self.disks(again, tmp_path))
        assert len(driver.found()) == 1
        assert driver.find(instance.uuid).generation == again.generation

    def test_a_guest_starts_once(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        driver.start(instance.uuid)
        assert self.state(driver, instance.uuid) == RUNNING

    def test_defining_a_running_guest_leaves_it_running(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        driver.define(instance, self.disks(instance, tmp_path))
        assert self.state(driver, instance.uuid) == RUNNING

    def test_starting_what_is_not_defined_says_so(self, driver):
        with pytest.raises(InstanceNotFound) as refusal:
            driver.start(str(uuids.uuid4()))
        assert driver.host in refusal.value.message

    def test_power_cut_stops_at_once_and_only_once(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        driver.cut_power(instance.uuid)
        driver.cut_power(instance.uuid)
        assert self.state(driver, instance.uuid) == SHUTDOWN

    def test_a_stopped_guest_starts_again(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        driver.cut_power(instance.uuid)
        driver.start(instance.uuid)
        assert self.state(driver, instance.uuid) == RUNNING

    def test_a_shutdown_request_returns_at_once_and_the_guest_obeys(self, driver, tmp_path):
        if self.obeys_shutdown_s is None:
            pytest.skip("this driver's test guest has no ACPI")
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        with gevent.Timeout(20):
            driver.shut_down(instance.uuid)
        self.wait_for(driver, instance.uuid, SHUTDOWN, self.obeys_shutdown_s)

    def test_reset_leaves_it_running_whether_it_ran_or_not(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.reset(instance.uuid)
        assert self.state(driver, instance.uuid) == RUNNING
        driver.reset(instance.uuid)
        assert self.state(driver, instance.uuid) == RUNNING

    @pytest.mark.covers("S238")
    def test_pause_and_unpause_work_or_are_refused_as_not_supported(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        try:
            driver.pause(instance.uuid)
        except NotSupported as refusal:
            assert driver.host in refusal.message
            return
        assert self.state(driver, instance.uuid) == PAUSED
        driver.pause(instance.uuid)
        driver.unpause(instance.uuid)
        driver.unpause(instance.uuid)
        assert self.state(driver, instance.uuid) == RUNNING

    @pytest.mark.covers("S238")
    def test_pausing_a_stopped_guest_is_refused(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        with pytest.raises((DriverError, NotSupported)):
            driver.pause(instance.uuid)
        assert self.state(driver, instance.uuid) == SHUTDOWN

    @pytest.mark.covers("S238")
    def test_the_console_log_is_bounded_bytes_or_not_supported(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        try:
            log = driver.console_log(instance.uuid, 16)
        except NotSupported:
            return
        assert isinstance(log, bytes) and len(log) <= 16

    def test_remove_takes_guest_and_disks_and_may_be_repeated(self, driver, tmp_path):
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        driver.remove(instance.uuid)
        driver.remove(instance.uuid)
        assert driver.find(instance.uuid) is None
        assert driver.found() == []
        assert not self.disks(instance, tmp_path).directory.exists()

    def test_removing_what_never_was_is_fine(self, driver):
        driver.remove(str(uuids.uuid4()))

    def test_guests_do_not_touch_each_other(self, driver, tmp_path):
        one, two = self.defined(driver, tmp_path, 1), self.defined(driver, tmp_path, 2)
        driver.start(one.uuid)
        assert {f.uuid for f in driver.found()} == {one.uuid, two.uuid}
        driver.remove(two.uuid)
        assert self.state(driver, one.uuid) == RUNNING
        assert [f.uuid for f in driver.found()] == [one.uuid]

    def test_what_happens_to_a_guest_is_told_in_the_loop(self, driver, tmp_path):
        heard: list[GuestEvent] = []
        bell = Event()

        def hear(event: GuestEvent) -> None:
            heard.append(event)
            bell.set()

        driver.listener.heard = hear
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        driver.cut_power(instance.uuid)
        with gevent.Timeout(30):
            while not any(event.kind in ("stopped", "crashed") for event in heard):
                bell.wait()
                bell.clear()
        assert {event.uuid for event in heard} == {instance.uuid}
        assert heard[0].kind == "started"
