"""The libvirt driver keeps the contract of every virt driver, on real (emulated) guests."""

import os

import gevent
import pytest
from gevent.queue import Queue

from nova0.host.virt.driver import GuestDisks, GuestEvent
from nova0.objects.flavor import Flavor
from nova0.objects.states import PowerState
from tests.unit.virt.driver_contract import DriverContract, an_instance

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def opened(host):
    return host.driver()


@pytest.mark.covers("S238", "S240", "S248", "S256", "S274", "S039")
class TestLibvirt(DriverContract):
    obeys_shutdown_s = 20.0

    @pytest.fixture
    def driver(self, opened):
        yield opened
        for guest in opened.found():
            opened.remove(guest.uuid)

    @pytest.fixture
    def tmp_path(self, host):
        """Where QEMU's user gets to."""
        return host.state_dir

    def test_a_shutdown_request_returns_at_once_and_the_guest_obeys(self, driver, tmp_path, tiny_image):
        flavor = Flavor(flavor_id="1", name="m1.tiny", vcpus=1, memory_mb=192, root_gb=1)
        instance = an_instance(flavor=flavor)
        disks = GuestDisks(
            directory=tmp_path / "instances" / instance.uuid,
            base=tiny_image.disk,
            base_format="qcow2",
            kernel=tiny_image.kernel,
            ramdisk=tiny_image.ramdisk,
        )
        driver.define(instance, disks)
        driver.start(instance.uuid)
        with gevent.Timeout(120, AssertionError("no login line")):
            while b"login:" not in driver.console_log(instance.uuid, 4096):
                gevent.sleep(0.1)  # a power button pressed before the guest listens is lost
        with gevent.Timeout(20):
            driver.shut_down(instance.uuid)
        self.wait_for(driver, instance.uuid, PowerState.SHUTDOWN, self.obeys_shutdown_s)

    def test_a_definition_outlives_the_daemon(self, driver, tmp_path, host):
        instance = self.defined(driver, tmp_path)
        with host.inside():
            driver.connection.daemon.stop()
            found = driver.find(instance.uuid)
        assert found is not None and found.power_state == PowerState.SHUTDOWN
        driver.start(instance.uuid)
        assert self.state(driver, instance.uuid) == PowerState.RUNNING

    def test_a_guest_whose_process_dies_is_told_as_crashed(self, driver, tmp_path, host):
        heard: Queue[GuestEvent] = Queue()
        driver.listener.heard = heard.put
        instance = self.defined(driver, tmp_path)
        driver.start(instance.uuid)
        assert heard.get(timeout=30).kind == "started"
        pid = (host.state_dir / "libvirt/run/qemu" / f"{instance.domain_name}.pid").read_text()
        os.kill(int(pid), 9)
        event = heard.get(timeout=30)
        assert (event.uuid, event.kind) == (instance.uuid, "crashed")
        self.wait_for(driver, instance.uuid, PowerState.SHUTDOWN, 10)
