"""As NumInstancesFilter, with the smallest max_instances_per_host of the host's aggregates where they name one."""

from __future__ import annotations

from nova0.config import CONF
from nova0.controller.scheduler.aggregate_values import smallest
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class AggregateNumInstancesFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return len(host.servers) < smallest(host, "max_instances_per_host", CONF.scheduler.max_instances_per_host)
