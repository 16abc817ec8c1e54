"""What was asked of the scheduler, as the store remembers it: `nova0 schedule record`. Inside a store closure."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from nova0.controller.compute import flavors, host_records
from nova0.controller.db.compute_tables import AggregateRow, HostRow, InstanceRow, ServerGroupRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.request import taken_by

LOG = logging.getLogger(__name__)
PAGE = 500  # servers read at once: others wait for the store meanwhile


def page(since: float, marker: int) -> dict[str, Any]:
    """{"servers": [...], "next": marker of the following page or None}. Of each server what a choice goes by, under
    the names of simulation.Event, with `gone_at` (None: there) and `batch` ("": asked for alone). Those that had
    gone before `since` are left out."""
    still = InstanceRow.deleted_at.is_null() | (InstanceRow.deleted_at >= since)
    query = InstanceRow.select().where(InstanceRow.id > marker, still).order_by(InstanceRow.id).limit(PAGE)
    rows = list(query)
    asked = _asked([row.uuid for row in rows])
    return {
        "servers": [one for row in rows if (one := _server(row, asked.get(row.uuid, {})))],
        "next": rows[-1].id if len(rows) == PAGE else None,
    }


def hosts() -> list[dict[str, Any]]:
    """{"host": what it says of itself, "metadata": what its aggregates say}, of each that is enabled."""
    metadata: dict[str, dict[str, list[str]]] = {}
    for aggregate in AggregateRow.select():
        for host in aggregate.hosts:
            for key, value in aggregate.metadata.items():
                metadata.setdefault(host, {}).setdefault(key, []).append(value)
    rows = HostRow.select().where(~HostRow.disabled, ~HostRow.forced_down).order_by(HostRow.id)
    readable = [row for row in rows if host_records.state_of(row) is not None]
    return [{"host": row.state, "metadata": metadata.get(row.host, {})} for row in readable]


def _asked(uuids: list[str]) -> dict[str, dict[str, Any]]:
    """server -> what its boot was told besides its row."""
    boots: Any = OperationRow.select(OperationRow.subject, OperationRow.data).where(
        OperationRow.kind == "boot", OperationRow.subject.in_(uuids)
    )
    return dict(boots.tuples())


def _server(row: InstanceRow, asked: dict[str, Any]) -> dict[str, Any] | None:
    """None for a server whose record cannot be read."""
    try:
        flavor, properties = flavors.of_server(row.flavor), (row.image or {}).get("properties", {})
        takes = taken_by(flavor, properties)
    except (msgspec.ValidationError, ValueError) as error:
        LOG.warning("server %s: its record cannot be read (%s): left out of what is recorded", row.uuid, error)
        return None
    hint = "".join(as_list((row.scheduler_hints or {}).get("group"))[:1])
    group = ServerGroupRow.one("uuid", hint) if hint else None
    found: dict[str, Any] = {
        "at": row.created_at,
        "boot": row.uuid,
        "vcpus": takes.vcpus,
        "memory_mb": takes.memory_mb,
        "disk_gb": takes.disk_gb,
        "extra_specs": flavor.extra_specs,
        "image": properties,
        "hints": row.scheduler_hints or {},
        "zone": row.requested_zone,
        "forced_host": row.forced_host,
        "wanted_host": row.wanted_host,
        "project_id": row.project_id,
    }
    if group is not None:
        found |= {"policy": group.policy, "most_per_host": int((group.rules or {}).get("max_server_per_host", 1))}
    batch = asked.get("batch", "")
    if batch:
        found["at_least"] = int(asked.get("at_least", 1))
    return {
        **{name: value for name, value in found.items() if value not in (None, {})},
        "gone_at": row.deleted_at,
        "batch": batch,
    }
