"""Hint same_host: on a host of one of those servers."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class SameHostFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        wanted = as_list(request.hints.get("same_host"))
        return not wanted or bool(host.server_uuids.intersection(wanted))
