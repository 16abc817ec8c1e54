"""What was asked of a server, and the steps of each: os-instance-actions."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import times
from nova0.controller.api.compute.views.server import host_id
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances
from nova0.controller.compute.refusals import BadRequest, NotFound
from nova0.controller.db.compute_tables import ActionEventRow, ActionRow

PATH = "/servers/<server_id>/os-instance-actions"
_QUERY = {"2.1": {}, "2.58": {**paging.QUERY, "changes-since": v.TEXT},
          "2.66": {**paging.QUERY, "changes-since": v.TEXT, "changes-before": v.TEXT}}  # fmt: skip


@route("GET", PATH, needs="reader", query=_QUERY, query_strict="2.58")
def listed(request: Request, server_id: str) -> dict[str, Any]:
    """Newest first; of deleted servers too from 2.21. Without pages (below 2.58) as many as one page has."""
    paged = request.at_least("2.58")
    limit = paging.limit_of(request.query) if paged else paging.MAX_LIMIT

    def closure() -> list[ActionRow]:
        instances.get(server_id, request.context, deleted=request.at_least("2.21"))
        query = ActionRow.select().where(ActionRow.instance_uuid == server_id)
        for name, later in (("changes-since", True), ("changes-before", False)):
            if request.query.get(name):
                moment = _time(name, str(request.query.get(name)))
                changed = ActionRow.updated_at.is_null(False) & (
                    (ActionRow.updated_at >= moment) if later else (ActionRow.updated_at <= moment)
                )
                begun = ActionRow.updated_at.is_null() & (
                    (ActionRow.start_time >= moment) if later else (ActionRow.start_time <= moment)
                )
                query = query.where(changed | begun)
        marker = request.query.get("marker") if paged else None
        if marker:
            query = query.where(ActionRow.id < _marked(server_id, marker).id)
        return list(query.order_by(ActionRow.id.desc()).limit(limit + 1))

    page, more = paging.cut(request.store.read(closure), limit)
    answer: dict[str, Any] = {"instanceActions": [_action(request, row) for row in page]}
    if paged and more and page:
        href = paging.next_url(request, page[-1].request_id, limit)
        answer["links"] = [{"rel": "next", "href": href}]
    return answer


@route("GET", PATH + "/<request_id>", needs="reader")
def show(request: Request, server_id: str, request_id: str) -> dict[str, Any]:
    def closure() -> tuple[ActionRow, list[ActionEventRow], str]:
        server = instances.get(server_id, request.context, deleted=request.at_least("2.21"))
        row = _named(server_id, request_id)
        if row is None:
            raise NotFound(f"Action {request_id} not found")
        events = ActionEventRow.select().where(ActionEventRow.action_id == row.id).order_by(ActionEventRow.id.desc())
        return row, list(events), server.project_id

    row, events, project_id = request.store.read(closure)
    view = _action(request, row)
    # Shown to the server's owner at every version: openstackclient can't do without, and traces are not in it.
    view["events"] = [_event(request, event, project_id) for event in events]
    return {"instanceAction": view}


def _named(server_id: str, request_id: str) -> ActionRow | None:
    return ActionRow.get_or_none(ActionRow.instance_uuid == server_id, ActionRow.request_id == request_id)


def _marked(server_id: str, marker: str) -> ActionRow:
    row = _named(server_id, marker)
    if row is None:
        raise BadRequest(f"marker [{marker}] not found")
    return row


def _action(request: Request, row: ActionRow) -> dict[str, Any]:
    view = {
        "action": row.action,
        "instance_uuid": row.instance_uuid,
        "request_id": row.request_id,
        "user_id": row.user_id or "",
        "project_id": row.project_id or "",
        "start_time": times.micro(row.start_time),
        "message": row.message,
    }
    if request.at_least("2.58"):
        view["updated_at"] = times.micro(row.updated_at or row.start_time)
    return view


def _event(request: Request, row: ActionEventRow, project_id: str) -> dict[str, Any]:
    admin = request.context.is_admin
    view: dict[str, Any] = {
        "event": row.event,
        "start_time": times.micro(row.start_time),
        "finish_time": times.micro(row.finish_time),
        "result": row.result,
    }
    if admin:
        view["traceback"] = row.traceback
    if request.at_least("2.62"):
        view["hostId"] = host_id(project_id, row.host)
        if admin and row.host:
            view["host"] = row.host
    if request.at_least("2.84"):
        view["details"] = row.details
    return view


def _time(name: str, text: str) -> float:
    try:
        return times.parse(text)
    except ValueError:
        raise BadRequest(f"Invalid input for field/attribute {name}. Value: {text}. It is no ISO 8601 time.") from None
