"""Server groups: which servers should, or should not, share a host."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import server_groups
from nova0.controller.compute.refusals import BadRequest
from nova0.controller.compute.server_groups import POLICIES, SOFT_POLICIES
from nova0.controller.db.compute_tables import ServerGroupRow
from nova0.controller.numbers import whole

_NAME = {**v.NAME, "pattern": v.VISIBLE}
_ALL = [*POLICIES, *SOFT_POLICIES]


def _policies(allowed: list[str]) -> dict[str, Any]:
    several = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"enum": allowed}}
    return v.wrapped("server_group", {"name": _NAME, "policies": several}, ["name", "policies"])


_PER_HOST = {"type": ["integer", "string"], "pattern": r"0*[1-9][0-9]*", "maxLength": 9, "minimum": 1,
             "maximum": 999_999_999}  # fmt: skip
_RULES = v.obj({"max_server_per_host": _PER_HOST})
_CREATE = {
    "2.1": _policies(list(POLICIES)),
    "2.15": _policies(_ALL),
    "2.64": v.wrapped("server_group", {"name": _NAME, "policy": {"enum": _ALL}, "rules": _RULES}, ["name", "policy"]),
}
_QUERY = {"all_projects": v.TEXT, "limit": v.TEXT, "offset": v.TEXT}


@route("GET", "/os-server-groups", needs="reader", query=_QUERY, query_strict="2.75")
def listed(request: Request) -> dict[str, Any]:
    text = request.query.get("offset") or "0"
    offset = whole(text)
    if offset is None:
        raise BadRequest(f"Invalid input for field/attribute offset. Value: {text}. It must be 0 or more.")
    everyone = request.query.get("all_projects") is not None

    def closure() -> list[dict[str, Any]]:
        limit = paging.limit_of(request.query)
        rows = server_groups.listed(request.context, all_projects=everyone, offset=offset, limit=limit)
        return [_view(request, row) for row in rows]

    return {"server_groups": request.store.read(closure)}


@route("POST", "/os-server-groups", needs="member", body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    body = request.body["server_group"]
    request.project_id  # noqa: B018 - raises without one
    policy = body["policy"] if request.at_least("2.64") else body["policies"][0]
    rules = {name: int(value) for name, value in (body.get("rules") or {}).items()}
    if rules and policy != "anti-affinity":
        raise BadRequest("Only anti-affinity policy supports rules.")

    def closure() -> dict[str, Any]:
        return _view(request, server_groups.create(request.context, body["name"].strip(), policy, rules))

    return {"server_group": request.store.write(closure)}


@route("GET", "/os-server-groups/<group_id>", needs="reader")
def show(request: Request, group_id: str) -> dict[str, Any]:
    closure = lambda: _view(request, server_groups.get(group_id, request.context))  # noqa: E731
    return {"server_group": request.store.read(closure)}


@route("DELETE", "/os-server-groups/<group_id>", needs="member", success=204)
def delete(request: Request, group_id: str) -> None:
    request.store.write(lambda: server_groups.get(group_id, request.context).delete_instance())


def _view(request: Request, row: ServerGroupRow) -> dict[str, Any]:
    view: dict[str, Any] = {"id": row.uuid, "name": row.name, "members": server_groups.living(row.members)}
    if request.at_least("2.64"):
        view |= {"policy": row.policy, "rules": row.rules}
    else:
        view |= {"policies": [row.policy], "metadata": {}}
    if request.at_least("2.13"):
        view |= {"project_id": row.project_id, "user_id": row.user_id}
    return view
