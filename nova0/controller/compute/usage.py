"""What projects used in a span of time, counted from servers' own launch and end times.

All functions run inside a transaction of the store. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from nova0.controller.db.compute_tables import InstanceRow


@dataclass(frozen=True, kw_only=True)
class Span:
    """One server's part in it."""

    row: InstanceRow
    hours: float


def of_servers(start: float, stop: float, project_id: str | None) -> list[Span]:
    """Servers that ran at some time within [start, stop], by id; None: of all projects."""
    query = InstanceRow.select().where(
        InstanceRow.launched_at.is_null(False),
        InstanceRow.launched_at < stop,
        InstanceRow.terminated_at.is_null() | (InstanceRow.terminated_at > start),
    )
    if project_id is not None:
        query = query.where(InstanceRow.project_id == project_id)
    return [Span(row=row, hours=_hours(row, start, stop)) for row in query.order_by(InstanceRow.uuid)]


def _hours(row: InstanceRow, start: float, stop: float) -> float:
    end = min(row.terminated_at or stop, stop)
    return max(0.0, end - max(row.launched_at or stop, start)) / 3600
