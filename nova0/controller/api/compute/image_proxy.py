"""Images through compute, to 2.35 (their properties to 2.38): read only, for old clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.api import paging, turns
from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import times
from nova0.controller.api.compute.views.links import pair
from nova0.controller.api.image.views import length
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import boot_image
from nova0.controller.compute.refusals import BadRequest, NotBuilt, NotFound
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.numbers import whole

_FILTERS = ("name", "status", "server", "type", "changes-since", "minRam", "minDisk")
_QUERY: dict[str, Any] = paging.SORTED_QUERY | {name: v.TEXT for name in _FILTERS}
_STATUS = {"active": ("ACTIVE", 100), "queued": ("SAVING", 0), "saving": ("SAVING", 50), "importing": ("SAVING", 50),
           "uploading": ("SAVING", 50), "deleted": ("DELETED", 0), "killed": ("ERROR", 0)}  # fmt: skip


@route("GET", "/images", needs="reader", until="2.35", query=_QUERY)
def brief_list(request: Request) -> dict[str, Any]:
    return _list(request, _brief)


@route("GET", "/images/detail", needs="reader", until="2.35", query=_QUERY)
def full_list(request: Request) -> dict[str, Any]:
    return _list(request, _full)


@route("GET", "/images/<image_id>", needs="reader", until="2.35")
def show(request: Request, image_id: str) -> dict[str, Any]:
    return {"image": _full(request, _image(request, image_id))}


@route("GET", "/images/<image_id>/metadata", needs="reader", until="2.38")
def metadata(request: Request, image_id: str) -> dict[str, Any]:
    return {"metadata": _texts(_image(request, image_id))}


@route("GET", "/images/<image_id>/metadata/<key>", needs="reader", until="2.38")
def metadata_item(request: Request, image_id: str, key: str) -> dict[str, Any]:
    texts = _texts(_image(request, image_id))
    if key not in texts:
        raise NotFound("Metadata item was not found")
    return {"meta": {key: texts[key]}}


@route("DELETE", "/images/<image_id>", needs="member", until="2.35")
@route("POST", "/images/<image_id>/metadata", needs="member", until="2.38")
@route("PUT", "/images/<image_id>/metadata", needs="member", until="2.38")
@route("PUT", "/images/<image_id>/metadata/<key>", needs="member", until="2.38")
@route("DELETE", "/images/<image_id>/metadata/<key>", needs="member", until="2.38")
def change(request: Request, image_id: str, key: str = "") -> None:
    _image(request, image_id)
    raise NotBuilt("nova0 changes images through the image service only (/image/v2).")


def _image(request: Request, image_id: str) -> ImageRow:
    row = request.store.read(lambda: boot_image.find(image_id, request.context))
    if row is None:
        raise NotFound("Image not found.")
    return row


def _list(request: Request, view: Any) -> dict[str, Any]:
    query = request.query
    rows = request.store.read(lambda: boot_image.visible(request.context))
    for test in _tests(request):
        rows = turns.those(test, rows)
    keys = paging.sort_keys(query, [("created_at", "desc"), ("id", "desc")], ["created_at", "id", "name", "status"])
    rows = paging.ordered(rows, keys, getattr)
    limit = paging.limit_of(query)
    page, more = paging.cut(paging.after_marker(rows, query.get("marker"), lambda row: row.id), limit)
    page, more = paging.cut_by_bytes(page, more, length)
    last = page[-1].id if page else ""
    return {"images": turns.each(lambda row: view(request, row), page)} | paging.compute_links(
        request, "images", page, limit, more, last
    )


def _tests(request: Request) -> list[Callable[[ImageRow], bool]]:
    """One for each filter, read once. Raises BadRequest."""
    found = []
    for name in _FILTERS:
        text = request.query.get(name)
        if text:
            found.append(_test(name, text))
    return found


def _test(name: str, text: str) -> Callable[[ImageRow], bool]:
    if name == "name":
        return lambda row: row.name == text
    if name == "status":
        return lambda row: _status(row)[0] == text.upper()
    if name == "server":
        server = text.rsplit("/", 1)[-1]
        return lambda row: row.properties.get("instance_uuid") == server
    if name == "type":
        return lambda row: row.properties.get("image_type", "base") == text
    if name == "changes-since":
        moment = _time(text)
        return lambda row: row.updated_at >= moment
    number = whole(text)
    if number is None:
        raise BadRequest(f"Invalid {name} filter [{text}]")
    column = {"minRam": "min_ram", "minDisk": "min_disk"}[name]
    return lambda row: getattr(row, column) >= number


def _time(text: str) -> float:
    try:
        return times.parse(text)
    except ValueError:
        raise BadRequest(f"Invalid changes-since filter [{text}]") from None


def _status(row: ImageRow) -> tuple[str, int]:
    return _STATUS.get(row.status, ("UNKNOWN", 0))


def _texts(row: ImageRow) -> dict[str, str]:
    return {key: str(value) for key, value in row.properties.items() if value is not None}


def _brief(request: Request, row: ImageRow) -> dict[str, Any]:
    root = request.services.public_url.rstrip("/")
    alternate = {
        "rel": "alternate",
        "type": "application/vnd.openstack.image",
        "href": f"{root}/image/v2/images/{row.id}",
    }
    return {"id": row.id, "name": row.name, "links": [*pair(request, "images", row.id), alternate]}


def _full(request: Request, row: ImageRow) -> dict[str, Any]:
    status, progress = _status(row)
    view = _brief(request, row) | {
        "status": status,
        "progress": progress,
        "minRam": row.min_ram,
        "minDisk": row.min_disk,
        "created": times.seconds_z(row.created_at),
        "updated": times.seconds_z(row.updated_at),
        "metadata": _texts(row),
        "OS-EXT-IMG-SIZE:size": row.size or 0,
    }
    if row.properties.get("instance_uuid"):
        server = row.properties["instance_uuid"]
        view["server"] = {"id": server, "links": pair(request, "servers", server)}
    return view
