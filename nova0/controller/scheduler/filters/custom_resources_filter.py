"""Enough of each custom resource class the flavor asks for (`resources:CUSTOM_GPU=1`)."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class CustomResourcesFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return all(host.free(name) >= number for name, number in request.takes.resources.items())

    def applies(self, request: Request) -> bool:
        return bool(request.takes.resources)
