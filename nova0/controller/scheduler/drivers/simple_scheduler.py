"""The least loaded host: fewest vCPUs in use for a server, fewest GB for a volume, fewest networks for a network."""

from __future__ import annotations

import random
from typing import Any

from nova0.config import CONF
from nova0.controller.scheduler.driver import Driver, claimable, forced, none_up
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.storage import NetworkRequest, StorageView, VolumeRequest
from nova0.objects.errors import NoValidHost


class SimpleScheduler(Driver):
    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        return self._instance(request, count)

    def schedule_run_instance(self, request: Request, *, count: int) -> list[str]:
        return self._instance(request, count)

    def schedule_start_instance(self, request: Request, *, count: int) -> list[str]:
        return self._instance(request, count)

    def schedule_create_volume(self, request: VolumeRequest, *, count: int) -> list[str]:
        hosts: list[StorageView] = self.hosts_up("volume")
        if request.forced_host:
            return _named(request.forced_host, hosts)
        most = CONF.scheduler.max_gigabytes
        fitting = [host for host in hosts if request.zone in (None, host.zone)]
        return _least(
            [(host.volumes_gb, host.host) for host in fitting if host.volumes_gb + request.size_gb <= most],
            hosts,
            count,
            "volume",
            f"{request.size_gb} GB more would exceed max_gigabytes = {most} on each",
        )

    def schedule_set_network_host(self, request: NetworkRequest, *, count: int) -> list[str]:
        hosts: list[StorageView] = self.hosts_up("volume")
        most = CONF.scheduler.max_networks
        return _least(
            [(host.networks, host.host) for host in hosts if host.networks < most],
            hosts,
            count,
            "network",
            f"each serves max_networks = {most} already",
        )

    def _instance(self, request: Request, count: int) -> list[str]:
        if named := forced(request, self.world.book.views()):
            return named
        up = [host for host in self.hosts_up() if host.host not in request.tried]
        hosts = claimable(up, request) if up else []
        most = CONF.scheduler.max_cores
        fitting = [host for host in hosts if request.zone in (None, host.zone)]
        return _least(
            [(h.vcpus_used, h.host) for h in fitting if h.vcpus_used + request.takes.vcpus <= most],
            hosts,
            count,
            "compute",
            f"{request.takes.vcpus} vCPUs more would exceed max_cores = {most} on each, or none is in the zone",
        )


def _named(host: str, up: list[StorageView]) -> list[str]:
    if not any(view.host == host for view in up):
        raise NoValidHost(f"No valid host was found. {host} is not up")
    return [host]


def _least(loads: list[tuple[int, str]], up: list[Any], count: int, topic: str, why: str) -> list[str]:
    if not up:
        raise none_up(topic)
    if not loads:
        raise NoValidHost(f"No valid host was found. {len(up)} up, but {why}")
    return [name for _, name in sorted(loads, key=lambda load: (load[0], random.random()))][:count]  # noqa: S311
