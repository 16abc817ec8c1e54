"""At most so many members of an anti-affinity group on a host (one, unless its rule says more)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class ServerGroupAntiAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        group = request.group
        if group is None or group.policy != "anti-affinity":
            return True
        return len(host.servers.keys() & group.others(request.uuid)) < group.most_per_host

    def applies(self, request: Request) -> bool:
        return request.group is not None and request.group.policy == "anti-affinity"

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        assert request.group is not None
        return hosts.members(request.group.others(request.uuid)) < request.group.most_per_host
