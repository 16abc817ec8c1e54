"""The host has the NUMA cells the flavor or image ask for (`hw:numa_nodes`), each large enough."""

from __future__ import annotations

from nova0.controller.numbers import whole
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class NUMATopologyFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        cells, vcpus, memory_mb = self.key(request)
        return sum(cell["cpus"] >= vcpus and cell["memory_mb"] >= memory_mb for cell in host.state.numa) >= cells

    def applies(self, request: Request) -> bool:
        return bool(self.key(request)[0])

    def key(self, request: Request) -> tuple[int, int, int]:
        """(cells, vCPUs and MiB of each)."""
        asked = request.flavor.extra_specs.get("hw:numa_nodes") or request.image_properties.get("hw_numa_nodes", "")
        cells = whole(str(asked)) or 0
        if not cells:
            return 0, 0, 0
        return cells, -(-request.flavor.vcpus // cells), -(-request.flavor.memory_mb // cells)
