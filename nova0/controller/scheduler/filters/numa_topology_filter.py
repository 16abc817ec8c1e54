"""The host has the NUMA cells the flavor or image ask for (`hw:numa_nodes`), each large enough."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class NUMATopologyFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        cells = self.key(request)
        if not cells:
            return True
        have = sorted(((cell["cpus"], cell["memory_mb"]) for cell in host.state.numa), reverse=True)
        wanted = (-(-request.flavor.vcpus // cells), -(-request.flavor.memory_mb // cells))
        fitting = [cell for cell in have if cell[0] >= wanted[0] and cell[1] >= wanted[1]]
        return len(fitting) >= cells

    def applies(self, request: Request) -> bool:
        return bool(self.key(request))

    def key(self, request: Request) -> int:
        asked = request.flavor.extra_specs.get("hw:numa_nodes") or request.image_properties.get("hw_numa_nodes", "")
        return int(asked) if asked.isdigit() else 0
