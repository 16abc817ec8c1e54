"""A scheduler driver is a policy: which hosts a request goes to. One's own needs `schedule`, nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.filters.compute_filter import ComputeFilter
from nova0.controller.scheduler.filters.core_filter import CoreFilter
from nova0.controller.scheduler.filters.custom_resources_filter import CustomResourcesFilter
from nova0.controller.scheduler.filters.disk_filter import DiskFilter
from nova0.controller.scheduler.filters.ram_filter import RamFilter
from nova0.controller.scheduler.filters.server_group_affinity_filter import ServerGroupAffinityFilter
from nova0.controller.scheduler.filters.server_group_anti_affinity_filter import ServerGroupAntiAffinityFilter
from nova0.controller.scheduler.host_book import HostBook
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.selection import Trace, filter_plain
from nova0.controller.scheduler.storage import StorageView
from nova0.objects.errors import NoValidHost

# What the claim asks of a host, whatever the policy: choosing one that fails it would only cost another try.
CLAIM: list[tuple[str, Filter]] = [
    (f"claim:{of.__name__}", of())
    for of in (
        ComputeFilter,
        CoreFilter,
        RamFilter,
        DiskFilter,
        CustomResourcesFilter,
        ServerGroupAntiAffinityFilter,
        ServerGroupAffinityFilter,
    )
]


class World:
    """What drivers look at. `storage` gives the hosts of topic "volume"; there are none without volumes."""

    def __init__(self, book: HostBook, storage: Callable[[], list[StorageView]] = list) -> None:
        self.book, self.storage = book, storage


class Driver:
    """`schedule_METHOD(...)`, where a driver has it, answers that method; all others go to `schedule`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        """Names of at most `count` hosts, best first. Raises NoValidHost."""
        raise NotImplementedError(f"{type(self).__name__} has no schedule_{method} and no schedule")

    def hosts_up(self, topic: str = "compute") -> list[Any]:
        """The hosts of a topic that are enabled and alive: HostView of compute, StorageView of volume."""
        if topic == "volume":
            return [host for host in self.world.storage() if host.alive]
        return [host for host in self.world.book.views() if host.alive and host.enabled]


def dispatch(driver: Driver, method: str, request: Any, *, topic: str = "compute", count: int = 1) -> list[str]:
    """The field's rule: `schedule_METHOD` where the driver has it, else `schedule`."""
    own = getattr(driver, f"schedule_{method}", None)
    if own is not None:
        return list(own(request, count=count))
    return list(driver.schedule(request, topic=topic, method=method, count=count))


def claimable(hosts: list[Any], request: Any) -> list[Any]:
    """Those of these hosts, of which there is one at least, that the claim would not refuse. Raises NoValidHost that
    says what took them away. Volumes and networks claim nothing."""
    if not isinstance(request, Request):
        return hosts
    trace = Trace()
    left = filter_plain(hosts, request, CLAIM, trace, named=False)
    if not left:
        raise NoValidHost(f"No valid host was found. {trace.left()}", trace=trace.whole(), request_id=request.uuid)
    return left


def forced(request: Request, hosts: list[HostView]) -> list[str] | None:
    """The host an admin named with zone:host, which skips every policy; what the claim would refuse is refused
    here. Raises NoValidHost where there is none."""
    if request.forced_host is None:
        return None
    host = next((host for host in hosts if host.host == request.forced_host), None)
    if host is None:
        raise NoValidHost(f"No valid host was found. There is no host {request.forced_host}")
    takes = request.takes
    room = (host.free_vcpus >= takes.vcpus, host.free_memory_mb >= takes.memory_mb, host.free_disk_gb >= takes.disk_gb)
    if not all(room) or any(host.free(name) < number for name, number in takes.resources.items()):
        raise NoValidHost(
            f"No valid host was found. {host.host} was forced and has no room: {host.free_vcpus:g} vCPUs, "
            f"{host.free_memory_mb:g} MiB and {host.free_disk_gb:g} GiB are free"
        )
    if not host.enabled:
        raise NoValidHost(f"No valid host was found. {host.host} was forced and is disabled")
    return [host.host]


def none_up(topic: str) -> NoValidHost:
    where = "see `nova0 agents`" if topic == "compute" else f"no host offers {topic}"
    return NoValidHost(f"No valid host was found. No {topic} host is up: {where}")
