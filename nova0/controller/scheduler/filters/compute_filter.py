"""The host's compute service is enabled and alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class ComputeFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return host.enabled and host.alive

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.able
