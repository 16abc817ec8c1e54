"""Asking something of a server that exists: state checked and changed, and the work recorded, in one transaction.

All functions run inside a transaction of `Store.write`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nova0.controller.compute import instances, preconditions
from nova0.controller.compute.refusals import Forbidden
from nova0.controller.conductor import journal
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import InstanceRow
from nova0.objects.states import TaskState, VmState

STOP_PATIENCE_S = 60  # how long a guest may take to shut down before its power is cut


@dataclass(frozen=True, kw_only=True)
class Move:
    """`rule` is a key of preconditions.RULES, `kind` an operation of the conductor."""

    rule: str
    kind: str
    task: TaskState
    data: dict[str, Any] = field(default_factory=dict)


START = Move(rule="start", kind="start", task=TaskState.POWERING_ON)
STOP = Move(rule="stop", kind="stop", task=TaskState.POWERING_OFF, data={"patience_s": STOP_PATIENCE_S})
SOFT_REBOOT = Move(rule="reboot", kind="reboot", task=TaskState.REBOOTING, data={"hard": False})
HARD_REBOOT = Move(rule="hard reboot", kind="reboot", task=TaskState.REBOOTING_HARD, data={"hard": True})
PAUSE = Move(rule="pause", kind="pause", task=TaskState.PAUSING)
UNPAUSE = Move(rule="unpause", kind="unpause", task=TaskState.UNPAUSING)


def begin(move: Move, uuid: str, context: RequestContext) -> None:
    """Raises NotFound, Conflict."""
    row = instances.get(uuid, context)
    preconditions.check(move.rule, row, context)
    _touch(row, task_state=move.task)
    journal.begin(move.kind, uuid, context, dict(move.data))


def delete(uuid: str, context: RequestContext) -> None:
    """In any state. A second delete while the first is under way changes nothing."""
    row = instances.get(uuid, context)
    preconditions.check("delete", row, context)
    if row.task_state == TaskState.DELETING and row.vm_state != VmState.ERROR:
        return
    _touch(row, task_state=TaskState.DELETING)
    journal.begin("delete", uuid, context, {})


def lock(uuid: str, context: RequestContext, reason: str | None) -> None:
    """A locked server's owner may ask again: nothing changes. An admin's lock replaces the owner's."""
    row = instances.get(uuid, context)
    owner = context.project_id == row.project_id
    if row.locked_by and owner:
        return
    _touch(row, locked_by="owner" if owner else "admin", locked_reason=reason)
    journal.record_action("lock", uuid, context, finished=True)


def unlock(uuid: str, context: RequestContext) -> None:
    """An admin's lock only an admin opens."""
    row = instances.get(uuid, context)
    if row.locked_by == "admin" and not context.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.")
    _touch(row, locked_by=None, locked_reason=None)
    journal.record_action("unlock", uuid, context, finished=True)


def reset_state(uuid: str, context: RequestContext, vm_state: VmState) -> None:
    """An admin's word for where a server rests."""
    row = instances.get(uuid, context)
    _touch(row, vm_state=vm_state, task_state=None)
    journal.record_action("resetState", uuid, context, finished=True)


def set_metadata(uuid: str, context: RequestContext, metadata: dict[str, str]) -> None:
    row = instances.get(uuid, context)
    preconditions.check("update_metadata", row, context)
    _touch(row, metadata=metadata)


def _touch(row: InstanceRow, **columns: Any) -> None:
    InstanceRow.update(updated_at=now(), **columns).where(InstanceRow.uuid == row.uuid).execute()
