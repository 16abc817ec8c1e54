"""The host's compute service is enabled and alive."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class ComputeFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return host.enabled and host.alive
