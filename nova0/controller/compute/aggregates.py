"""The book of host aggregates: admins' groups of hosts, and what gives hosts their availability zone.

All functions run inside a transaction of the store.
"""

from __future__ import annotations

from typing import Any

from nova0.controller.compute import host_changes, zones
from nova0.controller.compute.refusals import BadRequest, Conflict, NotFound
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import AggregateRow, HostRow, InstanceRow
from nova0.controller.numbers import whole


def get(aggregate_id: str | int) -> AggregateRow:
    row = AggregateRow.get_or_none(AggregateRow.id == whole(str(aggregate_id)))
    if row is None:
        raise NotFound(f"Aggregate {aggregate_id} could not be found.")
    return row


def create(name: str, zone: str | None) -> AggregateRow:
    _check_zone_name(zone)
    if AggregateRow.get_or_none(AggregateRow.name == name) is not None:
        raise Conflict(f"Aggregate {name} already exists.")
    return AggregateRow.create(name=name, metadata={zones.KEY: zone} if zone else {})


def update(row: AggregateRow, name: str | None, zone: str | None, *, zone_given: bool) -> None:
    if name is not None:
        other = AggregateRow.get_or_none(AggregateRow.name == name)
        if other is not None and other.id != row.id:
            raise Conflict(f"Aggregate {name} already exists.")
        row.name = name
    if zone_given:
        _check_zone_name(zone)
        set_metadata(row, {zones.KEY: zone})
    row.updated_at = now()
    row.save()
    host_changes.changed()


def delete(row: AggregateRow) -> None:
    if row.hosts:
        raise BadRequest(f"Cannot remove aggregate {row.id}: Host aggregate is not empty")
    row.delete_instance()


def add_host(row: AggregateRow, host: str) -> None:
    _host(host)
    if host in row.hosts:
        raise Conflict(f"Cannot add host {host} in aggregate {row.id}: already there")
    _refuse_second_zone(row, [host], row.metadata.get(zones.KEY))
    row.hosts, row.updated_at = [*row.hosts, host], now()
    row.save()
    host_changes.changed()


def remove_host(row: AggregateRow, host: str) -> None:
    _host(host)
    if host not in row.hosts:
        raise NotFound(f"Cannot remove host {host} from aggregate {row.id}: it is not in it")
    _refuse_stranding([host])
    row.hosts, row.updated_at = [known for known in row.hosts if known != host], now()
    row.save()
    host_changes.changed()


def set_metadata(row: AggregateRow, metadata: dict[str, Any]) -> None:
    """Merge; a null value takes its key away."""
    if zones.KEY in metadata and metadata[zones.KEY] != row.metadata.get(zones.KEY):
        _check_zone_name(metadata[zones.KEY])
        _refuse_second_zone(row, row.hosts, metadata[zones.KEY])
        _refuse_stranding(row.hosts)
    merged = {**row.metadata, **metadata}
    row.metadata = {key: value for key, value in merged.items() if value is not None}
    row.updated_at = now()
    row.save()
    host_changes.changed()


def _host(host: str) -> None:
    if HostRow.get_or_none(HostRow.host == host) is None:
        raise NotFound(f"Compute host {host} could not be found.")


def _check_zone_name(zone: str | None) -> None:
    if zone is not None and (not zone.strip() or ":" in zone):
        raise BadRequest(f"Invalid availability zone name {zone!r}: it may not be empty or contain a colon.")


def _refuse_second_zone(row: AggregateRow, hosts: list[str], zone: str | None) -> None:
    """A host is in one zone at most."""
    if zone is None:
        return
    for other in AggregateRow.select().where(AggregateRow.id != row.id):
        theirs = other.metadata.get(zones.KEY)
        both = sorted(set(hosts) & set(other.hosts))
        if theirs is not None and theirs != zone and both:
            raise Conflict(
                f"Aggregate {row.id}: One or more hosts already in availability zone(s) {theirs} ({', '.join(both)})"
            )


def _refuse_stranding(hosts: list[str]) -> None:
    """A zone may not be taken from under servers that live in it."""
    if not hosts:
        return
    there = InstanceRow.select(InstanceRow.host).where(InstanceRow.host.in_(hosts), InstanceRow.deleted_at.is_null())
    busy = sorted({str(row.host) for row in there})
    if busy:
        raise Conflict(
            f"One or more hosts contain instances in this zone ({', '.join(busy)}): move or delete them first"
        )
