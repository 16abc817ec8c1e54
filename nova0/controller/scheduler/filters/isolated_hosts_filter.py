"""Isolated images run on isolated hosts only, and (unless told otherwise) isolated hosts take nothing else."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.config import CONF
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class IsolatedHostsFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        options = CONF.scheduler
        isolated_image = request.image is not None and request.image.id in options.isolated_images
        isolated_host = host.host in options.isolated_hosts
        if isolated_image:
            return isolated_host
        return not isolated_host or not options.restrict_isolated_hosts_to_isolated_images

    def applies(self, request: Request) -> bool:
        return bool(CONF.scheduler.isolated_images or CONF.scheduler.isolated_hosts)

    def key(self, request: Request) -> Hashable:
        return request.image.id if request.image else ""
