"""Away from hosts whose last builds failed, so that a broken host does not swallow every boot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class BuildFailureWeigher(Weigher):
    multiplier_option = "build_failure_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return -float(host.failed_builds)

    def column(self, hosts: HostColumns, request: Request) -> Any:
        return -hosts.failed_builds
