"""Keeps hosts with PCI devices for servers that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request, pci_devices
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class PCIWeigher(Weigher):
    multiplier_option = "pci_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        return float(host.free_pci if pci_devices(request.flavor) else -host.free_pci)

    def column(self, hosts: HostColumns, request: Request) -> Any:
        return hosts.free_pci if pci_devices(request.flavor) else -hosts.free_pci
