"""The host reports every metric that metrics_weight_setting names."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.metrics_setting import names
from nova0.controller.scheduler.request import Request


class MetricsFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return all(name in host.state.metrics for name in names())

    def applies(self, request: Request) -> bool:
        return bool(names())

    def key(self, request: Request) -> Hashable:
        return ()
