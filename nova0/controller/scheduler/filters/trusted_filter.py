"""`trust:trusted_host=trusted` asks for attested hosts: nova0 attests none, so only `untrusted` passes."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class TrustedFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return request.flavor.extra_specs.get("trust:trusted_host", "untrusted") == "untrusted"

    def key(self, request: Request) -> Hashable:
        return request.flavor.extra_specs.get("trust:trusted_host")

    def applies(self, request: Request) -> bool:
        return "trust:trusted_host" in request.flavor.extra_specs
