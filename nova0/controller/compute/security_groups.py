"""Security groups of a server's ports, by the compute API's words. Inside a transaction of `Store.write`."""

from __future__ import annotations

from nova0.controller.compute import instances
from nova0.controller.compute.refusals import Conflict, NotFound
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.network_tables import PortRow, SecurityGroupRow
from nova0.controller.network import revision


def find(name_or_id: str, project_id: str) -> SecurityGroupRow:
    """A group of the project. Raises NotFound; Conflict when the name is not one group's alone."""
    own = SecurityGroupRow.project_id == project_id
    row = SecurityGroupRow.get_or_none(SecurityGroupRow.id == name_or_id, own)
    if row is not None:
        return row
    rows = list(SecurityGroupRow.select().where(SecurityGroupRow.name == name_or_id, own))
    if len(rows) > 1:
        raise Conflict(f"Multiple security_group matches found for name '{name_or_id}': use an ID.")
    if not rows:
        raise NotFound(f"Unable to find security_group with name or id '{name_or_id}'")
    return rows[0]


def of_server(row: InstanceRow) -> list[SecurityGroupRow]:
    """Those on any of its ports."""
    ids = {group for port in instances.ports_of(row.uuid) for group in port.security_groups}
    if not ids:
        return []
    return list(SecurityGroupRow.select().where(SecurityGroupRow.id.in_(ids)).order_by(SecurityGroupRow.name))


def add(server: str, context: RequestContext, name_or_id: str) -> list[str]:
    """To all its ports; returns the networks whose hosts must hear of it."""
    row = instances.get(server, context)
    group = find(name_or_id, row.project_id)
    changed = [port for port in _ports(row) if group.id not in port.security_groups]
    for port in changed:
        _set(port, [*port.security_groups, group.id])
    return _told(changed, group.id)


def remove(server: str, context: RequestContext, name_or_id: str) -> list[str]:
    """From all its ports. Raises NotFound when none has it."""
    row = instances.get(server, context)
    group = find(name_or_id, row.project_id)
    changed = [port for port in _ports(row) if group.id in port.security_groups]
    if not changed:
        raise NotFound(f"Security group {group.id} not associated with the instance {server}")
    for port in changed:
        _set(port, [known for known in port.security_groups if known != group.id])
    return _told(changed, group.id)


def _ports(row: InstanceRow) -> list[PortRow]:
    ports = [port for port in instances.ports_of(row.uuid) if port.port_security_enabled]
    if not ports:
        raise Conflict(f"instance_id {row.uuid} could not be found as device id on any ports")
    return ports


def _set(port: PortRow, groups: list[str]) -> None:
    port.security_groups, port.revision, port.updated_at = groups, port.revision + 1, now()
    port.save()


def _told(changed: list[PortRow], group: str) -> list[str]:
    """Networks of the ports, and those whose rules name the group's members."""
    return revision.ports_changed(changed, [group]) if changed else []
