"""Changes of an image as JSON patch, in the two forms the field has had."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.image import fields, views
from nova0.controller.api.image.limited import limited
from nova0.controller.api.keywords import shown
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.quota import images

_NEW = "application/openstack-images-v2.1-json-patch"
_OLD = "application/openstack-images-v2.0-json-patch"
_OPERATIONS = ("add", "replace", "remove")
_MOST = 256  # changes at once: twice the properties an image may have


@route("PATCH", "/images/<image_id>", needs="member", content_types=(_NEW, _OLD))
def update(request: Request, image_id: str) -> dict[str, Any]:
    changes = _changes(request.body, old=request.content_type == _OLD)

    def closure() -> dict[str, Any]:
        row = views.own(request, image_id)
        before = dict(row.properties)
        for operation, name, value in changes:
            _apply(request, row, operation, name, value)
        with limited():
            images.properties(row.owner or "", before, row.properties)
        row.updated_at = now()
        row.save()
        return views.view(row)

    return request.store.write(closure)


def _changes(body: Any, *, old: bool) -> list[tuple[str, str, Any]]:
    """[(operation, attribute, value)]. ApiError 400 naming the entry that is no change."""
    if not isinstance(body, list):
        raise errors.bad_request("Request body must be a JSON array of operation objects.")
    if len(body) > _MOST:
        raise errors.bad_request(f"Request body: {len(body)} operations; at most {_MOST} are done at once.")
    found = []
    for index, one in enumerate(body):
        if not isinstance(one, dict):
            raise errors.bad_request(f"Operations must be JSON objects; number {index} is not.")
        operation = next((name for name in _OPERATIONS if name in one), None) if old else one.get("op")
        if operation not in _OPERATIONS:
            raise errors.bad_request(
                f"Invalid operation: {shown(operation)}. It must be one of the following: add, remove, replace."
            )
        pointer = one.get(operation) if old else one.get("path")
        if operation != "remove" and "value" not in one:
            raise errors.bad_request(f'Operation "{operation}" requires a member named "value".')
        found.append((operation, _name(pointer), one.get("value")))
    return found


def _name(pointer: Any) -> str:
    if not isinstance(pointer, str) or not pointer.startswith("/") or pointer.endswith("/") or pointer == "/":
        raise errors.bad_request(f"Invalid JSON pointer for this resource: {shown(pointer)}: it must be /attribute.")
    if "/" in pointer[1:]:
        raise errors.bad_request(f"JSON pointer {shown(pointer)}: only whole attributes can be changed.")
    return pointer[1:].replace("~1", "/").replace("~0", "~")


def _apply(request: Request, row: ImageRow, operation: str, name: str, value: Any) -> None:
    own = name in row.properties
    if operation == "remove":
        if name in views.BASE:
            raise errors.forbidden(f"Attribute '{name}' is reserved: it can't be removed.")
        if not own:
            raise errors.conflict(f"Property {name} does not exist.")
        row.properties = {key: kept for key, kept in row.properties.items() if key != name}
        return
    if operation == "replace" and not own and name not in views.BASE:
        raise errors.conflict(f"Property {name} does not exist.")
    fields.set_field(request, row, name, value)
