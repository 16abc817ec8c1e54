"""A disk takes nothing more, at the controller or at a host: 507 or a fault that names the remedy, nothing half done,
and everything goes on by itself once there is room."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest
import requests

from tests.faults.processes import Cloud, until

V3 = "/identity/v3"


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path, hosts=1)
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 100 MB, of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a small tmpfs")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", str(place)]).returncode:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def files_may_have(process, most):
    """From now on a process's files may not grow beyond so many bytes: SQLite hears an I/O error of it."""
    hard = resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (most, hard))


def fill(place):
    with open(place / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def everything(cloud):
    """(service, answer) of a change in each API."""
    ask, url = cloud.session, cloud.url
    image = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    boot = {"name": "no", "imageRef": cloud.image, "flavorRef": cloud._flavor(), "networks": [{"uuid": cloud.network}]}
    yield "compute", ask.post(f"{url}/v2.1/servers", json={"server": boot})
    yield "compute", ask.post(f"{url}/v2.1/os-keypairs", json={"keypair": {"name": f"k{os.urandom(4).hex()}"}})
    yield "network", ask.post(f"{url}/network/v2.0/networks", json={"network": {"name": "no"}})
    yield "identity", ask.post(f"{url}{V3}/projects", json={"project": {"name": f"p{os.urandom(4).hex()}"}})
    yield "image", ask.post(f"{url}/image/v2/images", json=image)


def message_of(service, answer):
    body = answer.json()
    if service == "compute":
        assert body["computeFault"]["code"] == answer.status_code
        return body["computeFault"]["message"]
    if service == "network":
        return body["NeutronError"]["message"]
    if service == "identity":
        assert body["error"]["code"] == answer.status_code and body["error"]["title"]
        return body["error"]["message"]
    return body["message"]


def all_refused(cloud):
    for service, answer in everything(cloud):
        assert answer.status_code == 507, f"{service}: {answer.status_code} {answer.text}"
        told = message_of(service, answer)
        assert "Nothing was changed" in told and "free space" in told and str(cloud.folder) not in told


def log_of(process):
    return (process.state / f"{process.bundle}.log").read_text()


@pytest.mark.slow
def test_a_store_that_cannot_grow_answers_507_and_goes_on_by_itself(cloud):
    """threat: a full disk loses what was asked, or needs a restart."""
    kept = cloud.boot("kept")
    assert cloud.rested(kept)["status"] == "ACTIVE"
    before = cloud.servers()
    files_may_have(cloud.controller, 1)
    all_refused(cloud)
    assert cloud.session.delete(f"{cloud.url}/v2.1/servers/{kept}").status_code == 507
    upload = cloud.session.post(f"{cloud.url}/image/v2/images", json={"name": "x"})
    assert upload.status_code == 507
    assert {id: s["status"] for id, s in cloud.servers().items()} == {id: s["status"] for id, s in before.items()}
    cloud.log_in()  # whoever only reads is served

    files_may_have(cloud.controller, resource.RLIM_INFINITY)
    for service, answer in everything(cloud):
        assert answer.status_code in (200, 201, 202), f"{service}: {answer.text}"
    assert cloud.delete(kept)
    until(lambda: cloud.server(kept) is None, 20, "deleted")
    until(lambda: all(s["status"] == "ACTIVE" for s in cloud.servers().values()), 20, "what was asked later is done")
    said = log_of(cloud.controller)
    assert "Traceback" not in said and said.count("the store takes writes again") == 1


@pytest.mark.slow
def test_work_under_way_waits_for_room_and_loses_nothing(tmp_path):
    """threat: a full disk fails servers that were promised."""
    cloud = Cloud(tmp_path, hosts=1, NOVA0_FAKE__DELAYS="define:2,start:2")
    try:
        cloud.start()
        servers = [cloud.boot(f"s{n}") for n in range(3)]
        until(lambda: all(s["OS-EXT-STS:task_state"] == "spawning" for s in cloud.servers().values()), 20, "under way")
        files_may_have(cloud.controller, 1)
        until(lambda: len(cloud.guests()["lab1"]) == 3, 20, "hosts work on")
        files_may_have(cloud.controller, resource.RLIM_INFINITY)
        rested = [cloud.rested(server) for server in servers]
        assert [server["status"] for server in rested] == ["ACTIVE"] * 3, rested
        assert cloud.unfinished() == [] and len(cloud.claims()) == 3
    finally:
        cloud.stop()


@pytest.mark.slow
@pytest.mark.root
def test_a_full_file_system_is_507_everywhere_and_an_upload_leaves_nothing(small_disk):
    cloud = Cloud(small_disk, hosts=0)
    try:
        cloud.start()
        image = cloud.session.post(
            f"{cloud.url}/image/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"}
        ).json()["id"]
        fill(small_disk)
        all_refused(cloud)
        put = {"data": bytes(4096), "headers": {"Content-Type": "application/octet-stream"}}
        answer = cloud.session.put(f"{cloud.url}/image/v2/images/{image}/file", **put)
        assert answer.status_code == 507 and "free space" in answer.json()["message"]
        assert not list((small_disk / "ctl/images").glob(f"{image}*"))
        looked = doctor(cloud)
        assert looked["store's disk"]["level"] == "blocks" and "free space" in looked["store's disk"]["remedy"]
        (small_disk / "filler").unlink()
        for service, answer in everything(cloud):
            assert answer.status_code in (200, 201, 202), f"{service}: {answer.text}"
        cloud.controller.end()
        cloud.controller.start()
        cloud.log_in()
        assert "Traceback" not in log_of(cloud.controller)
    finally:
        cloud.stop()


def doctor(cloud):
    environment = {**os.environ, "NOVA0_STATE_PATH": str(cloud.folder / "ctl")}
    command = [sys.executable, "-m", "nova0.cli.main", "doctor", "--fake", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return {finding["subject"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.slow
def test_a_host_whose_disk_is_full_says_so_and_takes_servers_again_later(cloud):
    files_may_have(cloud.hosts[0], 0)
    server = cloud.boot("no-room")
    failed = cloud.rested(server)
    assert failed["status"] == "ERROR"
    told = failed["fault"]["message"] + failed["fault"].get("details", "")
    assert "lab1" in told and "free" in told, told
    files_may_have(cloud.hosts[0], resource.RLIM_INFINITY)
    again = cloud.boot("room")
    assert cloud.rested(again)["status"] == "ACTIVE"
    assert cloud.delete(server) and cloud.delete(again)
    until(lambda: cloud.guests()["lab1"] == [], 20, "nothing is left")
    assert not list((cloud.hosts[0].state / "instances-records").glob(".*")), "nor half a file"


@pytest.mark.slow
def test_a_record_cut_in_half_hurts_one_server_only(cloud):
    """As an earlier nova0 could leave it: the host starts, says what to do, and takes the guest up again."""
    servers = [cloud.boot(f"s{n}") for n in range(3)]
    assert all(cloud.rested(server)["status"] == "ACTIVE" for server in servers)
    host = cloud.hosts[0]
    host.kill()
    record = host.state / "instances-records" / f"{servers[0]}.json"
    record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])
    host.start()
    assert not host.died()
    until(lambda: cloud.up() == ["lab1"], 20, "the host is back")
    until(record.exists, 20, "the guest's record is made again from the store")
    assert servers[0] in log_of(host) and "nova0 ps --all" in log_of(host)
    assert cloud.guests()["lab1"] == sorted(servers)
    for server in servers:
        assert cloud.delete(server)
    until(lambda: cloud.guests()["lab1"] == [], 30, "all can be deleted")


@pytest.mark.slow
def test_a_controller_that_starts_on_a_full_disk_says_why(tmp_path):
    cloud = Cloud(tmp_path, hosts=0)
    cloud.start()
    cloud.controller.end()
    program = ["sh", "-c", 'ulimit -f 0; exec "$@" 2>&1 | cat', "sh"]
    words = [sys.executable, "-m", "nova0.cli.main", "agent", "run", "controller"]
    environment = {**os.environ, "NOVA0_STATE_PATH": str(tmp_path / "ctl"), "NOVA0_HOST": "ctl"}
    environment |= {"NOVA0_MESH__MDNS": "false", "NOVA0_API__OSAPI_LISTEN_PORT": str(cloud.port)}
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stdout and "nova0 controller: " in done.stdout and str(tmp_path) in done.stdout
    cloud.controller.start()
    try:
        assert requests.get(f"{cloud.url}/").status_code in (200, 300)
    finally:
        cloud.stop()
