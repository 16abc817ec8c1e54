"""Tags of an image one by one, and its deactivation: kept, but not given out."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.image import fields, views
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now


@route("PUT", "/images/<image_id>/tags/<tag>", needs="member", success=204)
def add_tag(request: Request, image_id: str, tag: str) -> None:
    def closure() -> None:
        row = views.own(request, image_id)
        fields.set_field(request, row, "tags", [*row.tags, tag])
        row.updated_at = now()
        row.save()

    request.store.write(closure)


@route("DELETE", "/images/<image_id>/tags/<tag>", needs="member", success=204)
def remove_tag(request: Request, image_id: str, tag: str) -> None:
    def closure() -> None:
        row = views.own(request, image_id)
        if tag not in row.tags:
            raise errors.ApiError(404, f"Tag {tag} is not on image {image_id}.")
        row.tags, row.updated_at = [one for one in row.tags if one != tag], now()
        row.save()

    request.store.write(closure)


def _turn(request: Request, image_id: str, before: str, after: str) -> None:
    def closure() -> None:
        row = views.own(request, image_id)
        if row.status not in (before, after):
            raise errors.forbidden(f"Image status transition from {row.status} to {after} is not allowed")
        row.status, row.updated_at = after, now()
        row.save()

    request.store.write(closure)


@route("POST", "/images/<image_id>/actions/deactivate", needs="member", success=204, raw=True)
def deactivate(request: Request, image_id: str) -> None:
    _turn(request, image_id, "active", "deactivated")


@route("POST", "/images/<image_id>/actions/reactivate", needs="member", success=204, raw=True)
def reactivate(request: Request, image_id: str) -> None:
    _turn(request, image_id, "deactivated", "active")


@route("GET", "/info/import", needs="any")
def import_methods(request: Request) -> dict[str, Any]:
    """None: bytes come by PUT file."""
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": []}}
