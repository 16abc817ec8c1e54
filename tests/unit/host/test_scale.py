"""Many hosts and servers in one process: what keeps the fake driver worth having."""

from __future__ import annotations

import gc
import resource
import time

import gevent
import pytest
from gevent.pool import Pool

from nova0.host.compute import adopt
from nova0.host.virt.fake import FakeGuest
from nova0.objects.states import PowerState
from tests.api.stretches import Stretches
from tests.unit.host.lab import a_view, an_instance

HOSTS, SERVERS_EACH = 1000, 10
LOOP_S = 0.050  # the longest stretch of processor time on the loop's thread


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


@pytest.mark.slow
def test_a_host_with_ten_thousand_servers_goes_on_serving_while_it_compares(lab):
    """At its start, and each minute."""
    machine = lab.host()
    servers = [an_instance(number) for number in range(1, 10_001)]
    lab.conductor.placed, lab.conductor.page = servers, 200
    lab.conductor.views = [a_view(*servers[start : start + 1000]) for start in range(0, len(servers), 1000)]
    machine.driver._all = {
        one.uuid: FakeGuest(1, one.name, one.domain_name, "/nowhere", power=PowerState.RUNNING) for one in servers
    }
    longest = {}
    gc.collect()
    gc.freeze()  # as the process does when it has started
    try:
        for name, step in (("take up", adopt.adopt), ("look again", adopt.adopt), ("each minute", adopt.compare)):
            stretches = Stretches()
            with stretches:
                gevent.spawn(step, machine.guests).get()
            longest[name] = stretches.loop_s
    finally:
        gc.unfreeze()
    assert len(machine.records.all()) == 10_000
    assert {name: f"{took * 1000:.0f} ms" for name, took in longest.items() if took > LOOP_S} == {}
