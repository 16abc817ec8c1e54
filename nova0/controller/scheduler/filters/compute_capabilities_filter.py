"""Extra specs of the flavor, bare or under `capabilities:`, hold for the host's own values."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.operators import matches
from nova0.controller.scheduler.request import Request

CHANGING = {  # values that change with every server placed
    "free_ram_mb", "free_disk_mb", "disk_mb_used", "vcpus_free", "vcpus_used", "num_instances", "num_io_ops",
    "failed_builds", "service_enabled",
}  # fmt: skip


def _specs(request: Request) -> tuple[tuple[str, str], ...]:
    """(name, condition); specs of another namespace are not about capabilities."""
    found = []
    for name, wanted in request.flavor.extra_specs.items():
        space, colon, rest = name.partition(":")
        if not colon:
            found.append((name, wanted))
        elif space == "capabilities":
            found.append((rest.replace(":", "."), wanted))
    return tuple(sorted(found))


class ComputeCapabilitiesFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return all(matches(host.attribute(name), wanted) for name, wanted in _specs(request))

    def applies(self, request: Request) -> bool:
        return bool(_specs(request))

    def key(self, request: Request) -> Hashable | None:
        specs = _specs(request)
        return None if any(CHANGING & set(name.split(".")) for name, _ in specs) else specs
