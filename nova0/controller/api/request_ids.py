"""Request ids: ours for every answer, the client's as a global id for the log."""

from __future__ import annotations

import re
import uuid

_GLOBAL = re.compile(r"req-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def new() -> str:
    return f"req-{uuid.uuid4()}"


def global_id(sent: str | None) -> str:
    """The client's X-Openstack-Request-Id where it is well formed, else empty: a bad one is ignored."""
    return sent if sent and _GLOBAL.fullmatch(sent) else ""


def headers(service: str, request_id: str) -> list[tuple[str, str]]:
    """The headers that carry the id, by service. Compute sends its old one too."""
    if service == "compute":
        return [("X-Compute-Request-Id", request_id), ("X-Openstack-Request-Id", request_id)]
    return [("X-Openstack-Request-Id", request_id)]
