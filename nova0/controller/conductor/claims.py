"""Claims: what a server takes on a host. The store decides: one conditional update, so that no host is
promised twice however many conductors ask at once. All functions run inside a transaction."""

from __future__ import annotations

from collections import Counter
from typing import Any

from peewee import JOIN, fn

from nova0.controller.compute import host_records
from nova0.controller.db.base_table import DATABASE
from nova0.controller.db.compute_tables import ClaimRow, HostRow, InstanceRow
from nova0.controller.scheduler.host_view import Taken
from nova0.controller.scheduler.request import Request

_TAKE = """
    UPDATE host
    SET vcpus_used = vcpus_used + ?, memory_mb_used = memory_mb_used + ?, disk_gb_used = disk_gb_used + ?,
        servers = servers + 1, resources_used = coalesce(?, resources_used)
    WHERE host = ? AND NOT disabled
        AND vcpus_used + ? <= ? AND memory_mb_used + ? <= ? AND disk_gb_used + ? <= ?
"""


class ClaimLost(Exception):
    """The host no longer has room (another server took it since it was chosen), or it was disabled."""


def claim(uuid: str, host: str, taken: Taken, limits: dict[str, float]) -> None:
    """Take vCPUs, MiB, GiB and custom resources on `host` within `limits` ({"vcpus", "memory_mb", "disk_gb"},
    ratios and reservations already applied). Asked again for the same server and host: nothing more is
    taken. Raises ClaimLost."""
    held = ClaimRow.one("instance_uuid", uuid)
    if held is not None:
        if held.host == host:
            return
        free(uuid)
    resources = _with_resources(host, taken.resources) if taken.resources else None
    numbers = (taken.vcpus, taken.memory_mb, taken.disk_gb)
    most = (limits["vcpus"], limits["memory_mb"], limits["disk_gb"])
    room = (value for pair in zip(numbers, most, strict=True) for value in pair)
    used = HostRow.resources_used.db_value(resources)
    if DATABASE.execute_sql(_TAKE, (*numbers, used, host, *room)).rowcount != 1:
        raise ClaimLost(host)
    ClaimRow.create(
        instance_uuid=uuid,
        host=host,
        vcpus=taken.vcpus,
        memory_mb=taken.memory_mb,
        disk_gb=taken.disk_gb,
        resources=taken.resources,
    )


def _with_resources(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """The host's used custom resources with these added. Raises ClaimLost. Read and written in the same
    transaction, of which there is one at a time."""
    row = HostRow.one("host", host)
    if row is None:
        raise ClaimLost(host)
    state = host_records.state_of(row)
    if state is None:
        raise ClaimLost(host)
    there = state.resources
    used = Counter(row.resources_used)
    used.update(wanted)
    if any(used[name] > there.get(name, 0) for name in wanted):
        raise ClaimLost(host)
    return dict(used)


def hold_to_group(request: Request, host: str) -> None:
    """The last word on a group's policy, beside the claim itself: members placed since the choice was made
    are seen here. Raises ClaimLost."""
    group = request.group
    if group is None or request.forced_host:
        return
    rows = ClaimRow.select(ClaimRow.host).where(ClaimRow.instance_uuid.in_(list(group.others(request.uuid))))
    hosts = [row.host for row in rows]
    crowded = group.policy == "anti-affinity" and hosts.count(host) >= group.most_per_host
    apart = group.policy == "affinity" and bool(hosts) and host not in hosts
    if crowded or apart:
        raise ClaimLost(host)


def free(uuid: str) -> None:
    """Give back what the server holds, wherever; nothing held: fine."""
    held = ClaimRow.one("instance_uuid", uuid)
    if held is None:
        return
    more = {}
    if held.resources:
        used = Counter(HostRow.select(HostRow.resources_used).where(HostRow.host == held.host).scalar() or {})
        used.subtract(held.resources)
        more = {"resources_used": dict(+used)}
    HostRow.update(
        vcpus_used=HostRow.vcpus_used - held.vcpus,
        memory_mb_used=HostRow.memory_mb_used - held.memory_mb,
        disk_gb_used=HostRow.disk_gb_used - held.disk_gb,
        servers=HostRow.servers - 1,
        **more,
    ).where(HostRow.host == held.host).execute()
    held.delete_instance()


def audit() -> list[str]:
    """Make every host's sums equal to its claims, and drop claims of servers that are gone.
    Returns a line for each correction; none is expected. The store does the adding up: there may be ten thousand
    hosts, and nobody else is served meanwhile."""
    corrected = []
    of_server = InstanceRow.uuid == ClaimRow.instance_uuid
    ended = InstanceRow.deleted_at.is_null(False) & InstanceRow.host.is_null()
    claims: Any = ClaimRow.select(ClaimRow.host, ClaimRow.instance_uuid)
    gone = claims.join(InstanceRow, JOIN.LEFT_OUTER, on=of_server).where(InstanceRow.id.is_null() | ended)
    for host, uuid in list(gone.tuples()):
        corrected.append(f"{host}: a claim of {uuid}, which is gone, was freed")
        free(uuid)
    taken = (ClaimRow.vcpus, ClaimRow.memory_mb, ClaimRow.disk_gb)
    summed: Any = ClaimRow.select(ClaimRow.host, *map(fn.SUM, taken), fn.COUNT(ClaimRow.id)).group_by(ClaimRow.host)
    sums = {host: numbers for host, *numbers in summed.tuples()}
    resources: dict[str, Counter[str]] = {}
    some: Any = ClaimRow.select(ClaimRow.host, ClaimRow.resources).where(ClaimRow.resources != {})
    for host, held in some.tuples():
        resources.setdefault(host, Counter()).update(held or {})
    names = ("vcpus_used", "memory_mb_used", "disk_gb_used", "servers", "resources_used")
    rows: Any = HostRow.select(HostRow.id, HostRow.host, *(getattr(HostRow, name) for name in names))
    for id, host, *used in list(rows.tuples()):
        right = [*sums.get(host, [0, 0, 0, 0]), dict(resources.get(host, {}))]
        if used != right:
            wrong = {name: value for name, value, old in zip(names, right, used, strict=True) if value != old}
            corrected.append(f"{host}: used values corrected to {wrong}")
            HostRow.update(**wrong).where(HostRow.id == id).execute()
    return corrected
