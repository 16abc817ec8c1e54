"""An aggregate's `instance_type` lists the flavors its hosts take."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class AggregateTypeAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        lists = host.metadata.get("instance_type", ())
        return not lists or any(request.flavor.name in (name.strip() for name in one.split(",")) for one in lists)

    def key(self, request: Request) -> Hashable:
        return request.flavor.name
