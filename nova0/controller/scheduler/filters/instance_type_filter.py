"""Memory and disk for the flavor, in one filter: what came before RamFilter and DiskFilter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class InstanceTypeFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        takes = request.takes
        return host.free_memory_mb >= takes.memory_mb and host.free_disk_gb >= takes.disk_gb

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        takes = request.takes
        return (hosts.free_memory_mb >= takes.memory_mb) & (hosts.free_disk_gb >= takes.disk_gb)
