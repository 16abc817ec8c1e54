"""A controller that ends at any moment is replaced by one that takes the work up where it was."""

from __future__ import annotations

import random

import gevent
import pytest

from nova0.controller.db.compute_tables import ClaimRow, InstanceRow
from nova0.objects.states import PowerState, VmState


@pytest.mark.covers("S030", "S216")
@pytest.mark.parametrize("method", ["prepare", "start", "leave_granted"])
def test_a_boot_goes_on_after_a_restart(cloud, method):
    host = cloud.host("lab1")
    there = gevent.event.Event()
    host.script[method] = lambda uuid, *more: (there.set(), gevent.sleep(0.2))
    uuid = cloud.boot()
    there.wait(30)
    cloud.crash()
    host.script.clear()
    cloud.open()
    row = cloud.settled(uuid, 20)
    assert (row.vm_state, row.host) == (VmState.ACTIVE, "lab1")
    assert host.guests_here == {uuid: PowerState.RUNNING}


@pytest.mark.covers("S030")
def test_random_crashes_lose_nothing_and_do_nothing_twice(cloud):
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    hosts = [cloud.host(f"lab{i}", memory_mb=64 * 1024, vcpus=64) for i in (1, 2, 3)]
    for host in hosts:
        for method in ("prepare", "start", "leave_granted", "delete"):
            host.script[method] = lambda *args: gevent.sleep(dice.random() * 0.02)
    uuids = []
    for _ in range(6):
        uuids += [cloud.boot() for _ in range(5)]
        gevent.sleep(dice.random() * 0.1)
        if dice.random() < 0.5:
            cloud.ask("delete", uuids[dice.randrange(len(uuids))])
            gevent.sleep(dice.random() * 0.02)
        cloud.crash()
        cloud.open()
    for uuid in uuids:
        cloud.until(lambda u=uuid: (r := cloud.row(u)).deleted_at or r.task_state is None, 60)
    rows = {row.uuid: row for row in cloud.store.read(lambda: list(InstanceRow.select()))}
    for uuid in uuids:
        places = [host.name for host in hosts if host.guests_here.get(uuid) == PowerState.RUNNING]
        row = rows[uuid]
        if row.deleted_at:
            assert places == [], f"seed {seed}: a deleted server still runs"
        else:
            assert (row.vm_state, places) == (VmState.ACTIVE, [row.host]), f"seed {seed}"
    alive = sum(1 for row in rows.values() if not row.deleted_at)
    cloud.until(lambda: cloud.store.read(lambda: ClaimRow.select().count()) == alive)
