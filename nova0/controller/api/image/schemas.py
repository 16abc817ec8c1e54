"""The schemas of this API, as clients read them."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.image import fields, views
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route

_TEXT = {"type": ["null", "string"]}
_TYPES: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
    "status": {"type": "string", "enum": ["queued", "active", "deactivated", "deleted"], "readOnly": True},
    "size": {"type": ["null", "integer"], "readOnly": True},
    "virtual_size": {"type": ["null", "integer"], "readOnly": True},
}


def _image() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in sorted(views.BASE - {"locations", "direct_url", "stores"}):
        shown = fields.CHECKS.get(name) or _TYPES.get(name) or _TEXT
        properties[name] = shown | ({"readOnly": True} if name in views.READ_ONLY and name != "id" else {})
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


_MEMBER = {
    "name": "member",
    "properties": {
        "image_id": {"type": "string"},
        "member_id": {"type": "string"},
        "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
        "created_at": {"type": "string"},
        "updated_at": {"type": "string"},
        "schema": {"type": "string", "readOnly": True},
    },
}


@route("GET", "/schemas/image", needs="any")
def image(request: Request) -> dict[str, Any]:
    return _image()


@route("GET", "/schemas/images", needs="any")
def images(request: Request) -> dict[str, Any]:
    return {
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": _image()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}],
    }


@route("GET", "/schemas/member", needs="any")
def member(request: Request) -> dict[str, Any]:
    return _MEMBER


@route("GET", "/schemas/members", needs="any")
def members(request: Request) -> dict[str, Any]:
    return {
        "name": "members",
        "properties": {"members": {"type": "array", "items": _MEMBER}, "schema": {"type": "string"}},
    }
