"""The weighted sum of metrics that hosts report and metrics_weight_setting names."""

from __future__ import annotations

from nova0.config import CONF
from nova0.controller.scheduler import metrics_setting
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher
from nova0.objects.errors import NoValidHost


class MetricsWeigher(Weigher):
    multiplier_option = "metrics_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        options, reported = CONF.scheduler, host.state.metrics
        wanted = metrics_setting.weights()
        missing = [name for name in wanted if name not in reported]
        if missing and options.metrics_required:
            raise NoValidHost(
                f"{host.host} does not report the metric {missing[0]}: enable MetricsFilter, or set "
                "metrics_required = false in [scheduler]"
            )
        if missing:
            return float(options.metrics_weight_of_unavailable)
        return float(sum(reported[name] * weight for name, weight in wanted.items()))

    def applies(self, request: Request) -> bool:
        return bool(metrics_setting.names())
