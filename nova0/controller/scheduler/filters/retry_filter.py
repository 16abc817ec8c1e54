"""Not on a host that failed this request before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class RetryFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return host.host not in request.tried

    def applies(self, request: Request) -> bool:
        return bool(request.tried)

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        return ~hosts.named(request.tried)
