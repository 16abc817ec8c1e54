"""The list of images: who sees which, filters in the field's many forms, order and pages."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from nova0.controller.api import errors, paging
from nova0.controller.api import validation as v
from nova0.controller.api.image.views import view
from nova0.controller.api.request import Request
from nova0.controller.api.times import seconds_of
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow

PAGE = 100  # images a page where no limit is asked for
_CONTROLS = ("limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status", "os_hidden", "tag",
             "size_min", "size_max")  # fmt: skip
_LISTED = ("id", "name", "status", "disk_format", "container_format")  # those that take in:a,b
_SORTED = ("id", "name", "status", "disk_format", "container_format", "size", "created_at", "updated_at",
           "min_disk", "min_ram", "owner", "visibility", "protected", "virtual_size")  # fmt: skip
_VISIBILITIES = ("public", "private", "shared", "community", "all")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
}


def page(request: Request) -> dict[str, Any]:
    """The answer to GET /images."""
    limit = paging.limit_of(request.query) if "limit" in request.query else PAGE
    keys = _order(request)
    rows = [row for row in request.store.read(lambda: _visible(request)) if _matches(request, row)]
    rows = paging.ordered(rows, keys, getattr)
    rows = list(paging.after_marker(rows, request.query.get("marker"), lambda row: str(row.id)))
    shown, more = paging.cut(rows, limit)
    pairs = [(key, value) for key in request.query if key != "marker" for value in request.query.all(key)]
    answer: dict[str, Any] = {
        "images": [view(row) for row in shown],
        "schema": "/v2/schemas/images",
        "first": "/v2/images" + (f"?{urlencode(pairs)}" if pairs else ""),
    }
    if more and shown:
        answer["next"] = f"/v2/images?{urlencode([('marker', shown[-1].id), *pairs])}"
    return answer


def _visible(request: Request) -> list[ImageRow]:
    """Inside a store closure: what the caller sees when nothing but visibility is asked about."""
    query, context = request.query, request.context
    asked = query.get("visibility")
    if asked is not None and asked not in _VISIBILITIES:
        raise errors.bad_request(f"visibility: {asked} is none of {', '.join(_VISIBILITIES)}.")
    status = query.get("member_status") or "accepted"
    if status not in ("accepted", "pending", "rejected", "all"):
        raise errors.bad_request(f"member_status: {status} is none of accepted, pending, rejected, all.")
    table = ImageRow
    hidden = v.truth(query.get("os_hidden") or "false")
    selected = table.select().where(table.deleted_at.is_null(), table.hidden == hidden)
    if asked not in (None, "all"):
        selected = selected.where(table.visibility == asked)
    if context.is_admin:
        return list(selected)
    member = ImageMemberRow.select(ImageMemberRow.image_id).where(ImageMemberRow.member_id == context.project_id)
    if status != "all":
        member = member.where(ImageMemberRow.status == status)
    seen = (table.owner == context.project_id) | (table.visibility == "public")
    seen = seen | ((table.visibility == "shared") & table.id.in_(member))
    if asked in ("community", "all"):
        seen = seen | (table.visibility == "community")
    return list(selected.where(seen))


def _matches(request: Request, row: ImageRow) -> bool:
    query = request.query
    for tag in query.all("tag"):
        if tag not in row.tags:
            return False
    for name, compare in (("size_min", operator.ge), ("size_max", operator.le)):
        text = query.get(name)
        if text is not None:
            if not text.isdigit():
                raise errors.bad_request(f"{name}: {text} is not a number of bytes.")
            if row.size is None or not compare(row.size, int(text)):
                return False
    return all(_one(row, name, query.get(name) or "") for name in query if name not in _CONTROLS)


def _one(row: ImageRow, name: str, wanted: str) -> bool:
    if name in ("created_at", "updated_at"):
        return _time(getattr(row, name), name, wanted)
    if name == "protected":
        if wanted.lower() not in ("true", "false"):
            raise errors.bad_request(f"protected: {wanted} is neither true nor false.")
        return row.protected is v.truth(wanted)
    if name in ("min_disk", "min_ram", "size"):
        return str(getattr(row, name)) == wanted
    if name in ("owner", "checksum", "os_hash_value", "os_hash_algo", *_LISTED):
        column = {"os_hash_value": "sha512"}.get(name, name)
        have = "sha512" if name == "os_hash_algo" else getattr(row, column)
        if name in _LISTED and wanted.startswith("in:"):
            return have in next(csv.reader([wanted[3:]]), [])
        return have == wanted
    return row.properties.get(name) == wanted


def _time(have: float, name: str, wanted: str) -> bool:
    word, _, text = wanted.partition(":")
    if word not in _COMPARE:
        word, text = "eq", wanted
    try:
        return _COMPARE[word](int(have), int(seconds_of(text.replace(" ", "+"))))
    except ValueError:
        raise errors.bad_request(f"{name}: {wanted} is not [operator:]time, such as gt:2026-01-01T00:00:00Z.") from None


def _order(request: Request) -> list[tuple[str, str]]:
    """sort=name:asc,size:desc or sort_key/sort_dir; newest first where neither is given."""
    text = request.query.get("sort")
    if text is None:
        found = paging.sort_keys(request.query, [("created_at", "desc")], _SORTED)
        if "sort_key" in request.query and "sort_dir" not in request.query:
            found = [(key, "desc") for key, _ in found]
    else:
        if "sort_key" in request.query or "sort_dir" in request.query:
            raise errors.bad_request("Old and new sorting syntax cannot be combined")
        found = []
        for part in text.split(","):
            key, _, way = part.strip().partition(":")
            if key not in _SORTED or way not in ("", "asc", "desc"):
                raise errors.bad_request(f"sort: {part} is not an attribute with :asc or :desc.")
            found.append((key, way or "desc"))
    return [*found, ("id", found[0][1])]
