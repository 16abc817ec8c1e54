"""A newer hypervisor first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class HypervisorVersionWeigher(Weigher):
    multiplier_option = "hypervisor_version_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return float(host.state.hypervisor_version)

    def column(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.hypervisor_version
