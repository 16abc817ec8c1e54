"""Identity's version documents. A wrong self link here fails every client, so it comes from the public URL."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route


def document(request: Request) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{request.services.public_url.rstrip('/')}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


@route("GET", "/", needs="public", success=300)
def choices(request: Request) -> Answer:
    return Answer(
        {"versions": {"values": [document(request)]}},
        headers={"Location": f"{request.services.public_url.rstrip('/')}/identity/v3/"},
    )
