"""Every host."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class AllHostsFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return True

    def applies(self, request: Request) -> bool:
        return False
