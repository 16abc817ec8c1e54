"""Members of a soft-anti-affinity group push each other away."""

from __future__ import annotations

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher


class ServerGroupSoftAntiAffinityWeigher(Weigher):
    multiplier_option = "soft_anti_affinity_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        group = request.group
        if group is None or group.policy != "soft-anti-affinity":
            return 0.0
        return -float(len(host.server_uuids & group.others(request.uuid)))
