"""Four hosts in network namespaces on one bridge: they find each other by mDNS, and a host that vanishes
without a word is down within five seconds while the others are unharmed."""

from __future__ import annotations

import os
import shutil
import time

import gevent
import pytest
from cluster import Cluster
from contract import until
from namespaces import MARKS, ip, make_host, remove

from nova0.mesh.errors import Unreachable
from nova0.mesh.identity import create_cluster
from nova0.mesh.joining import join, mint_token
from nova0.mesh.local_client import connect

pytestmark = MARKS
NET = "10.249.77"


@pytest.fixture
def bridge():
    tag = f"m{os.getpid() % 10000}"
    names = [f"{tag}n{n}" for n in range(4)]
    try:
        ip("link", "add", f"{tag}br", "type", "bridge")
        ip("addr", "add", f"{NET}.254/24", "dev", f"{tag}br")
        ip("link", "set", f"{tag}br", "up")
        for number, name in enumerate(names):
            make_host(name, f"{tag}v{number}", f"{tag}br", f"{NET}.{number + 1}/24")
        yield tag, names
    finally:
        remove(names, [f"{tag}br"])


def seen(settings):
    try:
        with connect(settings.socket_path) as client:
            return {m["host"]: m["status"] for m in client.members()}
    except Unreachable:
        return {}


@pytest.mark.covers("S040")
def test_hosts_meet_by_mdns_and_one_that_vanishes_is_down_within_five_seconds(tmp_path, bridge):
    tag, names = bridge
    cluster = Cluster(tmp_path, listen="0.0.0.0", mdns=True)
    try:
        everyone = [
            cluster.settings(
                f"lab{n}",
                roles=("controller",) if n == 0 else ("host",),
                advertise=f"{NET}.{n + 1}",
                socket_path=str(tmp_path / f"lab{n}.sock"),
            )
            for n in range(4)
        ]
        create_cluster(everyone[0].state_dir, "lab0")
        cluster.process(everyone[0], names[0]).ready()
        for made in everyone[1:]:
            join(made, mint_token(everyone[0]))
            shutil.rmtree(f"{made.state_dir}/peers")  # so that mDNS has to find them
        starting = [cluster.process(made, name) for made, name in zip(everyone[1:], names[1:], strict=True)]
        for process in starting:
            process.ready()
        started = time.monotonic()
        for made in everyone:
            until(lambda made=made: list(seen(made).values()).count("up") == 4, 6, f"{made.host} sees all")
        met_s = time.monotonic() - started
        gevent.sleep(1)
        ip("link", "set", f"{tag}v3", "down")  # as if the whole machine had lost its power
        started = time.monotonic()
        for made in everyone[:3]:
            until(lambda made=made: seen(made).get("lab3") == "down", 6, f"{made.host} sees it down")
        down_s = time.monotonic() - started
        for made in everyone[:3]:
            assert [seen(made)[f"lab{n}"] for n in range(3)] == ["up"] * 3
        ip("link", "set", f"{tag}v3", "up")
        for made in everyone:
            until(lambda made=made: list(seen(made).values()).count("up") == 4, 10, f"{made.host}: healed")
        print(f"met in {met_s:.1f} s, down in {down_s:.1f} s")
        assert met_s < 3 and down_s < 5
    finally:
        cluster.close()
