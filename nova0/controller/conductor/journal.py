"""Putting an operation into the books: called inside the API's own transaction, so that a request is
either recorded with its work or not at all. Running it is `engine.py`'s."""

from __future__ import annotations

from typing import Any

from nova0 import trace
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import ActionEventRow, ActionRow
from nova0.controller.db.operation_tables import OperationRow

ACTIONS = {  # operation kind -> name in os-instance-actions
    "boot": "create",
    "delete": "delete",
    "start": "start",
    "stop": "stop",
    "reboot": "reboot",
    "pause": "pause",
    "unpause": "unpause",
}


KEPT_ALIKE = 100  # of what costs its user nothing, as lock: the newest of a server


class _Begun:
    """How many operations this process recorded: the engine looks at the books when it grew."""

    count = 0


def begun() -> int:
    return _Begun.count


def begin(kind: str, instance_uuid: str, context: RequestContext, data: dict[str, Any] | None = None) -> OperationRow:
    """Record an operation of `kind` on a server and its action row. In a transaction of `Store.write`;
    the conductor hears of it at the commit."""
    _Begun.count += 1
    action = record_action(ACTIONS[kind], instance_uuid, context)
    return OperationRow.create(
        kind=kind,
        subject=instance_uuid,
        request_id=context.request_id,
        user_id=context.user_id,
        project_id=context.project_id,
        data={
            **(data or {}),
            "action_id": action.id,
            **({trace.KEY: context.traceparent} if context.traceparent else {}),
        },
    )


def about(row: OperationRow) -> dict[str, Any]:
    """Whose work an operation is, for its log lines and the calls it makes."""
    ids = {"request_id": row.request_id, "project_id": row.project_id, "user_id": row.user_id}
    return {**ids, **trace.carried(row.data)}


def record_action(name: str, instance_uuid: str, context: RequestContext, *, finished: bool = False) -> ActionRow:
    """Record an action row alone (lock and others that are done when answered, the newest of which are kept)."""
    if finished:
        alike = (ActionRow.instance_uuid == instance_uuid) & (ActionRow.action == name)
        done = ActionRow.select(ActionRow.id).where(alike, ActionRow.finish_time.is_null(False))
        older = done.order_by(ActionRow.id.desc()).offset(KEPT_ALIKE - 1).limit(KEPT_ALIKE)
        ActionRow.delete().where(ActionRow.id.in_(older)).execute()
    return ActionRow.create(
        instance_uuid=instance_uuid,
        action=name,
        request_id=context.request_id,
        user_id=context.user_id,
        project_id=context.project_id,
        finish_time=now() if finished else None,
        updated_at=now() if finished else None,
    )


def event_started(action_id: int, event: str, host: str | None = None) -> None:
    """A step of the action begins: shown by `openstack server event show`."""
    ActionEventRow.create(action_id=action_id, event=event, host=host)


def event_finished(action_id: int, event: str, error: str | None = None, since: float = 0.0) -> None:
    """The event of that name that is under way ends, well or with an error text; an operation's first one
    is written here only, begun at `since`."""
    end = {"finish_time": now(), "result": "Error" if error else "Success", "details": error}
    under_way = {"action_id": action_id, "event": event, "finish_time": None}
    if not ActionEventRow.change(under_way, **end):
        ActionEventRow.create(action_id=action_id, event=event, start_time=since or now(), **end)


def action_finished(action_id: int, error: str | None = None) -> None:
    """The action ends; a failed one shows the field's message "Error"."""
    moment = now()
    message = "Error" if error else None
    ActionRow.change({"id": action_id}, finish_time=moment, updated_at=moment, message=message)
