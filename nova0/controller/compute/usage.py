"""What projects used in a span of time, counted from servers' own launch and end times.

All functions run inside a transaction of the store. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nova0.controller.db.compute_tables import InstanceRow

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


_COLUMNS = (
    InstanceRow.uuid,
    InstanceRow.name,
    InstanceRow.project_id,
    InstanceRow.flavor,
    InstanceRow.vm_state,
    InstanceRow.task_state,
    InstanceRow.launched_at,
    InstanceRow.terminated_at,
)


def of_servers(start: float, stop: float, project_id: str | None, after: str = "", most: int = AT_ONCE) -> list[Span]:
    """The first `most` servers with uuids after `after` that ran at some time within [start, stop], by uuid;
    None: of all projects."""
    query: Any = InstanceRow.select(*_COLUMNS).where(
        InstanceRow.uuid > after,
        InstanceRow.launched_at.is_null(False),
        InstanceRow.launched_at < stop,
        InstanceRow.terminated_at.is_null() | (InstanceRow.terminated_at > start),
    )
    if project_id is not None:
        query = query.where(InstanceRow.project_id == project_id)
    names = [column.name for column in _COLUMNS]
    found = []
    for row in query.order_by(InstanceRow.uuid).limit(most).tuples():
        launched, terminated = row[-2:]
        hours = max(0.0, min(terminated or stop, stop) - max(launched, start)) / 3600
        found.append(Span(**dict(zip(names, row, strict=True)), hours=hours))
    return found


def has(uuid: str) -> bool:
    """Whether there is or was such a server."""
    return InstanceRow.one("uuid", uuid) is not None
