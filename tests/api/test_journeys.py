"""The whole way of the stock clients through real processes: API, conductor, mesh and two hosts on the fake driver.

What each command puts on the wire is theirs; run at the highest microversion and at 2.1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.processes import Cloud, until

pytestmark = pytest.mark.slow
AT = [(), ("--os-compute-api-version", "2.1")]
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQdPfIpXBhMxQrMqyEWG0NGcqx+N7Wd3NgGLLmHMjfP me"


def client_bin() -> Path | None:
    folder = os.environ.get("NOVA0_TEST_CLIENTS")
    return Path(folder) if folder else None


class Shell:
    """The clients' programs as one user of one project."""

    def __init__(self, cloud: Cloud, user: str) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(cloud.folder),
            "OS_AUTH_URL": f"{cloud.url}/identity/v3",
            "OS_USERNAME": user,
            "OS_PASSWORD": (cloud.folder / "ctl" / "secrets" / f"{user}.password").read_text().strip(),
            "OS_PROJECT_NAME": user,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_IDENTITY_API_VERSION": "3",
        }

    def __call__(self, program: str, *words: str, ok: bool = True) -> str:
        folder = client_bin()
        command = [str(folder / program) if folder else program, *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) is ok, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stdout + done.stderr

    def openstack(self, *words: str, ok: bool = True) -> str:
        return self("openstack", *words, ok=ok)

    def read(self, *words: str):
        return json.loads(self.openstack(*words, "-f", "json"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    made = Cloud(tmp_path_factory.mktemp("journeys"), hosts=2)
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module")
def demo(cloud):
    return Shell(cloud, "demo")


@pytest.fixture(scope="module")
def admin(cloud):
    return Shell(cloud, "admin")


@pytest.mark.covers("S023", "S032", "S033", "S036", "S363", "S401")
@pytest.mark.parametrize("at", AT, ids=["highest", "2.1"])
def test_a_users_day(demo, tmp_path, at):
    on = "a" if at else "b"
    assert demo.openstack("token", "issue", "-f", "value", "-c", "id").strip()
    assert {"nova", "glance", "neutron", "keystone"} <= set(
        demo.openstack("catalog", "list", "-f", "value", "-c", "Name").split()
    ) or "compute" in demo.openstack("catalog", "list", "-f", "value", "-c", "Type")
    picture, key = tmp_path / "disk.raw", tmp_path / "key.pub"
    picture.write_bytes(bytes(4096))
    key.write_text(PUBLIC_KEY)
    demo.openstack(
        "image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", str(picture), f"i{on}"
    )
    assert demo.read("image", "show", f"i{on}")["status"] == "active"
    demo.openstack("image", "save", "--file", str(tmp_path / "back.raw"), f"i{on}")
    assert (tmp_path / "back.raw").read_bytes() == picture.read_bytes()
    assert f"i{on}" in [row["Name"] for row in demo.read("image", "list")]
    demo.openstack(*at, "keypair", "create", "--public-key", str(key), f"k{on}")
    demo.openstack("network", "create", f"n{on}")
    demo.openstack("subnet", "create", "--network", f"n{on}", "--subnet-range", "10.9.0.0/24", f"s{on}")
    assert demo.read("subnet", "show", f"s{on}")["cidr"] == "10.9.0.0/24"
    demo.openstack("security", "group", "create", f"g{on}")
    demo.openstack("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", f"g{on}")
    made = demo.read(
        *at, "server", "create", "--image", f"i{on}", "--flavor", "m1.nano", "--key-name", f"k{on}", "--network",
        f"n{on}", "--security-group", f"g{on}", "--property", "a=b", "--config-drive", "True", "--wait", f"vm{on}",
    )  # fmt: skip
    assert made["status"] == "ACTIVE"
    assert "10.9.0." in demo.openstack(*at, "server", "list")
    for action, status in (("stop", "SHUTOFF"), ("start", "ACTIVE"), ("pause", "PAUSED"), ("unpause", "ACTIVE")):
        demo.openstack(*at, "server", action, f"vm{on}")
        until(lambda s=status: demo.read(*at, "server", "show", f"vm{on}")["status"] == s, 20, f"{action} ends")
    demo.openstack(*at, "server", "reboot", "--wait", f"vm{on}")
    demo.openstack(*at, "server", "reboot", "--hard", "--wait", f"vm{on}")
    demo.openstack(*at, "server", "lock", f"vm{on}")
    assert "locked" in demo.openstack(*at, "server", "stop", f"vm{on}", ok=False)
    demo.openstack(*at, "server", "unlock", f"vm{on}")
    demo.openstack(*at, "server", "set", "--property", "c=d", "--name", f"new{on}", f"vm{on}")
    assert demo.read(*at, "server", "show", f"new{on}")["properties"] == {"a": "b", "c": "d"}
    assert "login:" in demo.openstack(*at, "console", "log", "show", f"new{on}")
    events = demo.read(*at, "server", "event", "list", f"new{on}")
    assert {"create", "stop", "start", "pause", "unpause", "reboot", "lock"} <= {row["Action"] for row in events}
    create = next(row for row in events if row["Action"] == "create")["Request ID"]
    steps = demo.read(*at, "server", "event", "show", f"new{on}", create)["events"]
    assert "prepare" in json.dumps(steps)
    demo.openstack(*at, "server", "delete", "--wait", f"new{on}")
    several = ("--image", f"i{on}", "--flavor", "m1.nano", "--nic", "none", "--min", "2", "--max", "3")
    if not at:  # the client asks for --nic none with 2.37 and later only
        data = tmp_path / "data"
        data.write_text("#!/bin/sh\necho hello\n")
        demo.openstack("server", "create", *several, "--user-data", str(data), "--wait", "many")
        names = [row["Name"] for row in demo.read("server", "list", "--name", "many")]
        assert sorted(names) == ["many-1", "many-2", "many-3"]
        demo.openstack("server", "delete", "--wait", *names)
    assert {"instances"} <= {row["Resource"] for row in demo.read(*at, "quota", "show", "--compute")}
    demo.openstack(*at, "limits", "show", "--absolute")
    demo.openstack(*at, "keypair", "delete", f"k{on}")
    demo.openstack("network", "delete", f"n{on}")
    demo.openstack("security", "group", "delete", f"g{on}")
    demo.openstack("image", "delete", f"i{on}")


@pytest.mark.covers("S002", "S186", "S333")
@pytest.mark.parametrize("at", AT, ids=["highest", "2.1"])
def test_an_operators_day(admin, cloud, at):
    assert sorted(row["Hypervisor Hostname"] for row in admin.read(*at, "hypervisor", "list")) == ["lab1", "lab2"]
    assert admin.read(
        *at, "hypervisor", "show", "lab1" if not at else str(admin.read(*at, "hypervisor", "list")[0]["ID"])
    )
    assert admin.read(*at, "hypervisor", "stats", "show")["count"] == 2
    services = admin.read(*at, "compute", "service", "list")
    assert {(row["Binary"], row["Host"]) for row in services} >= {("nova-compute", "lab1"), ("nova-conductor", "ctl")}
    admin.openstack(*at, "compute", "service", "set", "--disable", "lab1", "nova-compute")
    found = {
        row["Host"]: row["Status"]
        for row in admin.read(*at, "compute", "service", "list")
        if row["Binary"] == "nova-compute"
    }
    assert found == {"lab1": "disabled", "lab2": "enabled"}
    admin.openstack(*at, "compute", "service", "set", "--enable", "lab1", "nova-compute")
    assert "nova" in [row["Zone Name"] for row in admin.read(*at, "availability", "zone", "list", "--compute")]
    admin.openstack(*at, "flavor", "create", "--ram", "64", "--disk", "1", "--vcpus", "1", "f.made")
    assert "f.made" in [row["Name"] for row in admin.read(*at, "flavor", "list")]
    admin.openstack(*at, "flavor", "delete", "f.made")


@pytest.mark.covers("S023", "S363")
def test_the_sdk_and_the_nova_command(demo, cloud):
    python = str(client_bin() / "python") if client_bin() else sys.executable
    program = f"""
import openstack
cloud = openstack.connect()
flavor = cloud.compute.find_flavor("m1.nano")
server = cloud.compute.create_server(name="sdk", image_id="{cloud.image}", flavor_id=flavor.id, networks="none")
print(cloud.compute.wait_for_server(server).status)
cloud.compute.delete_server(server)
cloud.compute.wait_for_delete(server)
"""
    done = subprocess.run([python, "-c", program], env=demo.environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "ACTIVE", done.stdout + done.stderr
    demo("nova", "boot", "--image", cloud.image, "--flavor", "m1.nano", "--nic", "none", "--poll", "by-nova")
    assert "ACTIVE" in demo("nova", "show", "by-nova")
    assert "create" in demo("nova", "instance-action-list", "by-nova")
    demo("nova", "delete", "by-nova")


@pytest.mark.covers("S001", "S005", "S111", "S398")
def test_without_a_host_a_server_is_accepted_and_then_says_why_not(cloud, demo):
    for host in cloud.hosts:
        host.end()
    until(lambda: cloud.up() == [], 10, "no host is up")
    try:
        server = cloud.boot("nowhere")
        found = cloud.rested(server)
        assert found["status"] == "ERROR"
        assert "No valid host was found. 2 hosts; ComputeFilter left 0" in found["fault"]["message"]
        assert cloud.delete(server)
    finally:
        for host in cloud.hosts:
            host.start()
        until(lambda: len(cloud.up()) == 2, 20, "both hosts are back")
