"""The time by which rows age. It never runs ahead of the machine's clock, and follows it at no more than four times
the pace at which time passes for this process: a clock that is a year ahead for a day ages nothing by more than four.

Time in which no controller ran is made up for at the same pace.
"""

from __future__ import annotations

import time

import peewee

from nova0.controller.db.base_table import now
from nova0.controller.db.operation_tables import FactRow, OperationRow

PACE = 4.0
_NAME = "ageing_clock"


class SlowClock:
    """One for each controller process; what it shows is kept in the store."""

    def __init__(self) -> None:
        self._asked_at = time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """In a transaction: seconds since the epoch, as far as believed."""
        asked_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        passed, self._asked_at = asked_at - self._asked_at, asked_at
        believed = min(now(), shown() + PACE * passed)
        FactRow.insert(name=_NAME, value=believed).on_conflict_replace().execute()
        return believed


def shown() -> float:
    """In a transaction: what the clock showed last. Before it was ever asked, the last that was asked of the store."""
    row = FactRow.get_or_none(FactRow.name == _NAME)
    if row is not None and isinstance(row.value, int | float):
        return float(row.value)
    last = OperationRow.select(peewee.fn.MAX(OperationRow.created_at)).scalar()
    return min(now(), float(last)) if last is not None else now()
