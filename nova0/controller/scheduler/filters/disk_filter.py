"""Disk within the host's ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class DiskFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return host.free_disk_gb >= request.takes.disk_gb

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.free_disk_gb >= request.takes.disk_gb
