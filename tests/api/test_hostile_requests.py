"""No request of any route, whatever it says, is a fault of ours or takes the loop's thread for long.

The requests are made from the routes and their schemas (hostile.py), sent to the application in this thread; what they
take is counted as processor time of the loop's thread and of the store's, so that a busy machine changes nothing.
"""

import os
import random
import zlib

import pytest
from compute_cloud import compute  # noqa: F401 - a fixture
from conductor_stand_in import network
from hostile import CPU_MOST_S, Client, of_route, routes

from nova0.controller.api.application import make_app
from nova0.controller.identity import attempts

ROUTES = list(routes())
QUICK, WHOLE = 3, 120  # requests of each route; there are 130,000 in all
FAULTS = {500, 502, 504, 507}


@pytest.fixture(scope="module")
def target(cloud, compute):  # noqa: F811
    """(client of an administrator, ids for paths): one of everything, none of it the administrator's own self."""
    victim = cloud.new_user("victim", "victims", "member")
    compute.conductor.stop()  # its own work is not the requests'
    server = compute.boot("target", http=cloud.admin, wait=False)
    made = cloud.store.write(lambda: network(cloud.admin.project_id))
    cloud.admin.post("/v2.1/os-aggregates", {"aggregate": {"name": "target"}})
    ids = {
        "server_id": server, "image_id": compute.image_id, "network_id": made, "id": made, "kind": "networks",
        "flavor_id": compute.flavor_id, "aggregate_id": "1", "project_id": victim.project_id,
        "user_id": victim.user_id, "target_id": victim.project_id, "port": "22",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "FIRST_WAIT_S", 0.0)  # what guesses wait is tried by test_guessing
        yield Client(make_app(cloud.services), cloud.services, cloud.admin.token), ids


def _try(target, mount, route, most):
    client, ids = target
    seed = zlib.crc32(f"{mount} {route.method} {route.path} {route.action}".encode())
    seed ^= int(os.environ.get("NOVA0_TEST_SEED", "0"))
    every = list(of_route(mount, route, ids))
    if route.method == "DELETE":  # what the others ask about stays
        every = [one for one in every if one.shown.startswith(("<", "?"))]
    for asked in random.Random(seed).sample(every, min(most, len(every))):
        got = client.ask(asked)
        assert got.status not in FAULTS, f"{asked}: {got.status} {got.body[:300]!r}"
        for _ in range(3):
            if max(got.loop_s, got.store_s) < CPU_MOST_S:
                break
            got = client.ask(asked)
        assert got.loop_s < CPU_MOST_S, f"{asked}: {got.loop_s * 1000:.0f} ms of the loop's thread"
        assert got.store_s < CPU_MOST_S, f"{asked}: {got.store_s * 1000:.0f} ms of the store's thread"


@pytest.mark.covers("S075")
def test_no_hostile_request_of_any_route_is_a_fault_or_slow(target):
    for mount, route in ROUTES:
        _try(target, mount, route, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("mount", sorted({mount for mount, _ in ROUTES}))
def test_many_hostile_requests_of_every_route(target, mount):
    for where, route in ROUTES:
        if where == mount:
            _try(target, mount, route, WHOLE)
