"""The host has every trait that flavor or image require (`trait:X=required`) and none they forbid."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class TraitsFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        required, forbidden = request.traits
        traits = set(host.state.traits)
        return required <= traits and not forbidden & traits

    def applies(self, request: Request) -> bool:
        return any(request.traits)

    def key(self, request: Request) -> Hashable:
        return request.traits
