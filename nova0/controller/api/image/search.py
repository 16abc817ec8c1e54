"""The list of images: who sees which, filters in the field's many forms, order and pages."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from nova0.controller.api import errors, paging, turns
from nova0.controller.api import validation as v
from nova0.controller.api.image.views import length, view
from nova0.controller.api.request import Request
from nova0.controller.api.times import seconds_of
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow
from nova0.controller.numbers import whole

Test = Callable[[ImageRow], bool]
_FILTERS_MOST = 32
PAGE = 100  # images a page where no limit is asked for
PIECE = 100  # images read in one transaction: each may have many properties
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
    keys, tests = _order(request), _tests(request)
    rows: list[ImageRow] = []
    after: str | None = ""
    while after is not None:
        piece = request.store.read(partial(_visible, request, after))
        after = str(piece[-1].id) if len(piece) == PIECE else None
        rows += turns.those(lambda row: all(test(row) for test in tests), piece)
    rows = paging.ordered(rows, keys, getattr)
    rows = list(paging.after_marker(rows, request.query.get("marker"), lambda row: str(row.id)))
    shown, more = paging.cut_by_bytes(*paging.cut(rows, limit), length)
    pairs = [(key, value) for key in request.query if key != "marker" for value in request.query.all(key)]
    answer: dict[str, Any] = {
        "images": turns.each(view, shown),
        "schema": "/v2/schemas/images",
        "first": "/v2/images" + (f"?{urlencode(pairs)}" if pairs else ""),
    }
    if more and shown:
        answer["next"] = f"/v2/images?{urlencode([('marker', shown[-1].id), *pairs])}"
    return answer


def _visible(request: Request, after: str) -> list[ImageRow]:
    """Inside a store closure: what the caller sees when nothing but visibility is asked about, the first PIECE with
    ids after `after`."""
    query, context = request.query, request.context
    asked = query.get("visibility")
    if asked is not None and asked not in _VISIBILITIES:
        raise errors.bad_request(f"visibility: {asked} is none of {', '.join(_VISIBILITIES)}.")
    status = query.get("member_status") or "accepted"
    if status not in ("accepted", "pending", "rejected", "all"):
        raise errors.bad_request(f"member_status: {status} is none of accepted, pending, rejected, all.")
    table = ImageRow
    hidden = v.truth(query.get("os_hidden") or "false")
    selected = table.select().where(table.deleted_at.is_null(), table.hidden == hidden, table.id > after)
    selected = selected.order_by(table.id).limit(PIECE)
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


def _tests(request: Request) -> list[Test]:
    """One for each filter, read once. ApiError 400 naming the filter that can't be read."""
    query = request.query
    names = [name for name in query if name not in _CONTROLS]
    if len(names) > _FILTERS_MOST:
        raise errors.bad_request(f"{len(names)} filters; at most {_FILTERS_MOST} are taken.")
    found = [_one(name, query.get(name) or "") for name in names]
    tags = set(query.all("tag"))
    if tags:
        found.append(lambda row: tags <= set(row.tags))
    for name, compare in (("size_min", operator.ge), ("size_max", operator.le)):
        text = query.get(name)
        if text is not None:
            found.append(_size(name, text, compare))
    return found


def _size(name: str, text: str, compare: Callable[[float, float], bool]) -> Test:
    size = whole(text)
    if size is None:
        raise errors.bad_request(f"{name}: {text} is not a number of bytes.")
    return lambda row: row.size is not None and compare(row.size, size)


def _one(name: str, wanted: str) -> Test:
    if name in ("created_at", "updated_at"):
        return _time(name, wanted)
    if name == "protected":
        if wanted.lower() not in ("true", "false"):
            raise errors.bad_request(f"protected: {wanted} is neither true nor false.")
        return lambda row: row.protected is v.truth(wanted)
    if name in ("min_disk", "min_ram", "size"):
        return lambda row: str(getattr(row, name)) == wanted
    if name == "os_hash_algo":
        return lambda row: wanted == "sha512"
    if name in _LISTED and wanted.startswith("in:"):
        several = _listed(name, wanted[3:])
        return lambda row: getattr(row, name) in several
    if name in ("owner", "checksum", "os_hash_value", *_LISTED):
        column = {"os_hash_value": "sha512"}.get(name, name)
        return lambda row: getattr(row, column) == wanted
    return lambda row: row.properties.get(name) == wanted


def _listed(name: str, text: str) -> set[str]:
    try:
        return set(next(csv.reader([text]), []))
    except csv.Error as error:
        raise errors.bad_request(f"{name}: in:{text} is no list of values ({error}).") from None


def _time(name: str, wanted: str) -> Test:
    word, _, text = wanted.partition(":")
    if word not in _COMPARE:
        word, text = "eq", wanted
    try:
        moment = int(seconds_of(text.replace(" ", "+")))
    except ValueError:
        raise errors.bad_request(f"{name}: {wanted} is not [operator:]time, such as gt:2026-01-01T00:00:00Z.") from None
    return lambda row: _COMPARE[word](int(getattr(row, name)), moment)


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
        for part in text.split(",", paging.SORT_KEYS_MOST)[: paging.SORT_KEYS_MOST]:
            key, _, way = part.strip().partition(":")
            if key not in _SORTED or way not in ("", "asc", "desc"):
                raise errors.bad_request(f"sort: {part} is not an attribute with :asc or :desc.")
            found.append((key, way or "desc"))
    return [*found, ("id", found[0][1])]
