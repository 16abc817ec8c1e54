"""Tags on networks, subnets, ports and security groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import listing
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.network_tables import NetworkRow, PortRow, SecurityGroupRow, SubnetRow

_TABLES: dict[str, tuple[Any, str]] = {
    "networks": (NetworkRow, "Network"),
    "subnets": (SubnetRow, "Subnet"),
    "ports": (PortRow, "Port"),
    "security-groups": (SecurityGroupRow, "Security group"),
}
_TAG = v.NAME
_TAGS = {"type": "array", "items": _TAG, "maxItems": 50, "uniqueItems": True}


def _row(request: Request, kind: str, id: str) -> Any:
    if kind not in _TABLES:
        raise errors.ApiError(404, "The resource could not be found.")
    return listing.get(request, *[_TABLES[kind][0], id, _TABLES[kind][1]])


def _change(request: Request, kind: str, id: str, change: Callable[[list[str]], list[str]]) -> list[str]:
    def closure() -> list[str]:
        row = _row(request, kind, id)
        tags = sorted(set(change(list(row.tags))))
        v.check(_TAGS, tags)
        row.tags, row.revision, row.updated_at = tags, row.revision + 1, now()
        row.save()
        return tags

    return request.store.write(closure)


@route("GET", "/<kind>/<id>/tags", needs="reader")
def index(request: Request, kind: str, id: str) -> dict[str, Any]:
    return {"tags": request.store.read(lambda: _row(request, kind, id).tags)}


@route("PUT", "/<kind>/<id>/tags", needs="member", body=v.obj({"tags": _TAGS}, ["tags"]))
def replace(request: Request, kind: str, id: str) -> dict[str, Any]:
    return {"tags": _change(request, kind, id, lambda _: request.body["tags"])}


@route("DELETE", "/<kind>/<id>/tags", needs="member", success=204)
def clear(request: Request, kind: str, id: str) -> None:
    _change(request, kind, id, lambda _: [])


@route("GET", "/<kind>/<id>/tags/<tag>", needs="reader", success=204)
def show(request: Request, kind: str, id: str, tag: str) -> None:
    if tag not in request.store.read(lambda: _row(request, kind, id).tags):
        raise errors.not_found("Tag", tag, "TagNotFound")


@route("PUT", "/<kind>/<id>/tags/<tag>", needs="member", success=201)
def add(request: Request, kind: str, id: str, tag: str) -> None:
    _change(request, kind, id, lambda tags: [*tags, tag])


@route("DELETE", "/<kind>/<id>/tags/<tag>", needs="member", success=204)
def remove(request: Request, kind: str, id: str, tag: str) -> None:
    def change(tags: list[str]) -> list[str]:
        if tag not in tags:
            raise errors.not_found("Tag", tag, "TagNotFound")
        return [one for one in tags if one != tag]

    _change(request, kind, id, change)
