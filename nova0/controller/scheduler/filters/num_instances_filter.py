"""Fewer than max_instances_per_host servers are on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.config import CONF
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class NumInstancesFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return len(host.servers) < CONF.scheduler.max_instances_per_host

    def mask(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.servers < CONF.scheduler.max_instances_per_host
