"""Virtual storage arrays: drives of a type, on hosts that report that type and have enough of it left."""

from __future__ import annotations

import random
from typing import Any

from nova0.controller.scheduler.driver import Driver, none_up
from nova0.controller.scheduler.drivers.simple_scheduler import SimpleScheduler
from nova0.controller.scheduler.storage import StorageView, VolumeRequest
from nova0.objects.errors import NoValidHost


class VsaScheduler(SimpleScheduler):
    """Servers go where SimpleScheduler sends them; drives to any host that can hold them."""

    def cost(self, host: StorageView, request: VolumeRequest) -> float:
        """The smallest is chosen."""
        return 0.0

    def schedule_create_volume(self, request: VolumeRequest, *, count: int) -> list[str]:
        if not request.drive_type:
            return super().schedule_create_volume(request, count=count)
        up: list[StorageView] = Driver.hosts_up(self, "volume")
        if not up:
            raise none_up("volume")
        fitting = [host for host in up if _fits(host, request)]
        if not fitting:
            raise NoValidHost(
                f"No valid host was found. {len(up)} up; none has {request.drives} drive(s) of type "
                f"{request.drive_type} with {request.size_gb} GB left"
            )
        ranked = sorted(fitting, key=lambda host: (self.cost(host, request), random.random()))  # noqa: S311
        return [host.host for host in ranked][:count]


class VsaSchedulerLeastUsedHost(VsaScheduler):
    """The host that has promised least in all."""

    def cost(self, host: StorageView, request: VolumeRequest) -> float:
        return float(sum(drives.used * drives.size_gb for drives in host.drives.values()))


class VsaSchedulerMostAvailCapacity(VsaScheduler):
    """The host with most left of the type asked for."""

    def cost(self, host: StorageView, request: VolumeRequest) -> float:
        return -float(host.drives[request.drive_type].free_gb)


def _fits(host: StorageView, request: Any) -> bool:
    drives = host.drives.get(request.drive_type)
    return (
        drives is not None
        and drives.size_gb >= request.size_gb
        and drives.total - drives.used >= request.drives
        and request.zone in (None, host.zone)
    )
