"""Tags of a server (from 2.26): short words to find it by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from nova0.controller.api import validation as v
from nova0.controller.api.compute.schemas.server import TAG, TAGS
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances
from nova0.controller.compute.refusals import BadRequest, NotFound
from nova0.controller.db.base_table import now

PATH = "/servers/<server_id>/tags"
MOST = 50


@route("GET", PATH, needs="reader", since="2.26")
def listed(request: Request, server_id: str) -> dict[str, Any]:
    return {"tags": request.store.read(lambda: instances.get(server_id, request.context)).tags}


@route("PUT", PATH, needs="member", since="2.26", body=v.obj({"tags": TAGS}, ["tags"]))
def replace(request: Request, server_id: str) -> dict[str, Any]:
    return {"tags": _change(request, server_id, lambda had: set(request.body["tags"]))}


@route("DELETE", PATH, needs="member", since="2.26", success=204)
def clear(request: Request, server_id: str) -> None:
    _change(request, server_id, lambda had: set())


@route("GET", PATH + "/<tag>", needs="reader", since="2.26", success=204)
def has(request: Request, server_id: str, tag: str) -> None:
    if tag not in request.store.read(lambda: instances.get(server_id, request.context)).tags:
        raise NotFound(f"Server {server_id} has no tag '{tag}'")


@route("PUT", PATH + "/<tag>", needs="member", since="2.26", success=204)
def add(request: Request, server_id: str, tag: str) -> Answer:
    """201 when it is new, 204 when it was there."""
    v.check(TAG, tag)
    new: list[bool] = []

    def with_it(had: set[str]) -> set[str]:
        new.append(tag not in had)
        return had | {tag}

    _change(request, server_id, with_it)
    href = f"{request.prefix}/servers/{server_id}/tags/{quote(tag)}"
    return Answer(status=201 if new[-1] else 204, headers={"Location": href})


@route("DELETE", PATH + "/<tag>", needs="member", since="2.26", success=204)
def remove(request: Request, server_id: str, tag: str) -> None:
    def without(had: set[str]) -> set[str]:
        if tag not in had:
            raise NotFound(f"Server {server_id} has no tag '{tag}'")
        return had - {tag}

    _change(request, server_id, without)


def _change(request: Request, server_id: str, change: Callable[[set[str]], set[str]]) -> list[str]:
    def closure() -> list[str]:
        row = instances.get(server_id, request.context)
        tags = change(set(row.tags))
        if len(tags) > MOST:
            raise BadRequest(f"The number of tags exceeded the per-server limit {MOST}")
        row.tags, row.updated_at = sorted(tags), now()
        row.save(only=["tags", "updated_at"])
        return row.tags

    return request.store.write(closure)
