"""Keys of a running cloud are changed by its commands, with the root's key off the machine, while servers are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import gevent
import pytest

from tests.faults.processes import Cloud, until


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path, hosts=1)
    try:
        yield made.start()
    finally:
        made.stop()


def nova0(cloud, host, *words):
    """As an administrator of that machine would."""
    return subprocess.run(
        [sys.executable, "-m", "nova0.cli.main", *words],
        env={**os.environ, "NOVA0_STATE_PATH": str(cloud.folder / host), "NOVA0_HOST": host},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.design("X1", "Y1", "J1")
def test_servers_are_made_while_every_key_is_changed(cloud, tmp_path):
    stick = tmp_path / "stick.key"
    (cloud.folder / "ctl" / "mesh" / "root.key").rename(stick)
    made, going = [], True

    def boot():
        while going:
            made.append(cloud.boot(f"s{len(made)}"))
            cloud.rested(made[-1])

    booting = gevent.spawn(boot)
    for host in ("lab1", "ctl"):
        done = nova0(cloud, host, "node", "rekey", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["retired"], done.stderr
    refused = nova0(cloud, "ctl", "mesh", "rotate")
    assert refused.returncode == 1 and "--root-key FILE" in refused.stderr
    refused = nova0(cloud, "ctl", "mesh", "rotate", "--root-key", str(stick), "--drop-now")
    assert refused.returncode == 2 and "must join again" in refused.stderr and "--yes" in refused.stderr
    done = nova0(cloud, "ctl", "mesh", "rotate", "--root-key", str(stick), "--json")
    told = json.loads(done.stdout) if done.returncode == 0 else done.stderr
    assert done.returncode == 0 and told["dropped"] and told["reissued"] == ["ctl", "lab1"], told
    words = ("mesh", "rotate", "--root-key", str(stick), "--new-root-key", str(tmp_path / "second.key"))
    refused = nova0(cloud, "ctl", *words, "--drop-now")
    assert refused.returncode == 2 and "--drop-now" in refused.stderr
    for changed in (True, False):  # the second time it is only told again
        done = nova0(cloud, "ctl", *words, "--json")
        told = json.loads(done.stdout) if done.returncode == 0 else done.stderr
        assert done.returncode == 0 and told["version"] == 2 and told["changed"] == changed, told
        assert "lab1/host" in told["told"] and not told["missing"]
    refused = nova0(cloud, "ctl", "mesh", "rotate", "--root-key", str(stick))
    assert refused.returncode == 1 and "earlier root" in refused.stderr
    several = len(made) + 2
    until(lambda: len(made) >= several or booting.dead, 60, "servers are made all the while")
    going = False
    booting.get(timeout=60)
    assert {cloud.rested(server)["status"] for server in made} == {"ACTIVE"}
    cloud.controller.end()
    cloud.controller.start()
    until(lambda: cloud.up() == ["lab1"], 40, "after a restart they know each other")
