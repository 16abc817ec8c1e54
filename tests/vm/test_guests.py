"""Real guests on two hosts: they boot, learn who they are, answer ssh, reach each other, and obey."""

import base64
import os
import time
from types import SimpleNamespace

import gevent
import pytest

from nova0.host.disk import config_drive
from nova0.host.metadata.server import MetadataServer
from nova0.objects.metadata import config_drive_tree
from nova0.objects.states import PowerState
from tests.vm.guests import disks, instance, key, ssh, wait_for
from tests.vm.networks import CLUSTER, PING, Network, carrier, tcp

pytestmark = [pytest.mark.root, pytest.mark.slow]
USER_DATA = base64.b64encode(b"#!/bin/sh\necho user data of $(hostname)\n").decode()
PATIENCE_S = 60  # on an idle machine a boot takes four seconds


@pytest.fixture(scope="module")
def lab(switch, capability_cache, tiny_image, tmp_path_factory):
    """Two hosts, a network across them, a guest on each: booted together, once."""
    hosts = (switch.host(capability_cache), switch.host(capability_cache))
    key_path, keypair = key(tmp_path_factory.mktemp("key"))
    network = Network(70)
    guests = []
    for number, host in enumerate(hosts, 1):
        port = network.port(host, 10 + number, PING, tcp(22))
        made = instance(number, ports=(port,), keypair=keypair, user_data=USER_DATA)
        guests.append(SimpleNamespace(host=host, port=port, instance=made, uuid=made.uuid))
    by_address = {guest.port.ip: guest.instance for guest in guests}
    for guest in guests:
        host = guest.host
        guest.driver, guest.carrier = host.driver(CLUSTER), carrier(host)
        guest.metadata = MetadataServer(host.name, lambda network_id, address: by_address.get(address))
        view = network.view(host)
        with host.inside():
            guest.carrier.apply(view)
            guest.carrier.plug(guest.port)
            guest.metadata.serve(network.id, guest.carrier.namespace(network.id))
        guest.driver.define(guest.instance, disks(host, guest.instance, tiny_image))
    started = time.monotonic()
    for guest in guests:
        guest.driver.start(guest.uuid)
    for guest in guests:
        guest.log = wait_for(guest.driver, guest.uuid, "login:", patience_s=PATIENCE_S)
    print(f"two guests at their login lines after {time.monotonic() - started:.1f} s")
    yield SimpleNamespace(one=guests[0], two=guests[1], network=network, key=key_path, image=tiny_image)
    for guest in guests:
        guest.driver.remove(guest.uuid)
        guest.metadata.close()
        with guest.host.inside():
            guest.carrier.forget(network.id)
            assert guest.carrier.inventory() == {"taps": [], "bridges": [], "leases": [], "rules": []}
        guest.carrier.close()


@pytest.mark.covers("S078", "S240", "S248", "S296", "S237")
def test_guests_learn_their_address_by_dhcp_and_their_name_from_the_metadata_service(lab):
    for guest in (lab.one, lab.two):
        assert f"nova0-tiny ready: {guest.instance.hostname} {guest.port.ip}" in guest.log
        assert "data: metadata" in guest.log


@pytest.mark.covers("S303")
def test_the_users_key_opens_each_guest(lab):
    for guest in (lab.one, lab.two):
        assert ssh(guest.host, lab.key, guest.port, "hostname").strip() == guest.instance.hostname


@pytest.mark.covers("S280")
def test_the_disk_is_as_large_as_the_flavor_says_and_the_link_as_small_as_the_tunnel_needs(lab):
    size = int(ssh(lab.one.host, lab.key, lab.one.port, "cat /sys/block/vda/size"))
    assert size * 512 == 1024**3
    assert "mtu 1400" in ssh(lab.one.host, lab.key, lab.one.port, "ip link show eth0")


@pytest.mark.covers("S277", "S383")
def test_user_data_runs(lab):
    for guest in (lab.one, lab.two):
        wait_for(guest.driver, guest.uuid, f"user data of {guest.instance.hostname}")


@pytest.mark.covers("S297")
def test_guests_on_two_hosts_ping_each_other_and_the_world(lab):
    said = ssh(lab.one.host, lab.key, lab.one.port, f"ping -c 2 -W 2 {lab.two.port.ip}; ping -c 1 -W 2 10.77.0.1")
    assert said.count(" 0% packet loss") == 2


@pytest.mark.covers("S265", "S263")
def test_a_paused_guest_is_silent_until_it_goes_on(lab):
    driver, ping = lab.one.driver, ["ping", "-c", "1", "-W", "2", lab.one.port.ip]
    driver.pause(lab.one.uuid)
    assert driver.find(lab.one.uuid).power_state == PowerState.PAUSED
    assert " 0% packet loss" not in lab.one.host.within(lab.network.id, *ping, check=False)
    driver.unpause(lab.one.uuid)
    assert " 0% packet loss" in lab.one.host.within(lab.network.id, *ping, check=False)


def test_guests_outlive_the_driver_and_the_daemon_and_are_found_again(lab):
    driver = lab.two.driver
    pid = driver.connection.daemon.pid()
    with lab.two.host.inside():
        os.kill(pid, 9)
        with gevent.Timeout(90):
            assert driver.find(lab.two.uuid).power_state == PowerState.RUNNING
    assert driver.connection.daemon.pid() != pid
    assert ssh(lab.two.host, lab.key, lab.two.port, "echo alive").strip() == "alive"


@pytest.mark.covers("S266", "S267", "S256")
def test_a_guest_obeys_the_power_button_keeps_its_files_and_its_host_key(lab):
    guest, heard = lab.one, []
    guest.driver.listener.heard = heard.append
    ssh(guest.host, lab.key, guest.port, "echo kept >/root/file; sync")
    before = ssh(guest.host, lab.key, guest.port, "dropbearkey -y -f /etc/dropbear/ed25519 | grep ^ssh")
    guest.driver.shut_down(guest.uuid)
    with gevent.Timeout(90):
        while guest.driver.find(guest.uuid).power_state != PowerState.SHUTDOWN or not heard:
            gevent.sleep(0.05)
    assert [(event.uuid, event.kind) for event in heard] == [(guest.uuid, "stopped")]
    guest.driver.start(guest.uuid)
    wait_for(guest.driver, guest.uuid, "nova0-tiny ready", 2, PATIENCE_S)
    guest.driver.reset(guest.uuid)
    wait_for(guest.driver, guest.uuid, "nova0-tiny ready", 3, PATIENCE_S)
    assert ssh(guest.host, lab.key, guest.port, "cat /root/file").strip() == "kept"
    assert before == ssh(guest.host, lab.key, guest.port, "dropbearkey -y -f /etc/dropbear/ed25519 | grep ^ssh")
    assert guest.driver.console_log(guest.uuid, 1 << 20).count(b"user data of vm1") == 1


@pytest.mark.covers("S277", "S378")
@pytest.mark.parametrize("bus", ["virtio", "ide"])
def test_a_guest_without_a_network_knows_itself_by_its_config_drive(lab, bus):
    made = instance(7, user_data=USER_DATA, config_drive=True)
    made.image.properties.update(hw_cdrom_bus=bus, hw_machine_type="pc" if bus == "ide" else "q35")
    host, driver = lab.two.host, lab.two.driver
    directory = host.state_dir / "instances" / made.uuid
    directory.mkdir(parents=True)
    drive = directory / "disk.config"
    config_drive.write(config_drive_tree(made), drive)
    driver.define(made, disks(host, made, lab.image, drive))
    driver.start(made.uuid)
    try:
        log = wait_for(driver, made.uuid, "user data ended: 0", patience_s=PATIENCE_S)
        assert "data: config-drive" in log and "nova0-tiny ready: vm7 no-address" in log
    finally:
        driver.remove(made.uuid)
    assert not directory.exists()
