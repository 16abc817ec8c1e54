"""Number of servers: a positive multiplier packs."""

from __future__ import annotations

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher


class NumInstancesWeigher(Weigher):
    multiplier_option = "num_instances_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return host.servers
