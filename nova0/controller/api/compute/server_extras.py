"""The smaller parts of a server. Where nova0 has nothing of the kind the list is truly empty; what would make one
says that it is not there yet."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances
from nova0.controller.compute.refusals import NotBuilt, NotFound


def _server(request: Request, server_id: str) -> None:
    request.store.read(lambda: instances.get(server_id, request.context))


@route("GET", "/servers/<server_id>/os-volume_attachments", needs="reader")
def volumes(request: Request, server_id: str) -> dict[str, Any]:
    _server(request, server_id)
    return {"volumeAttachments": []}


@route("GET", "/servers/<server_id>/os-volume_attachments/<volume_id>", needs="reader")
@route("PUT", "/servers/<server_id>/os-volume_attachments/<volume_id>", needs="member")
@route("DELETE", "/servers/<server_id>/os-volume_attachments/<volume_id>", needs="member")
def volume(request: Request, server_id: str, volume_id: str) -> None:
    _server(request, server_id)
    raise NotFound(f"volume_id not found: {volume_id}")


@route("POST", "/servers/<server_id>/os-volume_attachments", needs="member")
def attach_volume(request: Request, server_id: str) -> None:
    _server(request, server_id)
    raise NotBuilt("nova0 has no block storage yet: volumes can't be attached.")


@route("GET", "/servers/<server_id>/os-server-password", needs="reader")
def password(request: Request, server_id: str) -> dict[str, Any]:
    """No guest can leave one: the metadata service does not take it."""
    _server(request, server_id)
    return {"password": ""}


@route("DELETE", "/servers/<server_id>/os-server-password", needs="member", success=204)
def clear_password(request: Request, server_id: str) -> None:
    _server(request, server_id)


@route("GET", "/servers/<server_id>/topology", needs="reader", since="2.78")
def topology(request: Request, server_id: str) -> dict[str, Any]:
    """No server is given a NUMA topology."""
    _server(request, server_id)
    return {"nodes": [], "pagesize_kb": None}


@route("GET", "/servers/<server_id>/migrations", needs="manager", since="2.23")
def migrations(request: Request, server_id: str) -> dict[str, Any]:
    _server(request, server_id)
    return {"migrations": []}


@route("GET", "/servers/<server_id>/migrations/<migration_id>", needs="admin", since="2.23")
@route("DELETE", "/servers/<server_id>/migrations/<migration_id>", needs="manager", since="2.24")
@route("POST", "/servers/<server_id>/migrations/<migration_id>/action", needs="manager", since="2.22")
def migration(request: Request, server_id: str, migration_id: str) -> None:
    _server(request, server_id)
    raise NotFound(f"Migration {migration_id} for server {server_id} could not be found.")


@route("GET", "/servers/<server_id>/shares", needs="reader", since="2.97")
def shares(request: Request, server_id: str) -> dict[str, Any]:
    _server(request, server_id)
    return {"shares": []}


@route("GET", "/servers/<server_id>/shares/<share_id>", needs="reader", since="2.97")
@route("DELETE", "/servers/<server_id>/shares/<share_id>", needs="member", since="2.97")
def share(request: Request, server_id: str, share_id: str) -> None:
    _server(request, server_id)
    raise NotFound(f"Share {share_id} is not attached to server {server_id}.")


@route("POST", "/servers/<server_id>/shares", needs="member", since="2.97")
def attach_share(request: Request, server_id: str) -> None:
    _server(request, server_id)
    raise NotBuilt("nova0 does not attach shared file systems.")


@route("POST", "/servers/<server_id>/remote-consoles", needs="member", since="2.6")
def remote_console(request: Request, server_id: str) -> None:
    _server(request, server_id)
    raise NotBuilt("nova0 has no remote consoles yet; `openstack console log show` tells what the guest writes.")


@route("GET", "/servers/<server_id>/diagnostics", needs="admin")
def diagnostics(request: Request, server_id: str) -> None:
    _server(request, server_id)
    raise NotBuilt("nova0 does not read a guest's counters yet.")
