"""Volumes through compute, to 2.35: nova0 has no block storage, and says so instead of an empty list or a 404."""

from __future__ import annotations

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute.refusals import NotBuilt


def no_volumes(request: Request, rest: str = "") -> None:
    """At every path of a volume collection."""
    raise NotBuilt("nova0 has no block storage yet: there are no volumes, and no snapshots of them.")


for _collection in ("os-volumes", "os-snapshots"):
    for _method in ("GET", "POST", "DELETE"):
        route(_method, f"/{_collection}", needs="any", until="2.35")(no_volumes)
        route(_method, f"/{_collection}/<rest:path>", needs="any", until="2.35")(no_volumes)
