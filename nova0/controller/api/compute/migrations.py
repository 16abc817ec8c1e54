"""Migrations: nova0 moves no servers yet, so there are none."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route

_QUERY: dict[str, Any] = {
    name: v.TEXT for name in ("hidden", "host", "instance_uuid", "source_compute", "status", "migration_type")
}
_QUERY_59 = _QUERY | paging.QUERY | {"changes-since": v.TEXT}
_QUERY_66 = _QUERY_59 | {"changes-before": v.TEXT}
_QUERIES = {"2.1": _QUERY, "2.59": _QUERY_59, "2.66": _QUERY_66,
            "2.80": _QUERY_66 | {"user_id": v.TEXT, "project_id": v.TEXT}}  # fmt: skip


@route("GET", "/os-migrations", needs="manager", query=_QUERIES, query_strict="2.59")
def listed(request: Request) -> dict[str, Any]:
    paging.limit_of(request.query)
    if request.query.get("marker"):
        paging.after_marker([], request.query.get("marker"), str)
    return {"migrations": []}
