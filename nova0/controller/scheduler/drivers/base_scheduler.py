"""AbstractScheduler with the configured filters, and hosts filled in turn."""

from __future__ import annotations

from typing import Any

from nova0.controller.scheduler.drivers.abstract_scheduler import AbstractScheduler
from nova0.controller.scheduler.drivers.filter_scheduler import FilterScheduler
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.selection import Trace


class BaseScheduler(AbstractScheduler):
    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._filters = FilterScheduler(world)
        self._turn = 0

    def filter_hosts(self, request: Request, hosts: list[HostView]) -> list[HostView]:
        return self._filters.filter_hosts(hosts, request, Trace(), named=False)

    def weigh_hosts(self, request: Request, hosts: list[HostView]) -> list[tuple[float, HostView]]:
        """The next host in turn costs least."""
        ordered = sorted(hosts, key=lambda host: host.host)
        self._turn += 1
        return [(float((at - self._turn) % len(ordered)), host) for at, host in enumerate(ordered)]
