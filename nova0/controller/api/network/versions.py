"""Network's version documents: the list at its root."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route


@route("GET", "/", needs="public")
def every_version(request: Request) -> dict[str, Any]:
    href = f"{request.services.public_url.rstrip('/')}/network/v2.0/"
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]}
