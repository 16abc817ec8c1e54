"""Servers being built or moved on the host: a negative multiplier avoids busy hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class IoOpsWeigher(Weigher):
    multiplier_option = "io_ops_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return float(len(host.heavy))

    def column(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.heavy
