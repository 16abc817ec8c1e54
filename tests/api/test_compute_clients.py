"""Journeys of the field's own clients, unmodified, at the highest microversion and at 2.1."""

import json

import pytest

pytest_plugins = ("compute_cloud",)
pytestmark = pytest.mark.slow  # each command of theirs takes a second or more
AT = [(), ("--os-compute-api-version", "2.1")]
NAMES = ["highest", "2.1"]


@pytest.fixture(scope="module")
def admin(clients, cloud):
    """The same clients, logged in as admin."""
    from served import Clients, client_env

    return Clients(clients.bin_dir, client_env(cloud, "admin", "admin"))


def read(clients, *words):
    return json.loads(clients.openstack(*words, "-f", "json"))


@pytest.mark.covers("S023", "S033", "S363", "S378", "S401")
@pytest.mark.parametrize("at", AT, ids=NAMES)
def test_a_servers_life(clients, compute, tmp_path, at):
    name = "life" + "".join(at).replace(".", "-").strip("-")
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQdPfIpXBhMxQrMqyEWG0NGcqx+N7Wd3NgGLLmHMjfP me")
    assert read(clients, *at, "keypair", "create", "--public-key", str(key), "k-" + name)["name"] == "k-" + name
    made = read(
        clients, *at, "server", "create", "--image", compute.image_id, "--flavor", "m1.nano", "--key-name",
        "k-" + name, "--nic", f"net-id={compute.network_id}", "--property", "a=b", "--config-drive", "True",
        "--wait", name,
    )  # fmt: skip
    assert made["status"] == "ACTIVE"
    assert name in [one["Name"] for one in read(clients, *at, "server", "list")]
    for action, status in (
        ("stop", "SHUTOFF"), ("start", "ACTIVE"), ("pause", "PAUSED"), ("unpause", "ACTIVE"),
    ):  # fmt: skip
        clients.openstack(*at, "server", action, name)
        compute.wait(made["id"], status)
    clients.openstack(*at, "server", "reboot", "--wait", name)
    clients.openstack(*at, "server", "reboot", "--hard", "--wait", name)
    clients.openstack(*at, "server", "lock", name)
    assert "locked" in clients.openstack(*at, "server", "stop", name, ok=False)
    clients.openstack(*at, "server", "unlock", name)
    clients.openstack(*at, "server", "set", "--property", "c=d", "--name", name + "x", name)
    shown = read(clients, *at, "server", "show", name + "x")
    assert (shown["name"], shown["properties"]) == (name + "x", {"a": "b", "c": "d"})
    compute.cloud.guests.logs[made["id"]] = b"hello from the guest\n"
    assert "hello" in clients.openstack(*at, "console", "log", "show", name + "x")
    events = read(clients, *at, "server", "event", "list", name + "x")
    assert {"create", "stop", "start", "reboot", "pause", "lock"} <= {one["Action"] for one in events}
    stop = next(one for one in events if one["Action"] == "stop")
    assert read(clients, *at, "server", "event", "show", name + "x", stop["Request ID"])["action"] == "stop"
    clients.openstack(*at, "server", "delete", "--wait", name + "x")
    clients.openstack(*at, "keypair", "delete", "k-" + name)
    assert name + "x" not in [one["Name"] for one in read(clients, *at, "server", "list")]


def test_several_without_a_network_and_with_user_data(clients, compute, tmp_path):
    data = tmp_path / "data"
    data.write_text("#!/bin/sh\necho hello\n")
    clients.openstack("server", "create", "--image", compute.image_id, "--flavor", "42", "--nic", "none", "--min", "2",
                      "--max", "2", "--user-data", str(data), "--wait", "several")  # fmt: skip
    names = [one["Name"] for one in read(clients, "server", "list", "--name", "several")]
    assert sorted(names) == ["several-1", "several-2"]
    clients.openstack("server", "delete", "--wait", *names)


@pytest.mark.parametrize("at", AT, ids=NAMES)
def test_what_an_operator_reads_and_sets(admin, compute, at):
    assert [one["Hypervisor Hostname"] for one in read(admin, *at, "hypervisor", "list")] == ["lab1"]
    number = read(admin, *at, "hypervisor", "list")[0]["ID"]
    assert read(admin, *at, "hypervisor", "show", str(number))["hypervisor_hostname"] == "lab1"
    if at:
        assert read(admin, *at, "hypervisor", "stats", "show")["count"] == 1
    services = {one["Binary"]: one for one in read(admin, *at, "compute", "service", "list")}
    assert services["nova-compute"]["State"] == "up"
    admin.openstack(*at, "compute", "service", "set", "--disable", "--disable-reason", "repair", "lab1", "nova-compute")
    services = {one["Binary"]: one for one in read(admin, *at, "compute", "service", "list")}
    assert services["nova-compute"]["Status"] == "disabled"
    admin.openstack(*at, "compute", "service", "set", "--enable", "lab1", "nova-compute")
    zones = read(admin, *at, "availability", "zone", "list", "--compute")
    assert {"nova"} <= {one["Zone Name"] for one in zones}
    flavor = read(admin, *at, "flavor", "create", "--ram", "64", "--disk", "1", "--vcpus", "1", "f.made")
    assert "f.made" in [one["Name"] for one in read(admin, *at, "flavor", "list")]
    admin.openstack(*at, "flavor", "set", "--property", "mine=1", flavor["name"])
    assert read(admin, *at, "flavor", "show", "f.made")["properties"] == {"mine": "1"}
    admin.openstack(*at, "flavor", "delete", "f.made")
    made = read(admin, *at, "aggregate", "create", "--zone", "east", "rack")
    admin.openstack(*at, "aggregate", "add", "host", "rack", "lab1")
    admin.openstack(*at, "aggregate", "remove", "host", "rack", "lab1")
    admin.openstack(*at, "aggregate", "delete", str(made["id"]))
    assert read(admin, *at, "usage", "list") is not None


@pytest.mark.parametrize("at", AT, ids=NAMES)
def test_limits_quotas_and_groups(clients, compute, at):
    limits = {one["Name"]: one["Value"] for one in read(clients, *at, "limits", "show", "--absolute")}
    assert limits.get("maxTotalInstances", limits.get("instances", limits.get("total_instances"))) == 10
    quota = read(clients, *at, "quota", "show", "--compute")
    assert {one["Resource"]: one["Limit"] for one in quota}["instances"] == 10
    group = read(clients, *at, "server", "group", "create", "--policy", "affinity", "near")
    assert "near" in [one["Name"] for one in read(clients, *at, "server", "group", "list")]
    clients.openstack(*at, "server", "group", "delete", group["id"])


@pytest.mark.covers("S363")
def test_the_sdk(clients, compute):
    told = clients.python(f"""
server = cloud.compute.create_server(name="sdk", image_id="{compute.image_id}", flavor_id="42", networks="none")
server = cloud.compute.wait_for_server(server)
cloud.compute.stop_server(server)
cloud.compute.wait_for_server(server, status="SHUTOFF")
cloud.compute.set_server_metadata(server, a="b")
print(server.status, cloud.compute.get_server(server.id).metadata, cloud.get_compute_limits().max_total_instances)
cloud.compute.delete_server(server)
cloud.compute.wait_for_delete(server)
""")
    assert told == "SHUTOFF {'a': 'b'} 10"


@pytest.mark.covers("S023")
def test_the_nova_command(clients, compute):
    nova = lambda *words: clients("nova", *words)  # noqa: E731
    shown = nova("boot", "--image", compute.image_id, "--flavor", "m1.nano", "--nic", "none", "--poll", "by-nova")
    assert "by-nova" in shown
    assert "by-nova" in nova("list")
    nova("lock", "by-nova")
    nova("unlock", "by-nova")
    assert "ACTIVE" in nova("show", "by-nova")
    assert "create" in nova("instance-action-list", "by-nova")
    nova("console-log", "by-nova")
    assert "instances" in nova("quota-show")
    nova("limits")
    nova("delete", "by-nova")
