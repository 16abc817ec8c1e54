"""Flavors: sizes of servers. Everyone lists and shows; admins make, describe and delete."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import flavor as views
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import flavors
from nova0.controller.compute.refusals import BadRequest
from nova0.controller.db.compute_tables import FlavorRow
from nova0.controller.numbers import signed

_QUERY = paging.SORTED_QUERY | {"minRam": v.TEXT, "minDisk": v.TEXT, "is_public": v.TEXT}
_SORT = {
    "created_at": "created_at", "description": "description", "disabled": "disabled", "ephemeral_gb": "ephemeral_gb",
    "flavorid": "flavor_id", "id": "id", "is_public": "is_public", "memory_mb": "memory_mb", "name": "name",
    "root_gb": "root_gb", "rxtx_factor": "rxtx_factor", "swap": "swap_mb", "updated_at": "created_at",
    "vcpu_weight": "id", "vcpus": "vcpus",
}  # fmt: skip
_MOST = 0x7FFFFFFF


def _number(least: int) -> dict[str, Any]:
    return {"type": ["integer", "string"], "pattern": r"[0-9]+", "minimum": least, "maximum": _MOST, "maxLength": 10}


_FACTOR = {"type": ["number", "string"], "pattern": r"[0-9]+(\.[0-9]+)?", "exclusiveMinimum": 0, "maximum": 1e9,
           "maxLength": 20}  # fmt: skip
_NAME = {**v.NAME, "pattern": v.VISIBLE}
_ID = {"type": "string", "maxLength": 255, "pattern": r"([a-zA-Z0-9._-]([a-zA-Z0-9. _-]*[a-zA-Z0-9._-])?)?"}
_DESCRIPTION = {"type": ["string", "null"], "maxLength": 65535}
_FIELDS: dict[str, Any] = {
    "name": _NAME,
    "id": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 0, "maximum": _MOST}, _ID]},
    "ram": _number(1),
    "vcpus": _number(1),
    "disk": _number(0),
    "OS-FLV-EXT-DATA:ephemeral": _number(0),
    "swap": _number(0),
    "rxtx_factor": _FACTOR,
    "os-flavor-access:is_public": v.BOOLEAN,
}  # fmt: skip
_REQUIRED = ["name", "ram", "vcpus", "disk"]
_CREATE = {
    "2.1": v.wrapped("flavor", _FIELDS, _REQUIRED),
    "2.55": v.wrapped("flavor", _FIELDS | {"description": _DESCRIPTION}, _REQUIRED),
}


@route("GET", "/flavors", needs="any", query=_QUERY)
def brief_list(request: Request) -> dict[str, Any]:
    return _list(request, views.brief)


@route("GET", "/flavors/detail", needs="any", query=_QUERY)
def full_list(request: Request) -> dict[str, Any]:
    return _list(request, views.full)


@route("GET", "/flavors/<flavor_id>", needs="any")
def show(request: Request, flavor_id: str) -> dict[str, Any]:
    return {"flavor": views.full(request, request.store.read(lambda: flavors.get(flavor_id, request.context)))}


@route("POST", "/flavors", needs="admin", body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    wanted = request.body["flavor"]
    flavor_id = wanted.get("id")
    values = {
        "flavor_id": None if flavor_id is None else str(flavor_id),
        "name": wanted["name"].strip(),
        "vcpus": _int(wanted, "vcpus", 1),
        "memory_mb": _int(wanted, "ram", 1),
        "root_gb": _int(wanted, "disk"),
        "ephemeral_gb": _int(wanted, "OS-FLV-EXT-DATA:ephemeral"),
        "swap_mb": _int(wanted, "swap"),
        "rxtx_factor": float(wanted.get("rxtx_factor", 1.0)),
        "is_public": v.truth(wanted.get("os-flavor-access:is_public", True)),
        "description": wanted.get("description"),
    }

    return {"flavor": views.full(request, request.store.write(lambda: flavors.create(values)))}


@route("PUT", "/flavors/<flavor_id>", needs="admin", since="2.55",
       body=v.wrapped("flavor", {"description": _DESCRIPTION}, ["description"]))  # fmt: skip
def describe(request: Request, flavor_id: str) -> dict[str, Any]:
    def closure() -> FlavorRow:
        row = flavors.get(flavor_id, request.context)
        flavors.set_description(row, request.body["flavor"]["description"])
        return row

    return {"flavor": views.full(request, request.store.write(closure))}


@route("DELETE", "/flavors/<flavor_id>", needs="admin", success=202)
def delete(request: Request, flavor_id: str) -> None:
    request.store.write(lambda: flavors.delete(flavors.get(flavor_id, request.context)))


def _list(request: Request, view: Any) -> dict[str, Any]:
    query = request.query
    keys = paging.sort_keys(query, [("flavorid", "asc")], list(_SORT))
    limit = paging.limit_of(query)
    rows = request.store.read(
        lambda: flavors.listed(
            request.context,
            is_public=_is_public(query.get("is_public"), request.context.is_admin),
            min_disk_gb=_least(query.get("minDisk"), "minDisk"),
            min_ram_mb=_least(query.get("minRam"), "minRam"),
        )
    )
    rows = paging.ordered(rows, keys, lambda row, key: getattr(row, _SORT[key]))
    page, more = paging.cut(paging.after_marker(rows, query.get("marker"), lambda row: row.flavor_id), limit)
    last = page[-1].flavor_id if page else ""
    return {"flavors": [view(request, row) for row in page]} | paging.compute_links(
        request, "flavors", page, limit, more, last
    )


def _is_public(text: str | None, admin: bool) -> bool | None:
    """Only admins see private ones in lists; for them "None" means both."""
    if text is None or not admin:
        return True
    if text.lower() == "none":
        return None
    if text.lower() not in ("true", "false", "t", "f", "yes", "no", "on", "off", "1", "0"):
        raise BadRequest(f"Invalid is_public filter [{text}]")
    return v.truth(text) or text.lower() == "t"


def _least(text: str | None, name: str) -> int:
    if not text:
        return 0
    number = signed(text)
    if number is None:
        raise BadRequest(f"Invalid {name} filter [{text}]")
    return number


def _int(wanted: dict[str, Any], name: str, least: int = 0) -> int:
    value = int(wanted.get(name, 0))
    if not least <= value <= _MOST:
        raise BadRequest(f"Invalid input for field/attribute {name}. Value: {value}. It must be {least} to {_MOST}.")
    return value
