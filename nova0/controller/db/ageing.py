"""Rows of what was deleted leave the store after a time, in pieces so small that nobody waits for them.

Of a server its actions, events, faults and operations go first, its own row last; what a host that was away and a
report of usage need of it stays (PastInstanceRow). Of servers that are still there go finished operations and all
faults but the newest; what their users asked of them (actions) stays. Functions that take a cutoff (seconds since the
epoch) run inside a transaction of the store.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import peewee

from nova0.controller.db.base_table import DATABASE
from nova0.controller.db.compute_tables import (
    ActionEventRow,
    ActionRow,
    FaultRow,
    FlavorRow,
    InstanceRow,
    PastInstanceRow,
)
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import Store

ROWS = 500  # removed in one transaction
SERVERS = 100  # looked at in one transaction
LOOKED_AT = 2000  # rows of the history of living servers
IMAGES = 20
PAGES = 256  # given back to the file system in one transaction
_SHOWN = ("name", "vcpus", "memory_mb", "root_gb", "ephemeral_gb")  # of a flavor, in reports of usage
_UNFINISHED = ("ready", "running")


@dataclass
class Purge:
    """One run through the store: what it removed so far, and how far it is in the history of living servers."""

    cutoff: float
    removed: Counter[str] = field(default_factory=Counter)
    _windows: dict[str, int] = field(default_factory=dict)

    def run(self, store: Store, between: Any = lambda: None) -> Counter[str]:
        """Remove everything, piece by piece; `between` is called after each."""
        while store.write(self.piece):
            between()
        return self.removed

    def piece(self) -> bool:
        """In a transaction: remove some. False when nothing was left. What it counted is true also where the
        commit fails: it is for people to read."""
        return (
            self._servers()
            or self._images()
            or self._rows("flavors", FlavorRow, _aged(FlavorRow, self.cutoff).limit(ROWS))
            or self._window("faults", FaultRow, FaultRow.created_at < self.cutoff, _overtaken())
            or self._window("operations", OperationRow, OperationRow.created_at < self.cutoff, _ended(self.cutoff))
        )

    def _servers(self) -> bool:
        uuids = [uuid for (uuid,) in _servers(self.cutoff, InstanceRow.uuid).limit(SERVERS).tuples()]
        if not uuids:
            return False
        actions = ActionRow.select(ActionRow.id).where(ActionRow.instance_uuid.in_(uuids))
        for name, table, which in (
            ("events", ActionEventRow, ActionEventRow.action_id.in_(actions)),
            ("actions", ActionRow, ActionRow.instance_uuid.in_(uuids)),
            ("faults", FaultRow, FaultRow.instance_uuid.in_(uuids)),
            ("operations", OperationRow, OperationRow.subject.in_(uuids)),
        ):
            if self._rows(name, table, table.select(table.id).where(which).limit(ROWS)):
                return True
        for row in InstanceRow.select().where(InstanceRow.uuid.in_(uuids)):
            _remember(row)
        InstanceRow.delete().where(InstanceRow.uuid.in_(uuids)).execute()
        self.removed["servers"] += len(uuids)
        return True

    def _images(self) -> bool:
        ids = [row.id for row in _aged(ImageRow, self.cutoff).limit(IMAGES)]
        ImageMemberRow.delete().where(ImageMemberRow.image_id.in_(ids)).execute()
        ImageRow.delete().where(ImageRow.id.in_(ids)).execute()
        self.removed["images"] += len(ids)
        return bool(ids)

    def _rows(self, name: str, table: Any, ids: Any) -> bool:
        found = [row.id for row in ids]
        if found:
            table.delete().where(table.id.in_(found)).execute()
            self.removed[name] += len(found)
        return bool(found)

    def _window(self, name: str, table: Any, old: Any, which: Any) -> bool:
        """The next rows by id, which is by age: True while there are old ones among them."""
        after = self._windows.get(name, 0)
        looked_at = list(table.select(table.id).where(table.id > after, old).order_by(table.id).limit(LOOKED_AT))
        if not looked_at:
            return False
        last = self._windows[name] = looked_at[-1].id
        self._rows(name, table, table.select(table.id).where(table.id > after, table.id <= last, which))
        return True


def count(cutoff: float) -> dict[str, int]:
    """How many rows of each kind a purge would remove; nothing is changed."""
    uuids = _servers(cutoff, InstanceRow.uuid)
    actions = ActionRow.select(ActionRow.id).where(ActionRow.instance_uuid.in_(uuids))
    operations = OperationRow.select().where(OperationRow.subject.in_(uuids) | _ended(cutoff))
    faults = FaultRow.select().where(
        FaultRow.instance_uuid.in_(uuids) | ((FaultRow.created_at < cutoff) & _overtaken())
    )
    return {
        "servers": uuids.count(),
        "actions": actions.count(),
        "events": ActionEventRow.select().where(ActionEventRow.action_id.in_(actions)).count(),
        "faults": faults.count(),
        "operations": operations.count(),
        "images": _aged(ImageRow, cutoff).count(),
        "flavors": _aged(FlavorRow, cutoff).count(),
    }


def give_back(store: Store, between: Any = lambda: None) -> None:
    """Give the file's free pages back to the file system, piece by piece."""
    before = None
    while free := store.read(_free_pages):
        if before is not None and free >= before:
            return  # the file cannot shrink: an earlier version made it
        before = free
        store.write(lambda: DATABASE.execute_sql(f"PRAGMA incremental_vacuum({PAGES})").fetchall() and None)
        between()


def _free_pages() -> int:
    return int(DATABASE.execute_sql("PRAGMA freelist_count").fetchone()[0])


def _servers(cutoff: float, *columns: Any) -> Any:
    """Those deleted before, that no host still has to remove and nothing is at work on."""
    at_work = OperationRow.select(OperationRow.subject).where(OperationRow.state.in_(_UNFINISHED))
    return InstanceRow.select(*columns).where(
        InstanceRow.deleted_at < cutoff, InstanceRow.host.is_null(), InstanceRow.uuid.not_in(at_work)
    )


def _aged(table: Any, cutoff: float) -> Any:
    return table.select(table.id).where(table.deleted_at < cutoff)


def _overtaken() -> Any:
    """Faults that are not their server's newest: nobody is shown them."""
    newer: Any = FaultRow.alias()
    return peewee.fn.EXISTS(
        newer.select(newer.id).where(newer.instance_uuid == FaultRow.instance_uuid, newer.id > FaultRow.id)
    )


def _ended(cutoff: float) -> Any:
    return (OperationRow.finished_at < cutoff) & OperationRow.state.not_in(_UNFINISHED)


def _remember(row: InstanceRow) -> None:
    kept: dict[str, Any] = {name: getattr(row, name) for name in PastInstanceRow._meta.fields}  # type: ignore[attr-defined]
    kept["flavor"] = {name: row.flavor[name] for name in _SHOWN if name in row.flavor}
    kept["terminated_at"] = row.terminated_at or row.deleted_at
    PastInstanceRow.insert(**kept).on_conflict_replace().execute()
