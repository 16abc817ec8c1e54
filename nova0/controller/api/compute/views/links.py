"""The self and bookmark links every item carries."""

from __future__ import annotations

from nova0.controller.api.request import Request


def bookmark(request: Request, collection: str, name: str) -> dict[str, str]:
    root = request.services.public_url.rstrip("/")
    return {"rel": "bookmark", "href": f"{root}/{collection}/{name}"}


def pair(request: Request, collection: str, name: str) -> list[dict[str, str]]:
    return [{"rel": "self", "href": f"{request.prefix}/{collection}/{name}"}, bookmark(request, collection, name)]
