"""A form for one's own: override `filter_hosts`, `weigh_hosts`, or both."""

from __future__ import annotations

import random
from typing import Any

from nova0.controller.scheduler.driver import Driver, claimable, forced, none_up
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.objects.errors import NoValidHost


class AbstractScheduler(Driver):
    """As it stands: hosts with enough memory, all alike."""

    def filter_hosts(self, request: Request, hosts: list[HostView]) -> list[HostView]:
        return [host for host in hosts if host.free_memory_mb >= request.takes.memory_mb]

    def weigh_hosts(self, request: Request, hosts: list[HostView]) -> list[tuple[float, HostView]]:
        """(cost, host): the smallest wins."""
        return [(1.0, host) for host in hosts]

    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        if named := forced(request, self.world.book.views()):
            return named
        up = [host for host in self.hosts_up(topic) if host.host not in request.tried]
        if not up:
            raise none_up(topic)
        left = self.filter_hosts(request, claimable(up, request))
        if not left:
            raise NoValidHost(f"No valid host was found. {len(up)} up; {type(self).__name__}.filter_hosts left 0")
        weighed = self.weigh_hosts(request, left)
        ranked = sorted(weighed, key=lambda pair: (pair[0], random.random()))  # noqa: S311
        return [host.host for _, host in ranked][:count]
