"""Number of servers: a positive multiplier packs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class NumInstancesWeigher(Weigher):
    multiplier_option = "num_instances_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return float(len(host.servers))

    def column(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.servers
