"""The host has the PCI devices the flavor asks for (`pci_passthrough:alias=gpu:1`), by alias."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import PCI, HostView
from nova0.controller.scheduler.request import Request, pci_devices


class PciPassthroughFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return all(host.free(PCI + alias) >= number for alias, number in pci_devices(request.flavor).items())

    def applies(self, request: Request) -> bool:
        return bool(pci_devices(request.flavor))
