"""Hints build_near_host_ip and cidr: the host's address is in that network."""

from __future__ import annotations

import ipaddress

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class SimpleCIDRAffinityFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        near, cidr = self.key(request)
        if not near:
            return True
        try:
            network = ipaddress.ip_network(near + (cidr if cidr.startswith("/") else f"/{cidr}"), strict=False)
            return ipaddress.ip_address(host.state.address) in network
        except ValueError:
            return False

    def applies(self, request: Request) -> bool:
        return bool(self.key(request)[0])

    def key(self, request: Request) -> tuple[str, str]:
        near, cidr = request.hints.get("build_near_host_ip"), request.hints.get("cidr")
        return "".join(as_list(near)[:1]), "".join(as_list(cidr)[:1]) or "/24"
