"""At most so many members of an anti-affinity group on a host (one, unless its rule says more)."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class ServerGroupAntiAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        group = request.group
        if group is None or group.policy != "anti-affinity":
            return True
        return len(host.server_uuids & group.others(request.uuid)) < group.most_per_host
