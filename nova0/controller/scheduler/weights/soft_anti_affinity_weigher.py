"""Members of a soft-anti-affinity group push each other away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class ServerGroupSoftAntiAffinityWeigher(Weigher):
    multiplier_option = "soft_anti_affinity_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        if not self.applies(request):
            return 0.0
        assert request.group is not None
        return -float(len(host.servers.keys() & request.group.others(request.uuid)))

    def applies(self, request: Request) -> bool:
        return request.group is not None and request.group.policy == "soft-anti-affinity"

    def column(self, hosts: HostColumns, request: Request) -> Any:
        assert request.group is not None
        return -hosts.members(request.group.others(request.uuid))
