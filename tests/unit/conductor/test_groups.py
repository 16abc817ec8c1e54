"""Server groups: members apart or together, also when all are asked for at once."""

from __future__ import annotations

import pytest

from nova0.controller.db.compute_tables import FaultRow, ServerGroupRow
from nova0.objects.states import VmState


def boot_group(cloud, policy, number, **rules):
    group = cloud.store.write(
        lambda: ServerGroupRow.create(name="g", project_id="p", user_id="u", policy=policy, rules=rules)
    )

    def member():
        uuid = cloud.boot(scheduler_hints={"group": group.uuid})
        return uuid

    uuids = [member() for _ in range(number)]

    def join():
        ServerGroupRow.update(members=uuids).where(ServerGroupRow.uuid == group.uuid).execute()

    return uuids, join


def run(cloud, policy, number, **rules):
    """Members are in the book before any is scheduled, as the API writes them."""
    cloud.controller.engine._looking.kill()
    uuids, join = boot_group(cloud, policy, number, **rules)
    cloud.store.write(join)
    cloud.crash()
    cloud.open()
    return [cloud.settled(uuid, 20) for uuid in uuids]


@pytest.mark.covers("S154")
def test_three_members_two_hosts_the_third_fails(cloud):
    cloud.host("lab1"), cloud.host("lab2")
    rows = run(cloud, "anti-affinity", 3)
    active = [row.host for row in rows if row.vm_state == VmState.ACTIVE]
    assert sorted(active) == ["lab1", "lab2"]
    failed = next(row for row in rows if row.vm_state == VmState.ERROR)
    fault = cloud.store.read(lambda: FaultRow.get(FaultRow.instance_uuid == failed.uuid))
    assert "ServerGroupAntiAffinityFilter left 0" in fault.message


def test_a_rule_allows_more_members_on_a_host(cloud):
    cloud.host("lab1")
    rows = run(cloud, "anti-affinity", 3, max_server_per_host=2)
    assert sorted(row.vm_state for row in rows) == ["active", "active", "error"]


def test_members_of_an_affinity_group_share_a_host(cloud):
    for name in ("lab1", "lab2", "lab3"):
        cloud.host(name)
    rows = run(cloud, "affinity", 4)
    assert len({row.host for row in rows}) == 1 and {row.vm_state for row in rows} == {VmState.ACTIVE}


@pytest.mark.parametrize("policy, hosts", [("soft-affinity", 1), ("soft-anti-affinity", 2)])
def test_soft_policies_prefer_and_never_refuse(cloud, policy, hosts):
    cloud.host("lab1"), cloud.host("lab2")
    rows = run(cloud, policy, 4)
    assert {row.vm_state for row in rows} == {VmState.ACTIVE}
    assert len({row.host for row in rows}) == hosts
