"""Calls the field has taken away: 410 at every version, so that old programs learn it is no fault of theirs."""

from __future__ import annotations

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute.refusals import Gone

_REMOVED = {  # collection -> what took its place
    "os-agents": "nothing",
    "os-cells": "nothing: this cloud has one cell",
    "os-certificates": "nothing",
    "os-cloudpipe": "nothing",
    "os-fixed-ips": "the network service",
    "os-floating-ip-dns": "a DNS service",
    "os-floating-ips-bulk": "the network service",
    "os-fping": "nothing",
    "os-security-group-default-rules": "the network service",
}


def removed(request: Request, rest: str = "") -> None:
    """At every path of a removed collection."""
    collection = request.path.strip("/").split("/")[0]
    instead = _REMOVED.get(collection, "nothing")
    raise Gone(
        f"{collection} was removed from this API; in its place: {instead}. "
        "This resource is no longer available. No forwarding address is given."  # the words clients look for
    )


for _collection in _REMOVED:
    for _method in ("GET", "POST", "PUT", "DELETE"):
        route(_method, f"/{_collection}", needs="any")(removed)
        route(_method, f"/{_collection}/<rest:path>", needs="any")(removed)


@route("GET", "/servers/<server_id>/os-virtual-interfaces", needs="any", until="2.43")
def virtual_interfaces(request: Request, server_id: str) -> None:
    raise Gone("os-virtual-interfaces was removed from this API; see os-interface.")


@route("GET", "/servers/<server_id>/consoles", needs="any")
@route("POST", "/servers/<server_id>/consoles", needs="any")
@route("GET", "/servers/<server_id>/consoles/<console_id>", needs="any")
@route("DELETE", "/servers/<server_id>/consoles/<console_id>", needs="any")
def consoles(request: Request, server_id: str, console_id: str = "") -> None:
    raise Gone("Consoles of this form were removed from this API; see remote-consoles.")
