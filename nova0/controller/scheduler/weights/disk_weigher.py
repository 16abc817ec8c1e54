"""Free disk."""

from __future__ import annotations

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher


class DiskWeigher(Weigher):
    multiplier_option = "disk_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return host.free_disk_gb
