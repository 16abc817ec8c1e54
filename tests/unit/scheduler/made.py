"""Hosts and requests made by hand, and a book that holds them; no store, no mesh."""

from __future__ import annotations

from collections import Counter

from nova0.config import CONF
from nova0.controller.scheduler import options  # noqa: F401  (declares what is overridden here)
from nova0.controller.scheduler.driver import World
from nova0.controller.scheduler.host_book import HostBook
from nova0.controller.scheduler.host_view import HostView, Taken
from nova0.controller.scheduler.policies import policy
from nova0.controller.scheduler.request import Group, Request
from nova0.objects.flavor import Flavor
from nova0.objects.host import HostState
from nova0.objects.image import ImageRef

STATE = {"vcpus", "memory_mb", "disk_gb", "traits", "resources", "numa", "address", "metrics", "supported", "arch"}
STATE |= {"hypervisor_type", "hypervisor_version", "cpu_info"}


def host(name="h1", *, aggregates=(), servers=None, zone="nova", **more):
    """A host of 4 vCPUs, 8192 MiB, 100 GiB with ratio 1 (`ratio` for vCPUs); `servers`: uuid -> Taken."""
    ratio = more.pop("ratio", 1.0)
    stated = {key: more.pop(key) for key in list(more) if key in STATE}
    sizes = {"vcpus": 4, "memory_mb": 8192, "disk_gb": 100} | stated
    state = HostState(
        host=name,
        hypervisor_hostname=name,
        virt_type="kvm",
        **({"hypervisor_type": "QEMU", "hypervisor_version": 7_002_022, "arch": "x86_64"} | sizes),
    )
    metadata = {}
    for one in aggregates:
        for key, value in one.items():
            metadata.setdefault(key, set()).add(value)
    servers = dict(servers or {})
    used = Counter()
    for taken in servers.values():
        used.update(taken.resources)
    return HostView(
        host=name,
        state=state,
        limits={"vcpus": sizes["vcpus"] * ratio, "memory_mb": sizes["memory_mb"], "disk_gb": sizes["disk_gb"]},
        zone=zone,
        metadata=metadata,
        servers=servers,
        vcpus_used=sum(t.vcpus for t in servers.values()),
        memory_mb_used=sum(t.memory_mb for t in servers.values()),
        disk_gb_used=sum(t.disk_gb for t in servers.values()),
        resources_used=used,
        **more,
    )


def flavor(vcpus=1, memory_mb=512, root_gb=1, specs=None, name="m1.tiny", flavor_id="1"):
    return Flavor(
        flavor_id=flavor_id, name=name, vcpus=vcpus, memory_mb=memory_mb, root_gb=root_gb, extra_specs=specs or {}
    )


def image(image_id="i1", **properties):
    return ImageRef(id=image_id, name="i", size=1, sha512="", disk_format="raw", properties=properties)


def request(uuid="new", *, specs=None, properties=None, group=None, **more):
    more.setdefault("flavor", flavor(specs=specs))
    if properties is not None:
        more["image"] = image(**properties)
    if group is not None:
        policy_, members, *rest = group
        more["group"] = Group(policy=policy_, members=frozenset(members), **(rest[0] if rest else {}))
    return Request(uuid=uuid, project_id=more.pop("project_id", "p"), **more)


def taken(**more):
    return Taken(**({"vcpus": 1, "memory_mb": 512, "disk_gb": 1} | more))


class Everybody:
    """All of these are alive."""

    changes = 0

    def __init__(self, names):
        self.names = set(names)

    def alive(self):
        return self.names


class Rows:
    """Stands for the store: gives the hosts it was told of, however it is asked."""

    def __init__(self, views):
        self.views, self.reads = views, 0

    def read(self, closure):
        self.reads += 1
        return self.views


def book(views, **more):
    """A book of these hosts; those made with alive=False are down."""
    lives = Everybody(view.host for view in views if view.alive)
    return HostBook(Rows(views), lives, CONF.scheduler, **more)


def driver(name, views, storage=()):
    return policy(name, World(book(views), lambda: list(storage)))
