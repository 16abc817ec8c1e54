"""Hint different_host: on no host of those servers."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class DifferentHostFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return not host.server_uuids.intersection(as_list(request.hints.get("different_host")))
