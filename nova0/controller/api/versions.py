"""The version documents clients read first: compute's at / and at its own root. No token is asked for."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.microversion import MAXIMUM, MINIMUM
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route

_MEDIA = "application/vnd.openstack.compute+json;version="
_UPDATED = {"v2.0": "2011-01-21T11:33:21Z", "v2.1": "2013-07-23T11:33:21Z"}


def _document(base: str, name: str, *, in_list: bool) -> dict[str, Any]:
    current = name == "v2.1"
    folder = "v2" if name == "v2.0" else name
    links = [{"rel": "self", "href": f"{base}/{folder}/"}]
    if not in_list:
        links.append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    document: dict[str, Any] = {
        "id": name,
        "status": "CURRENT" if current else "SUPPORTED",
        "version": str(MAXIMUM) if current else "",
        "min_version": str(MINIMUM) if current else "",
        "updated": _UPDATED[name],
        "links": links,
    }
    if not in_list:
        document["media-types"] = [{"base": "application/json", "type": _MEDIA + name.removeprefix("v")}]
    return document


@route("GET", "/", needs="public")
def every_version(request: Request) -> dict[str, Any]:
    """`/` itself: mounted apart (application.py), where the prefix is the bare address."""
    base = request.services.public_url.rstrip("/")
    return {"versions": [_document(base, name, in_list=True) for name in ("v2.0", "v2.1")]}


def one_version(name: str) -> Any:
    """The route for a compute root: its own document."""

    @route("GET", "/", needs="public")
    def show(request: Request) -> dict[str, Any]:
        return {"version": _document(request.services.public_url.rstrip("/"), name, in_list=False)}

    return show
