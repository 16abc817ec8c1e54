"""What projects used in a span of time, counted from servers' own launch and end times.

All functions run inside a transaction of the store. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nova0.controller.db.compute_tables import InstanceRow, PastInstanceRow

AT_ONCE = 500  # servers read in one transaction


@dataclass(frozen=True, kw_only=True)
class Span:
    """One server's part in it: `hours` of the span, and what is shown of the server."""

    uuid: str
    name: str
    project_id: str
    flavor: dict[str, Any]
    vm_state: str
    task_state: str | None
    launched_at: float
    terminated_at: float | None
    hours: float


_NAMES = ("uuid", "name", "project_id", "flavor", "vm_state", "task_state", "launched_at", "terminated_at")


def of_servers(start: float, stop: float, project_id: str | None, after: str = "", most: int = AT_ONCE) -> list[Span]:
    """The first `most` servers with uuids after `after` that ran at some time within [start, stop], by uuid;
    None: of all projects. Those whose rows have aged out are among them."""
    tables = (InstanceRow, PastInstanceRow)
    rows = [row for table in tables for row in _ran(table, start, stop, project_id, after, most)]
    found = []
    for row in sorted(rows, key=lambda row: str(row["uuid"]))[:most]:
        launched, terminated = row["launched_at"], row["terminated_at"]
        hours = max(0.0, min(terminated or stop, stop) - max(launched, start)) / 3600
        found.append(Span(**{"task_state": None, **row}, hours=hours))
    return found


def _ran(
    table: Any, start: float, stop: float, project_id: str | None, after: str, most: int
) -> Iterator[dict[str, Any]]:
    columns = [getattr(table, name) for name in _NAMES if hasattr(table, name)]
    query = table.select(*columns).where(
        table.uuid > after,
        table.launched_at.is_null(False),
        table.launched_at < stop,
        table.terminated_at.is_null() | (table.terminated_at > start),
    )
    if project_id is not None:
        query = query.where(table.project_id == project_id)
    return iter(query.order_by(table.uuid).limit(most).dicts())


def has(uuid: str) -> bool:
    """Whether there is or was such a server."""
    return any(table.one("uuid", uuid) is not None for table in (InstanceRow, PastInstanceRow))
