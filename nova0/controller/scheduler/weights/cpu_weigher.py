"""Free vCPUs."""

from __future__ import annotations

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher


class CPUWeigher(Weigher):
    multiplier_option = "cpu_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return host.free_vcpus
