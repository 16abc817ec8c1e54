"""Servers: list, show, change, delete. Creating is `server_create.py`, actions are `server_actions.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from nova0.controller.api import paging, turns
from nova0.controller.api.compute import server_query
from nova0.controller.api.compute.schemas import server as schemas
from nova0.controller.api.compute.views import server as views
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances, moves, preconditions, server_filters
from nova0.controller.compute.create import canonical
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import InstanceRow

PIECE = 250  # servers read from the store and shown at once


@route("GET", "/servers", needs="reader", query=schemas.QUERY, query_strict="2.75")
def brief_list(request: Request) -> dict[str, Any]:
    """Id, name and links."""
    return _page(request, lambda rows: None, lambda row, known: views.brief(request, row))


@route("GET", "/servers/detail", needs="reader", query=schemas.QUERY, query_strict="2.75")
def full_list(request: Request) -> dict[str, Any]:
    """Everything."""
    return _page(request, lambda rows: views.gather(request, rows), lambda row, known: views.full(request, row, known))


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


def _page(
    request: Request, gather: Callable[[list[InstanceRow]], Any], view: Callable[[InstanceRow, Any], dict[str, Any]]
) -> dict[str, Any]:
    """Which servers, in one transaction; then the servers themselves, some at a time."""

    def chosen() -> tuple[server_filters.Asked, list[str], bool]:
        asked = server_query.read(request)
        return (server_filters.Asked(), [], False) if asked is None else (asked, *server_filters.select(asked))

    def read(uuids: list[str]) -> tuple[list[InstanceRow], Any]:
        rows = server_filters.rows(uuids, asked)
        return rows, gather(rows)

    asked, uuids, more = request.store.read(chosen)
    shown: list[dict[str, Any]] = []
    for start in range(0, len(uuids), PIECE):
        rows, known = request.store.read(partial(read, uuids[start : start + PIECE]))
        shown += turns.each(lambda row, known=known: view(row, known), rows)  # type: ignore[misc]
    limit = paging.limit_of(request.query)
    last = uuids[-1] if uuids else ""
    return {"servers": shown} | paging.compute_links(request, "servers", uuids, limit, more, last)
