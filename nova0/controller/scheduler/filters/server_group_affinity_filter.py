"""Members of an affinity group share a host; the first one is free to choose."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class ServerGroupAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        group = request.group
        if group is None or group.policy != "affinity" or not group.placed_on:
            return True
        return host.host in group.placed_on
