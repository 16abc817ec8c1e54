"""Servers asked for together are placed by one decision: all of them, as many as were asked for at least, or none."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from nova0.controller.conductor import journal
from nova0.controller.db.base_table import new_id
from nova0.controller.db.compute_tables import ClaimRow, FaultRow, HostRow, InstanceRow, ServerGroupRow
from nova0.objects.states import TaskState, VmState
from tests.unit.conductor.conftest import TINY


def boot(cloud, number, at_least=None, **columns):
    """What POST /servers writes for max_count = number, min_count = at_least; the uuids."""
    uuids = [new_id() for _ in range(number)]

    def closure():
        if columns.pop("group", None):
            group = ServerGroupRow.create(name="g", project_id="p", user_id="u", policy=policy, members=uuids)
            columns["scheduler_hints"] = {"group": group.uuid}
        for uuid in uuids:
            InstanceRow.create(
                uuid=uuid, name="s", hostname="s", project_id="p", user_id="u", vm_state=VmState.BUILDING,
                task_state=TaskState.SCHEDULING, flavor=msgspec.to_builtins(TINY), reservation_id="r-together",
                requested_networks="none", **columns,
            )  # fmt: skip
            journal.begin("boot", uuid, cloud.context(), {"batch": "r-together", "at_least": at_least or number})

    policy = columns.get("group")
    cloud.store.write(closure)
    return uuids


def states(cloud, uuids):
    return Counter(str(cloud.settled(uuid, 60).vm_state) for uuid in uuids)


def nothing_is_taken(cloud):
    return cloud.store.read(lambda: (ClaimRow.select().count(), {row.servers for row in HostRow.select()})) == (0, {0})


@pytest.mark.covers("S160")
def test_a_request_for_many_spreads_over_equal_hosts(cloud):
    for n in range(4):
        cloud.host(f"lab{n}")
    uuids = boot(cloud, 10)
    assert states(cloud, uuids) == {"active": 10}
    per_host = Counter(cloud.row(uuid).host for uuid in uuids)
    assert max(per_host.values()) - min(per_host.values()) <= 1 and len(per_host) == 4


def test_without_room_for_all_none_is_placed_and_each_says_why(cloud):
    cloud.host("lab1", memory_mb=1024), cloud.host("lab2", memory_mb=1024)  # room for 2 and 2
    uuids = boot(cloud, 5)
    assert states(cloud, uuids) == {"error": 5}
    messages = cloud.store.read(lambda: [f.message for f in FaultRow.select().where(FaultRow.instance_uuid.in_(uuids))])
    assert len(messages) == 5 and all("room for 4 of 5" in message for message in messages)
    assert nothing_is_taken(cloud)
    assert not any(host for host in (cloud.row(uuid).host for uuid in uuids))


def test_as_many_as_fit_where_fewer_were_asked_for_at_least(cloud):
    cloud.host("lab1", memory_mb=1024), cloud.host("lab2", memory_mb=1024)
    uuids = boot(cloud, 6, at_least=3)
    assert states(cloud, uuids) == {"active": 4, "error": 2}
    assert Counter(cloud.row(uuid).host for uuid in uuids) == {"lab1": 2, "lab2": 2, None: 2}


@pytest.mark.parametrize(("policy", "hosts"), [("affinity", 1), ("anti-affinity", 3)])
def test_members_of_a_group_asked_for_together_keep_its_policy(cloud, policy, hosts):
    for n in range(3):
        cloud.host(f"lab{n}")
    uuids = boot(cloud, 3, group=policy)
    assert states(cloud, uuids) == {"active": 3}
    assert len({cloud.row(uuid).host for uuid in uuids}) == hosts


def test_a_group_that_cannot_be_kept_places_none(cloud):
    cloud.host("lab1"), cloud.host("lab2")
    uuids = boot(cloud, 3, group="anti-affinity")
    assert states(cloud, uuids) == {"error": 3} and nothing_is_taken(cloud)


@pytest.mark.slow
@pytest.mark.covers("S160", "S162")
def test_three_hundred_boots_at_once_end_within_one_of_each_other(cloud):
    for n in range(8):
        cloud.host(f"lab{n}", memory_mb=512 * 50, vcpus=50)
    cloud.controller.engine._looking.kill()
    uuids = [cloud.boot() for _ in range(300)]
    cloud.crash()
    cloud.open()
    for uuid in uuids:
        assert cloud.settled(uuid, 120).vm_state == VmState.ACTIVE
    per_host = cloud.store.read(lambda: {row.host: row.servers for row in HostRow.select()})
    assert sum(per_host.values()) == 300 and max(per_host.values()) - min(per_host.values()) <= 1, per_host
    assert cloud.store.read(lambda: Counter(c.host for c in ClaimRow.select())) == per_host
