"""What this network service offers, and what it has none of: clients read the list before they ask for more."""

from __future__ import annotations

import uuid
from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.network import listing
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.api.times import iso_z
from nova0.controller.db.compute_tables import HostRow

# alias -> (name, description). Only what is true: nothing here that a route does not do.
_EXTENSIONS = {
    "agent": ("agent", "Where hosts carry networks."),
    "availability_zone": ("Availability Zone", "The availability zone extension."),
    "binding": ("Port Binding", "Where a port is bound."),
    "net-mtu": ("Network MTU", "Networks have an MTU."),
    "net-mtu-writable": ("Network MTU (writable)", "The MTU of a network can be set."),
    "pagination": ("Pagination support", "Lists in pages."),
    "port-security": ("Port Security", "Anti-spoofing that can be turned off for a port."),
    "project-id": ("project_id field enabled", "project_id beside tenant_id."),
    "provider": ("Provider Network", "The VXLAN number of a network, for admins."),
    "quotas": ("Quota management support", "Limits of each project."),
    "quota_details": ("Quota details management support", "Limits and what is used of them."),
    "security-group": ("security-group", "Security groups."),
    "sorting": ("Sorting support", "Lists sorted by attributes."),
    "standard-attr-description": ("standard-attr-description", "Descriptions."),
    "standard-attr-revisions": ("Resource revision numbers", "revision_number grows with each change."),
    "standard-attr-tag": ("Tag support for resources with standard attribute", "Tags."),
    "standard-attr-timestamp": ("Resource timestamps", "created_at and updated_at."),
}


def _view(alias: str) -> dict[str, Any]:
    name, description = _EXTENSIONS[alias]
    return {
        "alias": alias,
        "name": name,
        "description": description,
        "updated": "2016-01-01T00:00:00-00:00",
        "links": [],
    }


@route("GET", "/", needs="any")
def resources(request: Request) -> dict[str, Any]:
    kinds = ("network", "subnet", "port", "security-group", "security-group-rule", "quota", "extension", "agent")
    return {
        "resources": [
            {
                "name": kind.replace("-", "_"),
                "collection": f"{kind.replace('-', '_')}s",
                "links": [{"rel": "self", "href": f"{request.prefix}/{kind}s"}],
            }
            for kind in kinds
        ]
    }


@route("GET", "/extensions", needs="any")
def index(request: Request) -> dict[str, Any]:
    return {"extensions": [_view(alias) for alias in _EXTENSIONS]}


@route("GET", "/extensions/<alias>", needs="any")
def show(request: Request, alias: str) -> dict[str, Any]:
    if alias not in _EXTENSIONS:
        raise errors.ApiError(404, f"Extension with alias {alias} does not exist", kind="ExtensionNotFound")
    return {"extension": _view(alias)}


@route("GET", "/availability_zones", needs="any", query=listing.query("resource", "state"))
def zones(request: Request) -> dict[str, Any]:
    """One zone for networks: every host can carry every network."""
    return {"availability_zones": [{"name": "nova", "resource": "network", "state": "available"}]}


@route("GET", "/floatingips", needs="reader", query=listing.query("port_id", "floating_ip_address", "fixed_ip_address"))
def floating_ips(request: Request) -> dict[str, Any]:
    """There are none, and none can be made; clients ask for those of each server they show."""
    return {"floatingips": []}


@route("GET", "/routers", needs="reader", query=listing.query("external_gateway_info"))
def routers(request: Request) -> dict[str, Any]:
    """There are none: every network has its gateway on each host."""
    return {"routers": []}


@route("POST", "/floatingips", needs="member")
@route("POST", "/routers", needs="member")
def not_offered(request: Request) -> None:
    raise errors.ApiError(
        404,
        f"{request.path.strip('/')} are not offered by this cloud: guests reach out through their host, "
        "and are reached by their own address from a host.",
        kind="HTTPNotFound",
    )


_SPACE = uuid.UUID("3d0e5cb9-1f0e-4a3a-9f6b-6e6f76613001")


def _agents(request: Request) -> list[dict[str, Any]]:
    rows = {row.host: row for row in request.store.read(lambda: list(HostRow.select()))}
    lives = {life.host: life for life in request.services.hosts.all()}
    return [
        {
            "id": str(uuid.uuid5(_SPACE, host)),
            "agent_type": "nova0 network agent",
            "binary": "nova0-network",
            "host": host,
            "topic": "network",
            "alive": host in lives and lives[host].alive,
            "admin_state_up": True,
            "availability_zone": "nova",
            "configurations": {},
            "created_at": iso_z(rows[host].created_at) if host in rows else None,
            "started_at": None,
            "heartbeat_timestamp": iso_z(rows[host].updated_at) if host in rows else None,
            "description": lives[host].detail if host in lives else "",
            "resources_synced": None,
        }
        for host in sorted({*rows, *lives})
    ]


@route(
    "GET", "/agents", needs="admin", query=listing.query("host", "agent_type", "binary", "alive", "availability_zone")
)
def agents(request: Request) -> dict[str, Any]:
    return listing.page(request, "agents", _agents(request))


@route("GET", "/agents/<id>", needs="admin")
def agent(request: Request, id: str) -> dict[str, Any]:
    for found in _agents(request):
        if found["id"] == id:
            return {"agent": found}
    raise errors.not_found("Agent", id)
