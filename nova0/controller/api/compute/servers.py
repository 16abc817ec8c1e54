"""Servers: list, show, change, delete. Creating is `server_create.py`, actions are `server_actions.py`."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import paging
from nova0.controller.api.compute import server_query
from nova0.controller.api.compute.schemas import server as schemas
from nova0.controller.api.compute.views import server as views
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances, moves, preconditions, server_filters
from nova0.controller.compute.create import canonical
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import InstanceRow


@route("GET", "/servers", needs="reader", query=schemas.QUERY, query_strict="2.75")
def brief_list(request: Request) -> dict[str, Any]:
    """Id, name and links."""

    def closure() -> tuple[list[InstanceRow], bool] | None:
        asked = server_query.read(request)
        return None if asked is None else server_filters.select(asked)

    rows, more = request.store.read(closure) or ([], False)
    return _page(request, rows, more, [views.brief(request, row) for row in rows])


@route("GET", "/servers/detail", needs="reader", query=schemas.QUERY, query_strict="2.75")
def full_list(request: Request) -> dict[str, Any]:
    """Everything."""

    def closure() -> tuple[list[InstanceRow], bool, views.Gathered]:
        asked = server_query.read(request)
        rows, more = ([], False) if asked is None else server_filters.select(asked)
        return rows, more, views.gather(request, rows)

    rows, more, known = request.store.read(closure)
    return _page(request, rows, more, [views.full(request, row, known) for row in rows])


@route("GET", "/servers/<server_id>", needs="reader")
def show(request: Request, server_id: str) -> dict[str, Any]:
    def closure() -> tuple[InstanceRow, views.Gathered]:
        row = instances.get(server_id, request.context)
        return row, views.gather(request, [row], one=True)

    row, known = request.store.read(closure)
    return {"server": views.full(request, row, known, one=True)}


@route("PUT", "/servers/<server_id>", needs="member", body=schemas.UPDATE)
def update(request: Request, server_id: str) -> dict[str, Any]:
    """Name, description, access addresses, disk config, host name."""
    wanted = request.body["server"]
    changes: dict[str, Any] = {}
    if "name" in wanted:
        changes["name"] = wanted["name"].strip()
    if "description" in wanted:
        changes["description"] = wanted["description"]
    if "accessIPv4" in wanted:
        changes["access_ip_v4"] = canonical(wanted["accessIPv4"])
    if "accessIPv6" in wanted:
        changes["access_ip_v6"] = canonical(wanted["accessIPv6"])
    if "OS-DCF:diskConfig" in wanted:
        changes["disk_config"] = wanted["OS-DCF:diskConfig"]
    if "hostname" in wanted:
        changes["hostname"] = wanted["hostname"]

    def closure() -> tuple[InstanceRow, views.Gathered]:
        row = instances.get(server_id, request.context)
        preconditions.check("update", row, request.context)
        for name, value in changes.items():
            setattr(row, name, value)
        if changes:
            row.updated_at = now()
            row.save(only=[*changes, "updated_at"])
        return row, views.gather(request, [row], one=True)

    row, known = request.store.write(closure)
    if {"name", "hostname"} & set(changes):
        request.services.guests.describe_anew(row.uuid)
    return {"server": views.updated(request, row, known)}


@route("DELETE", "/servers/<server_id>", needs="member", success=204)
def delete(request: Request, server_id: str) -> None:
    request.store.write(lambda: moves.delete(server_id, request.context))


def _page(request: Request, rows: list[InstanceRow], more: bool, shown: list[dict[str, Any]]) -> dict[str, Any]:
    limit = paging.limit_of(request.query)
    last = rows[-1].uuid if rows else ""
    return {"servers": shown} | paging.compute_links(request, "servers", rows, limit, more, last)
