"""Many hosts and servers in one process: what keeps the fake driver worth having."""

from __future__ import annotations

import resource
import time

import gevent
import pytest
from gevent.pool import Pool

from tests.unit.host.lab import a_view, an_instance

HOSTS, SERVERS_EACH = 1000, 10


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
@pytest.mark.covers("S239")
def test_a_thousand_hosts_hold_ten_thousand_servers(lab, option):
    before, started = peak_mib(), time.monotonic()
    names = [f"h{number}" for number in range(HOSTS)]
    for name in names:
        lab.host(name)
        gevent.sleep(0)

    def fill(name: str) -> None:
        compute = lab.compute(name)
        servers = [an_instance(number) for number in range(1, SERVERS_EACH + 1)]
        for server in servers:
            compute.prepare(server, [a_view(*servers)])
            compute.start(server.uuid, 1)

    pool = Pool(20)
    gevent.joinall([pool.spawn(fill, name) for name in names], raise_error=True)
    running = sum(machine.driver.host_state().running for machine in lab.machines.values())
    print(f"{running} servers on {HOSTS} hosts: {time.monotonic() - started:.0f} s, {peak_mib() - before:.0f} MiB more")
    assert running == HOSTS * SERVERS_EACH
    assert peak_mib() - before < 1024
