"""Image's version documents: 300 at the root, 200 at /versions."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route

# What is offered: everything of 2.9 but import, stores and locations, which clients ask for by route.
NAMES = ("v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0")


@route("GET", "/", needs="public", success=300)
@route("GET", "/versions", needs="public", success=200)
def every_version(request: Request) -> dict[str, Any]:
    link = f"{request.services.public_url.rstrip('/')}/image/v2/"
    return {
        "versions": [
            {
                "id": name,
                "status": "CURRENT" if name == NAMES[0] else "SUPPORTED",
                "links": [{"rel": "self", "href": link}],
            }
            for name in NAMES
        ]
    }
