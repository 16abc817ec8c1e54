"""A guest's QEMU is held in: a user of its own, few devices, bounds; other users of the host see nothing of it."""

import os
import subprocess
from pathlib import Path

import libvirt
import pytest

from nova0.host.virt.libvirt import confinement, own_daemon
from tests.vm.guests import disks, instance, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


@pytest.fixture(scope="module")
def driver(host):
    return host.driver()


@pytest.fixture
def guest(driver, host, tiny_image):
    made = instance(1)
    driver.define(made, disks(host, made, tiny_image))
    driver.start(made.uuid)
    yield made
    driver.remove(made.uuid)


def process(host, guest):
    pid = int((host.state_dir / "libvirt/run/qemu" / f"{guest.domain_name}.pid").read_text())
    return Path(f"/proc/{pid}")


def status(of):
    return dict(line.split(":\t", 1) for line in (of / "status").read_text().splitlines() if ":\t" in line)


def test_a_guest_boots_and_its_qemu_has_neither_root_nor_capabilities(driver, host, guest):
    wait_for(driver, guest.uuid, "nova0-tiny ready")
    qemu = process(host, guest)
    told = status(qemu)
    uid = int(subprocess.check_output(["id", "-u", own_daemon.USER]))
    assert set(told["Uid"].split()) == {str(uid)} and uid != 0
    assert int(told["CapEff"], 16) == 0 and told["NoNewPrivs"] == "1" and told["Seccomp"] == "2"
    assert sorted(os.listdir(qemu / "root/dev")) == ["full", "null", "ptmx", "pts", "random", "shm", "urandom", "zero"]
    if "memory" in confinement.controllers():
        domain = libvirt.open(driver.connection.daemon.uri)
        bound = domain.lookupByUUIDString(guest.uuid).memoryParameters()["hard_limit"]
        domain.close()
        assert bound == guest.flavor.memory_mb * 1024 + confinement.SPARE_KIB
        assert "machine/qemu-" in (qemu / "cgroup").read_text()


def test_other_users_of_the_host_read_nothing_of_guests_and_ask_libvirt_nothing(host, guest):
    folder = host.state_dir / "instances" / guest.uuid
    host.state_dir.chmod(0o755)
    for path in (folder / "disk.qcow2", folder / "console.log", host.state_dir / "libvirt/run/libvirt-sock-ro"):
        assert path.exists()
        assert subprocess.run([*NOBODY, "cat", path], capture_output=True).returncode
    for socket in ("libvirt-sock", "libvirt-sock-ro"):
        uri = f"qemu+unix:///system?socket={host.state_dir}/libvirt/run/{socket}"
        assert (host.state_dir / "libvirt/run" / socket).stat().st_mode & 0o777 == 0o700
        code = "import libvirt, sys; libvirt.openReadOnly(sys.argv[1])"
        asked = subprocess.run([*NOBODY, "/usr/bin/python3", "-c", code, uri], capture_output=True, text=True)
        assert "Permission denied" in asked.stderr


def test_a_guest_that_ran_as_root_goes_on_and_is_qemus_users_after_its_next_start(
    switch, capability_cache, tiny_image, monkeypatch
):
    host = switch.host(capability_cache)
    with monkeypatch.context() as before:
        before.setattr(own_daemon, "USER", "root")
        driver = host.driver()
        made = instance(2)
        driver.define(made, disks(host, made, tiny_image))
        driver.start(made.uuid)
        driver.close()
    qemu = process(host, made)
    assert status(qemu)["Uid"].split()[0] == "0"
    after = host.driver()
    assert status(qemu)["Uid"].split()[0] == "0" and after.find(made.uuid).power_state == 1
    after.reset(made.uuid)
    assert status(process(host, made))["Uid"].split()[0] != "0"
    wait_for(after, made.uuid, "nova0-tiny ready", times=1)
    after.remove(made.uuid)
