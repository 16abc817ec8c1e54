"""The service catalog, derived from the public address: nothing to configure, nothing to get wrong."""

from __future__ import annotations

import uuid
from typing import Any

# (type, name, path under the public address)
SERVICES = (
    ("identity", "keystone", "/identity"),
    ("compute", "nova", "/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
)
INTERFACES = ("public", "internal", "admin")
_SPACE = uuid.UUID("6ff6ac4c-9b7a-4d77-9d2c-6f6a6e6f7661")


def _id(*parts: str) -> str:
    """Ids that stay the same over restarts without being stored."""
    return uuid.uuid5(_SPACE, "/".join(parts)).hex


def services() -> list[dict[str, Any]]:
    return [
        {"id": _id(kind), "type": kind, "name": name, "enabled": True, "description": f"{kind.capitalize()} of nova0"}
        for kind, name, _ in SERVICES
    ]


def endpoints(public_url: str, region: str) -> list[dict[str, Any]]:
    return [
        {
            "id": _id(kind, interface),
            "service_id": _id(kind),
            "interface": interface,
            "region": region,
            "region_id": region,
            "url": public_url.rstrip("/") + path,
            "enabled": True,
        }
        for kind, _, path in SERVICES
        for interface in INTERFACES
    ]


def catalog(public_url: str, region: str) -> list[dict[str, Any]]:
    """The `catalog` of a token."""
    shown = ("id", "interface", "region", "region_id", "url")
    every = endpoints(public_url, region)
    return [
        {
            "id": service["id"],
            "type": service["type"],
            "name": service["name"],
            "endpoints": [{key: one[key] for key in shown} for one in every if one["service_id"] == service["id"]],
        }
        for service in services()
    ]
