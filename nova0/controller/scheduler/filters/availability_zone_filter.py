"""The host is in the zone asked for; none asked: any."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class AvailabilityZoneFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return request.zone is None or host.zone == request.zone

    def applies(self, request: Request) -> bool:
        return request.zone is not None

    def key(self, request: Request) -> Hashable:
        return request.zone
