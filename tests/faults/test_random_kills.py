"""Boots while the controller is killed at random moments: each acknowledged server ends ACTIVE or ERROR,
each exactly once. The seed is in the test's name and output: NOVA0_SEED repeats a run."""

from __future__ import annotations

import os
import random

import gevent
import pytest

from nova0.objects.states import PowerState
from tests.faults.processes import Cloud, until

BOOTS = int(os.environ.get("NOVA0_KILL_BOOTS", "200"))


@pytest.mark.slow
@pytest.mark.covers("S030", "S166")
def test_boots_survive_a_controller_killed_at_random(tmp_path):
    seed = int(os.environ.get("NOVA0_SEED", random.randrange(10**6)))
    dice = random.Random(seed)
    cloud = Cloud(tmp_path, hosts=3)
    kills = [0]
    try:
        cloud.start()
        acknowledged = []
        ending = False

        def killer():
            while not ending:
                gevent.sleep(dice.uniform(0.2, 2.5))
                if not ending:
                    cloud.controller.kill()
                    kills[0] += 1
                    cloud.controller.start()

        killing = gevent.spawn(killer)
        while len(acknowledged) < BOOTS:
            server = cloud.boot(f"s{len(acknowledged)}")
            if server:
                acknowledged.append(server)
            else:
                gevent.sleep(0.05)
        ending = True
        killing.join()
        for server in acknowledged:
            found = cloud.rested(server, 120)
            assert found is not None, f"seed {seed}: {server} was acknowledged and is lost"
            assert found["status"] in ("ACTIVE", "ERROR"), f"seed {seed}"
        until(lambda: not cloud.unfinished(), 60, "no operation is left")
        servers = cloud.servers()
        active = sorted(uuid for uuid, found in servers.items() if found["status"] == "ACTIVE")
        guests = sorted(uuid for uuids in cloud.guests().values() for uuid in uuids)
        assert guests == active, f"seed {seed}: each ACTIVE server has exactly one guest"
        assert sorted(claim[0] for claim in cloud.claims()) == active
        assert sorted(cloud.addresses()) == active
        assert all(
            found["OS-EXT-STS:power_state"] == PowerState.RUNNING
            for found in servers.values()
            if found["status"] == "ACTIVE"
        )
        ended = f"{len(active)} ACTIVE, {len(servers) - len(active)} ERROR"
        print(f"\nseed {seed}: {len(acknowledged)} acknowledged, {kills[0]} kills, {ended}")
    finally:
        cloud.stop()
