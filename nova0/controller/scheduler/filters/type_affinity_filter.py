"""All servers of a host have the same flavor."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class TypeAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return all(taken.flavor_id == request.flavor.flavor_id for taken in host.servers.values())
