"""Which networks must hosts hear of after a change. Inside a store closure.

A network's revision grows with everything a host builds from it, remote group members on other networks included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nova0.controller.db.base_table import now
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortGroupRow, PortRow, SecurityGroupRuleRow


def touch(network_ids: Iterable[str]) -> list[str]:
    """Raise their revisions; returns the ids, for services.guests.networks_changed after the commit."""
    wanted = sorted(set(network_ids))
    if wanted:
        NetworkRow.update(revision=NetworkRow.revision + 1, updated_at=now()).where(NetworkRow.id.in_(wanted)).execute()
    return wanted


def count_in(group_id: str) -> int:
    """How many ports carry a security group."""
    return int(PortGroupRow.select().where(PortGroupRow.group_id == group_id).count())


def addresses_in(group_ids: Iterable[str]) -> dict[str, list[str]]:
    """group -> addresses of the ports that carry it, in no order. Plain tuples: a group may have thousands."""
    found: dict[str, list[str]] = {group_id: [] for group_id in group_ids}
    query: Any = (
        PortGroupRow.select(PortGroupRow.group_id, FixedAddressRow.ip_address)
        .join(FixedAddressRow, on=(FixedAddressRow.port_id == PortGroupRow.port_id))
        .where(PortGroupRow.group_id.in_(list(found)))
    )
    for group_id, address in query.tuples():
        found[group_id].append(address)
    return found


def networks_using(group_ids: Iterable[str]) -> set[str]:
    """Networks with a port whose rules these groups are: their own members'."""
    carrying = PortGroupRow.port_id == PortRow.id
    query: Any = PortRow.select(PortRow.network_id).join(PortGroupRow, on=carrying).distinct()
    return {network_id for (network_id,) in query.where(PortGroupRow.group_id.in_(list(group_ids))).tuples()}


def networks_naming(group_ids: Iterable[str]) -> set[str]:
    """Networks with a port that has a rule whose remote is one of these groups: members' addresses matter there."""
    wanted = list(set(group_ids))
    if not wanted:
        return set()
    naming = SecurityGroupRuleRow.select(SecurityGroupRuleRow.security_group_id).where(
        SecurityGroupRuleRow.remote_group_id.in_(wanted)
    )
    return networks_using({row.security_group_id for row in naming})


def ports_changed(ports: Iterable[PortRow], groups_before: Iterable[str] = ()) -> list[str]:
    """These ports came, went, moved or changed groups: touch their networks and those that name their groups."""
    changed = list(ports)
    groups = {group for port in changed for group in port.security_groups} | set(groups_before)
    return touch({port.network_id for port in changed} | networks_naming(groups))
