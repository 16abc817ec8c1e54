"""Hint different_host: on no host of those servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class DifferentHostFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return host.servers.keys().isdisjoint(as_list(request.hints.get("different_host")))

    def applies(self, request: Request) -> bool:
        return bool(as_list(request.hints.get("different_host")))

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        return ~hosts.holding(as_list(request.hints.get("different_host")))
