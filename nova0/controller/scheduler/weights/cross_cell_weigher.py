"""A server that moves stays in its own cell where it can. One cell: all hosts weigh the same."""

from __future__ import annotations

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher


class CrossCellWeigher(Weigher):
    multiplier_option = "cross_cell_move_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return 0.0 if not request.cell or host.cell == request.cell else -1.0

    def applies(self, request: Request) -> bool:
        return bool(request.cell)
