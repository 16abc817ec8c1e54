"""Many guests of a host disowned at once, over the real mesh: by a controller that lies, and by an honest one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from tests.faults.processes import Cloud, until

SERVERS = 5
WITHOUT_DELETES = """\
from nova0.controller.conductor import removals
removals.Removals.ask = lambda *_: None
"""


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path)
    made.start()
    yield made
    made.stop()


def booted(cloud):
    servers = [cloud.boot(f"s{number}") for number in range(SERVERS)]
    for server in servers:
        assert cloud.rested(server)["status"] == "ACTIVE"
    return servers


def nova0(cloud, *words, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "nova0.cli.main", *words],
        env={**os.environ, "NOVA0_STATE_PATH": str(cloud.hosts[0].state)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert code is None or done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.covers("S293")
def test_a_lying_controller_gets_no_guest_removed_until_a_person_says_so(cloud, tmp_path):
    servers = booted(cloud)
    cloud.controller.end()
    with sqlite3.connect(cloud.folder / "ctl/store.sqlite") as store:
        store.execute("UPDATE instance SET host = 'elsewhere', generation = generation + 3")
    (tmp_path / "lies").mkdir()
    (tmp_path / "lies/sitecustomize.py").write_text(WITHOUT_DELETES)
    cloud.controller.options["PYTHONPATH"] = str(tmp_path / "lies")
    cloud.controller.start()

    def doubts():
        return [guest["kept"] for guest in json.loads(nova0(cloud, "guests", "--json"))]

    until(lambda: doubts() == ["moved"] * SERVERS, 30, "all are in doubt")
    cloud.hosts[0].kill()
    cloud.hosts[0].start()
    assert cloud.guests()["lab1"] == sorted(servers)
    assert f"{SERVERS} guests are kept in doubt" in nova0(cloud, "doctor", "--fake", code=None)
    nova0(cloud, "guests", "release", code=2)  # nobody to ask
    nova0(cloud, "guests", "release", "not-an-id", "--yes", code=1)
    assert cloud.guests()["lab1"] == sorted(servers)
    assert json.loads(nova0(cloud, "guests", "release", servers[0], "--yes", "--json"))["released"] == [servers[0]]
    assert cloud.guests()["lab1"] == sorted(servers[1:])
    assert f"{SERVERS - 1} guests are gone" in nova0(cloud, "guests", "release", "--yes")
    assert cloud.guests()["lab1"] == []


@pytest.mark.slow
@pytest.mark.covers("S293")
def test_a_host_back_from_a_fence_is_emptied_by_an_honest_controller(cloud):
    servers = booted(cloud)
    cloud.hosts[0].kill()
    fence = {"host": "lab1", "binary": "nova-compute", "forced_down": True}
    assert cloud.session.put(f"{cloud.url}/v2.1/os-services/force-down", json=fence).status_code == 200
    for server in servers[:-1]:
        assert cloud.delete(server)
    until(lambda: not cloud.unfinished(), 60, "settled without the host")
    assert cloud.guests()["lab1"] == sorted(servers)
    cloud.session.put(f"{cloud.url}/v2.1/os-services/force-down", json=fence | {"forced_down": False})
    cloud.hosts[0].start()
    until(lambda: cloud.guests()["lab1"] == [servers[-1]], 60, "what was deleted meanwhile is gone, the other is not")
    assert [guest["kept"] for guest in json.loads(nova0(cloud, "guests", "--json"))] == [""]
