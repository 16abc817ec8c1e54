"""Who is on the mesh, what can be asked of them, and what they have counted."""

from __future__ import annotations

from typing import Any

import msgspec

from nova0.controller.api.errors import ApiError
from nova0.controller.api.mesh.calls import AGENT, mesh_of, raised
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.metrics import CONTENT_TYPE, Family, render
from nova0.native import offload

_OF_AGENT = {"agent": AGENT}


@route("GET", "/agents", needs="admin")
def members(request: Request) -> dict[str, Any]:
    """Every node as this controller sees it: node, host, roles, topics, address, version, status, load ..."""
    return {"agents": mesh_of(request).members()}


@route("GET", "/surfaces", needs="admin", query=_OF_AGENT, query_strict="2.1")
def surfaces(request: Request) -> dict[str, Any]:
    """Methods with types, units, patience and callers: of one agent, or of every topic there is, told once."""
    mesh = mesh_of(request)
    with raised():
        return {"surfaces": mesh.surfaces(request.query.get("agent"))}


@route("GET", "/metrics", needs="admin", query=_OF_AGENT, query_strict="2.1")
def metrics(request: Request) -> Answer:
    """What this controller's node, or an agent's, has counted, as Prometheus reads it."""
    mesh = mesh_of(request)
    with raised():
        told = mesh.metrics(request.query.get("agent"))
    try:
        text = offload(render, msgspec.convert(told, list[Family]))
    except (ValueError, LookupError, TypeError) as error:  # an agent may say anything
        raise ApiError(502, f"What the agent has counted cannot be shown: {error}") from error
    return Answer(text, headers={"Content-Type": CONTENT_TYPE})
