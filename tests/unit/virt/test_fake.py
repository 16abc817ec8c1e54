"""The fake hypervisor: passes the contract, keeps its guests, fails and dawdles on order."""

from __future__ import annotations

import time

import pytest

from nova0.config import CONF
from nova0.host.virt.driver import GuestDisks
from nova0.host.virt.fake import FAIL_KEY, FakeDriver
from nova0.objects.errors import DriverError
from nova0.objects.states import PowerState
from tests.unit.virt.driver_contract import DriverContract, an_instance


@pytest.fixture
def option():
    """Set options of the group `fake` for one test."""
    yield lambda name, value: CONF.set_override(name, value, group="fake")
    for name in ("delays", "fail", "shutdown_s", "persist", "vcpus"):
        CONF.clear_override(name, group="fake")


def opened(tmp_path) -> FakeDriver:
    driver = FakeDriver("lab1", "contract", tmp_path)
    driver.open()
    return driver


def disks(instance, tmp_path) -> GuestDisks:
    return GuestDisks(directory=tmp_path / "instances" / instance.uuid, base=None, base_format="raw")


@pytest.mark.covers("S238", "S239", "S039")
class TestFake(DriverContract):
    @pytest.fixture
    def driver(self, tmp_path):
        driver = opened(tmp_path)
        yield driver
        driver.close()


def test_guests_outlive_a_killed_agent(tmp_path):
    instance = an_instance()
    first = opened(tmp_path)
    first.define(instance, disks(instance, tmp_path))
    first.start(instance.uuid)
    assert opened(tmp_path).find(instance.uuid).power_state == PowerState.RUNNING


def test_guests_are_gone_with_the_process_where_that_is_wanted(tmp_path, option):
    option("persist", False)
    instance = an_instance()
    opened(tmp_path).define(instance, disks(instance, tmp_path))
    assert opened(tmp_path).found() == []
    assert not (tmp_path / "fake-guests.json").exists()


def test_its_console_log_ends_in_a_login_line_once_booted(tmp_path):
    instance = an_instance()
    driver = opened(tmp_path)
    driver.define(instance, disks(instance, tmp_path))
    assert driver.console_log(instance.uuid, 1000) == b""
    driver.start(instance.uuid)
    assert driver.console_log(instance.uuid, 1000).rstrip().endswith(b"vm1 login:")


def test_an_operation_fails_for_servers_named_so(tmp_path, option):
    option("fail", {"start": "bad-*"})
    driver = opened(tmp_path)
    bad, good = an_instance(1, name="bad-1"), an_instance(2, name="good")
    for instance in (bad, good):
        driver.define(instance, disks(instance, tmp_path))
    driver.start(good.uuid)
    with pytest.raises(DriverError, match="lab1: start instance-00000001"):
        driver.start(bad.uuid)
    assert driver.find(bad.uuid).power_state == PowerState.SHUTDOWN


def test_an_operation_fails_for_a_server_that_asks_for_it(tmp_path):
    driver = opened(tmp_path)
    instance = an_instance(metadata={FAIL_KEY: "define"})
    with pytest.raises(DriverError, match="define"):
        driver.define(instance, disks(instance, tmp_path))
    assert driver.found() == []


def test_an_operation_takes_the_time_ordered(tmp_path, option):
    option("delays", {"define": "0.1"})
    started = time.monotonic()
    instance = an_instance()
    opened(tmp_path).define(instance, disks(instance, tmp_path))
    assert time.monotonic() - started >= 0.1


def test_an_unknown_operation_in_the_options_is_refused(tmp_path, option):
    option("delays", {"launch": "1"})
    with pytest.raises(DriverError, match="no operation launch: use define"):
        opened(tmp_path)


@pytest.mark.covers("S239")
def test_its_size_is_an_option(tmp_path, option):
    option("vcpus", 7)
    assert opened(tmp_path).host_state().vcpus == 7
