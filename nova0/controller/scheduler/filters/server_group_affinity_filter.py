"""Members of an affinity group share a host; the first one is free to choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class ServerGroupAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        group = request.group
        if group is None or group.policy != "affinity" or not group.placed_on:
            return True
        return host.host in group.placed_on

    def applies(self, request: Request) -> bool:
        return request.group is not None and request.group.policy == "affinity" and bool(request.group.placed_on)

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        assert request.group is not None
        return hosts.named(request.group.placed_on)
