"""A host that died with leave to start a server: its servers wait for it, or for somebody's word that it is off."""

from __future__ import annotations

import pytest

from tests.faults.processes import Cloud, until


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path, hosts=2)
    try:
        yield made.start()
    finally:
        made.stop()


def force_down(cloud, host, down):
    body = {"host": host, "binary": "nova-compute", "forced_down": down}
    assert cloud.session.put(f"{cloud.url}/v2.1/os-services/force-down", json=body).status_code == 200


@pytest.mark.slow
def test_fencing_settles_what_waits_and_a_host_that_returns_cleans_up(cloud):
    for host in cloud.hosts:
        host.end()
        host.start(crash_at="host.start.started")
    until(lambda: len(cloud.up()) == 2, 20, "both hosts are up")
    server = cloud.boot()
    until(lambda: any(host.died() for host in cloud.hosts), 20, "the host died with the guest started")
    dead = next(host for host in cloud.hosts if host.died())
    other = next(host for host in cloud.hosts if host is not dead)
    other.end()
    other.start()
    found = until(lambda: s if (s := cloud.server(server))["status"] == "ERROR" else None, 60, "it shows ERROR")
    assert f"nova0 fence {dead.host}" in found["fault"]["details"] or "leave" in found["fault"]["message"]
    assert cloud.claims() == [(server, dead.host)], "its place stays taken: it may be running there"

    force_down(cloud, dead.host, True)
    until(lambda: cloud.server(server)["status"] == "ACTIVE", 30, "it runs elsewhere")
    assert cloud.claims() == [(server, other.host)]
    assert cloud.guests() == {dead.host: [server], other.host: [server]}

    dead.start()
    until(lambda: not cloud.guests()[dead.host], 30, "the host that returned removed its own")
    assert cloud.guests()[other.host] == [server] and cloud.server(server)["status"] == "ACTIVE"
    force_down(cloud, dead.host, False)
    until(lambda: len(cloud.up()) == 2, 20, "it is up again")


@pytest.mark.slow
def test_a_deleted_server_of_a_dead_host_is_gone_and_fencing_frees_its_place(cloud):
    server = cloud.boot()
    place = cloud.rested(server)["OS-EXT-SRV-ATTR:host"]
    host = next(host for host in cloud.hosts if host.host == place)
    host.kill()
    until(lambda: place not in cloud.up(), 10, "its host is down")
    assert cloud.delete(server)
    until(lambda: cloud.server(server) is None, 20, "gone for its user")
    assert [claim[0] for claim in cloud.claims()] == [server] and cloud.addresses() == [server]
    force_down(cloud, place, True)
    until(lambda: not cloud.claims() and not cloud.addresses(), 20, "place and address are free")
    host.start()
    until(lambda: not cloud.guests()[place], 30, "the host that returned removed the guest")
