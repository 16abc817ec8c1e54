"""What a guest is told at 169.254.169.254 and on its config drive."""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.request

import pytest

from nova0.host.metadata.server import MetadataServer
from nova0.objects.image import ImageRef
from nova0.objects.metadata import config_drive_tree, tree
from tests.unit.host.lab import NETWORK, a_view, an_instance

UUID = "9f2ab1f0-1111-4222-8333-444444444444"


@pytest.fixture
def instance():
    return an_instance(
        number=42,
        uuid=UUID,
        metadata={"role": "web"},
        user_data=base64.b64encode(b"#!/bin/sh\necho hi\n").decode(),
        image=ImageRef(id="img", name="tiny", size=1, sha512="0", disk_format="qcow2"),
        admin_password="secret",
    )


@pytest.mark.covers("S078")
def test_meta_data_json_is_the_fields(instance):
    assert json.loads(tree(instance)["openstack/latest/meta_data.json"]) == {
        "uuid": UUID,
        "name": "vm42",
        "hostname": "vm42",
        "launch_index": 0,
        "availability_zone": "nova",
        "project_id": "p" * 32,
        "meta": {"role": "web"},
        "public_keys": {"mine": "ssh-ed25519 AAAA me@here"},
        "keys": [{"name": "mine", "type": "ssh", "data": "ssh-ed25519 AAAA me@here"}],
        "devices": [],
        "dedicated_cpus": [],
    }


@pytest.mark.covers("S078")
def test_older_versions_know_less(instance):
    files = tree(instance, b"seed")
    first = json.loads(files["openstack/2012-08-10/meta_data.json"])
    assert not {"random_seed", "project_id", "devices", "dedicated_cpus"} & set(first)
    assert json.loads(files["openstack/2013-04-04/meta_data.json"])["random_seed"] == "c2VlZA=="
    assert "openstack/2013-04-04/vendor_data.json" not in files
    assert "openstack/2013-10-17/network_data.json" not in files
    assert "openstack/2015-10-15/network_data.json" in files
    assert "openstack/2016-06-30/vendor_data2.json" not in files
    assert files["openstack/latest/vendor_data2.json"] == b"{}"


@pytest.mark.covers("S078")
def test_network_data_json_names_links_networks_and_services(instance):
    port = instance.ports[0]
    assert json.loads(tree(instance)["openstack/latest/network_data.json"]) == {
        "links": [{"id": port.tap, "vif_id": port.id, "type": "bridge", "mtu": 1500, "ethernet_mac_address": port.mac}],
        "networks": [
            {
                "id": "network0",
                "type": "ipv4",
                "link": port.tap,
                "network_id": NETWORK,
                "ip_address": "10.0.0.44",
                "netmask": "255.255.0.0",
                "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}],
                "services": [{"type": "dns", "address": "10.0.0.1"}],
            }
        ],
        "services": [{"type": "dns", "address": "10.0.0.1"}],
    }


@pytest.mark.covers("S227")
def test_ec2_form_answers_what_tools_read(instance):
    files = tree(instance)
    assert files["latest/meta-data/instance-id"] == b"i-0000002a"
    assert files["latest/meta-data/local-ipv4"] == b"10.0.0.44"
    assert files["latest/meta-data/public-keys/0/openssh-key"] == b"ssh-ed25519 AAAA me@here"
    assert files["latest/meta-data/placement/availability-zone"] == b"nova"
    assert files["2009-04-04/meta-data/instance-type"] == b"m1.nano"
    assert files["latest/user-data"] == b"#!/bin/sh\necho hi\n"
    assert files["latest/meta-data/ami-id"].startswith(b"ami-")


@pytest.mark.covers("S227")
def test_ec2_dated_versions_know_only_their_time(instance):
    files = tree(instance)
    assert "1.0/meta-data/instance-id" in files and "1.0/meta-data/local-hostname" not in files
    assert "2007-03-01/meta-data/instance-type" not in files
    assert "2007-12-15/meta-data/placement/availability-zone" not in files
    assert "2008-02-01/meta-data/instance-action" not in files


@pytest.mark.covers("S078")
def test_a_password_is_on_the_config_drive_and_never_on_the_network(instance):
    assert b"secret" not in b"".join(tree(instance).values())
    drive = config_drive_tree(instance)
    assert json.loads(drive["openstack/latest/meta_data.json"])["admin_pass"] == "secret"
    assert json.loads(drive["ec2/latest/meta-data.json"])["instance-id"] == "i-0000002a"
    assert drive["openstack/latest/user_data"] == b"#!/bin/sh\necho hi\n"
    assert not any(path.startswith("latest/") for path in drive)


@pytest.mark.covers("S303")
def test_a_server_without_key_user_data_or_ports_is_described_too():
    bare = an_instance(ports=0, keypair=None)
    files = tree(bare)
    meta = json.loads(files["openstack/latest/meta_data.json"])
    assert "keys" not in meta and "public_keys" not in meta and "meta" not in meta
    assert not any("user" in path or "public-keys" in path for path in files)
    assert files["latest/meta-data/local-ipv4"] == b""


class Guest:
    """Asks the service as a guest would."""

    def __init__(self, where):
        self.where = where

    def __call__(self, path, method="GET"):
        request = urllib.request.Request(f"http://{self.where[0]}:{self.where[1]}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def guest(instance):
    server = MetadataServer("lab1", lambda network, ip: instance if ip == "127.0.0.1" else None, 0, "127.0.0.1")
    yield Guest(server.serve(NETWORK, None))
    server.close()


@pytest.mark.covers("S078", "S227")
@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/", ["1.0", "2007-01-19", "latest"]),
        ("/openstack", ["2012-08-10", "2025-04-04", "latest"]),
        ("/openstack/", ["2012-08-10", "latest"]),
        ("/openstack/latest/", ["meta_data.json", "network_data.json", "user_data", "vendor_data.json"]),
        ("/latest", ["meta-data/", "user-data"]),
        ("/latest/meta-data/", ["ami-id", "block-device-mapping/", "placement/", "public-keys/"]),
        ("/latest/meta-data/public-keys/", ["0=mine"]),
        ("/latest/meta-data/public-keys/0/", ["openssh-key"]),
        ("/2009-04-04/meta-data/placement", ["availability-zone"]),
    ],
)
def test_directories_list_as_the_fields_clients_expect(guest, path, lines):
    status, body = guest(path)
    assert status == 200
    assert [line for line in body.split("\n") if line in lines] == lines


@pytest.mark.covers("S078", "S227")
def test_files_are_served_and_others_are_not_found(guest):
    assert guest("/latest/meta-data/instance-id") == (200, "i-0000002a")
    assert guest("//latest//meta-data/instance-id") == (200, "i-0000002a")
    assert json.loads(guest("/openstack/latest/meta_data.json")[1])["uuid"] == UUID
    for path in ("/latest/meta-data/nope", "/openstack/1999-01-01/meta_data.json", "/etc/passwd", "/../../etc/passwd"):
        assert guest(path)[0] == 404


def test_each_guest_gets_fresh_random_bytes(guest):
    seeds = {json.loads(guest("/openstack/latest/meta_data.json")[1])["random_seed"] for _ in range(2)}
    assert len(seeds) == 2 and all(len(base64.b64decode(seed)) == 512 for seed in seeds)


def test_metadata_cannot_be_written(guest):
    assert guest("/latest/meta-data/instance-id", "POST")[0] == 405
    status, body = guest("/openstack/latest/password", "POST")
    assert status == 501 and "key pair" in body


def test_a_stranger_is_told_nothing():
    server = MetadataServer("lab1", lambda network, ip: None, 0, "127.0.0.1")
    status, body = Guest(server.serve(NETWORK, None))("/latest/meta-data/instance-id")
    server.close()
    assert status == 404 and "i-" not in body


def test_stopping_frees_the_port_and_serving_again_is_fine(instance):
    server = MetadataServer("lab1", lambda network, ip: instance, 0, "127.0.0.1")
    where = server.serve(NETWORK, None)
    assert server.serve(NETWORK, None) == where
    server.stop(NETWORK)
    with pytest.raises(OSError):
        socket.create_connection(where, timeout=1).close()
    assert server.serve(NETWORK, None) != ("", 0)
    server.close()


def test_a_taken_port_is_told(instance, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = MetadataServer("lab1", lambda network, ip: instance, taken.getsockname()[1], "127.0.0.1")
        server.serve(NETWORK, None)
    assert "cannot listen on 127.0.0.1" in caplog.text and "tried again" in caplog.text
    server.close()


@pytest.mark.covers("S078")
def test_the_asker_is_known_by_network_and_address_while_the_controller_is_down(lab):
    machine = lab.host()
    other = "22222222-2222-4333-8444-555555555555"
    one, two = an_instance(1), an_instance(2)
    lab.compute().prepare(one, [a_view(one, two)])
    lab.net.kill(lab.controller)
    lab.kill()
    machine = lab.host()
    address = one.ports[0].ip
    assert machine.guests.asker(NETWORK, address) == one
    assert machine.guests.asker(other, address) is None
    assert machine.guests.asker(NETWORK, two.ports[0].ip) is None
    lab.controller_up()
