"""A flavor as a client sees it."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.compute.views.links import pair
from nova0.controller.api.request import Request
from nova0.controller.db.compute_tables import FlavorRow


def brief(request: Request, row: FlavorRow) -> dict[str, Any]:
    view: dict[str, Any] = {"id": row.flavor_id, "name": row.name, "links": pair(request, "flavors", row.flavor_id)}
    if request.at_least("2.55"):
        view["description"] = row.description
    return view


def full(request: Request, row: FlavorRow) -> dict[str, Any]:
    view = brief(request, row) | {
        "ram": row.memory_mb,
        "disk": row.root_gb,
        "vcpus": row.vcpus,
        "swap": row.swap_mb or (0 if request.at_least("2.75") else ""),
        "OS-FLV-DISABLED:disabled": row.disabled,
        "OS-FLV-EXT-DATA:ephemeral": row.ephemeral_gb,
        "os-flavor-access:is_public": row.is_public,
        "rxtx_factor": row.rxtx_factor,
    }
    if request.at_least("2.61"):
        view["extra_specs"] = row.extra_specs
    return view
