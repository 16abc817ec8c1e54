"""A scheduler driver is a policy: which hosts a request goes to. One's own needs `schedule`, nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.scheduler.host_book import HostBook
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.storage import StorageView
from nova0.objects.errors import NoValidHost


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
