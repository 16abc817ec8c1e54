"""Every named crash point fired once: after the restart nothing is stuck, doubled or leaked."""

from __future__ import annotations

import pytest

from nova0.controller.conductor.boot import Boot
from nova0.controller.conductor.delete import Delete
from tests.faults.processes import Cloud, until

MOMENTS = ("begun", "done", "committed")
BOOT = [f"boot.{step}.{moment}" for step in Boot.steps for moment in MOMENTS]
DELETE = [f"delete.{step}.{moment}" for step in Delete.steps for moment in MOMENTS]
HOST_BOOT = [
    "host.prepare.defined",
    "host.start.leave_granted",
    "host.start.started",
    "mesh.intent.written",
    "mesh.answer.before",
    "mesh.answer.after",
]
HOST_DELETE = ["host.delete.removed", "host.delete.tombstoned", "mesh.intent.written", "mesh.answer.before"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    made = Cloud(tmp_path_factory.mktemp("crash"), hosts=2)
    try:
        yield made.start()
    finally:
        made.stop()


def check_nothing_leaked(cloud, alive):
    """Exactly the servers in `alive` hold guests, claims and addresses, each one of each."""
    until(lambda: not cloud.unfinished(), 40, f"no operation is left: {cloud.unfinished()}")
    guests = [uuid for uuids in cloud.guests().values() for uuid in uuids]
    assert sorted(guests) == sorted(alive), "one guest for each server, none for others"
    assert sorted(claim[0] for claim in cloud.claims()) == sorted(alive)
    assert sorted(cloud.addresses()) == sorted(alive)


def clear(cloud):
    for server in cloud.servers():
        cloud.delete(server)
    until(lambda: not cloud.servers() and not cloud.unfinished(), 60, "all servers are gone")
    until(lambda: not any(cloud.guests().values()), 20, "all guests are gone")


@pytest.mark.slow
@pytest.mark.covers("S030", "S216")
@pytest.mark.parametrize("point", BOOT)
def test_the_controller_crashes_during_a_boot(cloud, point):
    cloud.controller.end()
    cloud.controller.start(crash_at=point)
    server = cloud.boot()
    until(cloud.controller.died, 20, f"the controller crashed at {point}")
    cloud.controller.start()
    assert server is not None
    assert cloud.rested(server)["status"] == "ACTIVE"
    check_nothing_leaked(cloud, [server])
    clear(cloud)
    check_nothing_leaked(cloud, [])


@pytest.mark.slow
@pytest.mark.covers("S030", "S216", "S171")
@pytest.mark.parametrize("point", DELETE)
def test_the_controller_crashes_during_a_delete(cloud, point):
    server = cloud.boot()
    assert cloud.rested(server)["status"] == "ACTIVE"
    cloud.controller.end()
    cloud.controller.start(crash_at=point)
    cloud.delete(server)
    until(cloud.controller.died, 20, f"the controller crashed at {point}")
    cloud.controller.start()
    until(lambda: cloud.server(server) is None, 30, "the server is gone")
    check_nothing_leaked(cloud, [])


@pytest.mark.slow
@pytest.mark.covers("S030", "S045", "S002")
@pytest.mark.parametrize("point", HOST_BOOT)
def test_a_host_crashes_during_a_boot(cloud, point):
    for host in cloud.hosts:
        host.end()
        host.start(crash_at=point)
    until(lambda: len(cloud.up()) == 2, 20, "both hosts are up")
    server = cloud.boot()
    until(lambda: any(host.died() for host in cloud.hosts), 20, f"a host crashed at {point}")
    for host in cloud.hosts:
        if host.died():
            host.start()
    found = cloud.rested(server, 60)
    # A host may crash again on the clean-up or on the next attempt: both were armed.
    for host in cloud.hosts:
        if host.died():
            host.start()
    found = cloud.rested(server, 60)
    assert found["status"] in ("ACTIVE", "ERROR")
    if found["status"] == "ERROR":
        assert found["fault"]["message"]
    for host in cloud.hosts:
        host.end()
        host.start()
    until(lambda: len(cloud.up()) == 2, 20, "both hosts are back")
    if found["status"] == "ERROR":
        until(lambda: not any(cloud.guests().values()) or cloud.server(server)["status"] == "ACTIVE", 60, "it settles")
        found = cloud.server(server)
    if found["status"] == "ACTIVE":
        check_nothing_leaked(cloud, [server])
    clear(cloud)
    check_nothing_leaked(cloud, [])


@pytest.mark.slow
@pytest.mark.covers("S030", "S295")
@pytest.mark.parametrize("point", HOST_DELETE)
def test_a_host_crashes_during_a_delete(cloud, point):
    server = cloud.boot()
    assert cloud.rested(server)["status"] == "ACTIVE"
    for host in cloud.hosts:
        host.end()
        host.start(crash_at=point)
    until(lambda: len(cloud.up()) == 2, 20, "both hosts are up")
    cloud.delete(server)
    until(lambda: any(host.died() for host in cloud.hosts), 20, f"a host crashed at {point}")
    until(lambda: cloud.server(server) is None, 30, "gone for its user, host or no host")
    for host in cloud.hosts:
        host.end()
        host.start()
    check_nothing_leaked(cloud, [])
