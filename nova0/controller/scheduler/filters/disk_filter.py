"""Disk within the host's ratio."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class DiskFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return host.free_disk_gb >= request.flavor.disk_gb
