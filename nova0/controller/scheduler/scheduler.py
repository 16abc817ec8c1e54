"""Select hosts for a request: filters in order, then the weighted sum, over views held in memory.

Views are rebuilt from the store when a host reports or a claim is lost, and adjusted in memory as
servers are placed; the store's conditional claim has the last word, so a stale view costs a retry only.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import time
from collections.abc import Sequence

import msgspec
from oslo_config import cfg

from nova0 import config
from nova0.controller.compute.host_life import HostLives
from nova0.controller.db.compute_tables import AggregateRow, ClaimRow, HostRow
from nova0.controller.db.store import Store
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher
from nova0.objects.errors import NoValidHost
from nova0.objects.flavor import Flavor
from nova0.objects.host import HostState

_FILTERS = "nova0.controller.scheduler.filters"
_WEIGHTS = "nova0.controller.scheduler.weights"

config.declare(
    [
        cfg.ListOpt(
            "enabled_filters",
            default=[
                "ComputeFilter",
                "AvailabilityZoneFilter",
                "ImagePropertiesFilter",
                "CoreFilter",
                "RamFilter",
                "DiskFilter",
                "DifferentHostFilter",
                "SameHostFilter",
                "ServerGroupAntiAffinityFilter",
                "ServerGroupAffinityFilter",
            ],
            help="Filters in order: names of built-in ones, or package.module:Class of your own.",
        ),
        cfg.ListOpt(
            "weight_classes",
            default=[
                "RAMWeigher",
                "CPUWeigher",
                "DiskWeigher",
                "NumInstancesWeigher",
                "ServerGroupSoftAffinityWeigher",
                "ServerGroupSoftAntiAffinityWeigher",
            ],
            help="Weighers: names of built-in ones, or package.module:Class of your own.",
        ),
        cfg.FloatOpt("ram_weight_multiplier", default=1.0, help="Weight of free memory; negative packs."),
        cfg.FloatOpt("cpu_weight_multiplier", default=1.0, help="Weight of free vCPUs; negative packs."),
        cfg.FloatOpt("disk_weight_multiplier", default=1.0, help="Weight of free disk; negative packs."),
        cfg.FloatOpt("num_instances_weight_multiplier", default=0.0, help="Weight of a host's number of servers."),
        cfg.FloatOpt("soft_affinity_weight_multiplier", default=1000.0, min=0, help="Pull of a soft-affinity group."),
        cfg.FloatOpt(
            "soft_anti_affinity_weight_multiplier", default=1000.0, min=0, help="Push of a soft-anti-affinity group."
        ),
        cfg.IntOpt("host_subset_size", default=1, min=1, help="Choose at random among this many of the best."),
        cfg.FloatOpt("cpu_allocation_ratio", default=4.0, min=0, help="vCPUs promised for each host CPU."),
        cfg.FloatOpt("ram_allocation_ratio", default=1.0, min=0, help="Memory promised for each MiB there is."),
        cfg.FloatOpt("disk_allocation_ratio", default=1.0, min=0, help="Disk promised for each GiB there is."),
        cfg.StrOpt("default_availability_zone", default="nova", help="Zone of hosts that no aggregate places."),
        cfg.FloatOpt("gathering_s", default=8.0, help="After its start a controller waits this long for hosts."),
    ],
    group="scheduler",
)


def load(name: str, package: str, base: type) -> type:
    """A built-in class by its name, or any class by package.module:Class. Raises ValueError naming the option."""
    if ":" in name or "." in name:
        module_name, _, class_name = name.replace(":", ".").rpartition(".")
        try:
            found = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"scheduler: {name!r} does not load: {error}") from error
    else:
        found = built_in(package).get(name)
        if found is None:
            known = ", ".join(sorted(built_in(package)))
            raise ValueError(f"scheduler: there is no {base.__name__.lower()} {name!r}; built in are {known}")
    if not issubclass(found, base):
        raise ValueError(f"scheduler: {name!r} is not a {base.__name__}")
    return found


def built_in(package: str) -> dict[str, type]:
    """Class name -> class, for every class defined in the modules of a package."""
    found = {}
    root = importlib.import_module(package)
    for module in pkgutil.iter_modules(root.__path__):
        loaded = importlib.import_module(f"{package}.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, type) and value.__module__ == loaded.__name__:
                found[name] = value
    return found


class Scheduler:
    """One per controller. Raises ValueError at construction for a filter or weigher that does not load."""

    def __init__(self, store: Store, lives: HostLives, options: cfg.ConfigOpts | None = None) -> None:
        self._store, self._lives = store, lives
        self._options = (options or config.CONF).scheduler
        self._filters: list[tuple[str, Filter]] = [
            (name.rpartition(":")[2].rpartition(".")[2], load(name, _FILTERS, Filter)())
            for name in self._options.enabled_filters
        ]
        self._weighers: list[tuple[Weigher, float]] = []
        for name in self._options.weight_classes:
            weigher = load(name, _WEIGHTS, Weigher)()
            self._weighers.append((weigher, float(getattr(self._options, weigher.multiplier_option, 1.0))))
        self._views: dict[str, HostView] = {}
        self._started = time.monotonic()
        self._fresh = False

    def still_gathering(self) -> bool:
        """True shortly after our own start, while a host in the store has not been heard of yet."""
        if time.monotonic() - self._started > self._options.gathering_s:
            return False
        known = self._store.read(lambda: [row.host for row in HostRow.select(HostRow.host)])
        return not known or any(self._lives.life(host).status == "unknown" for host in known)

    def refresh(self) -> None:
        """Rebuild the views from the store."""
        views = self._store.read(self._read)
        self._views, self._fresh = views, True

    def stale(self) -> None:
        """The views are rebuilt before the next choice."""
        self._fresh = False

    def consume(self, host: str, flavor: Flavor, uuid: str = "") -> None:
        """A server was placed on `host`: the next choice sees it."""
        if host in self._views:
            self._views[host].consume(uuid, flavor)

    def limits(self, host: str) -> dict[str, float]:
        """What may be claimed on a host in all, ratios and reservations applied."""
        return self._views[host].limits

    def zone(self, host: str) -> str:
        return self._views[host].zone

    def views(self) -> list[HostView]:
        """All hosts with their life as of now."""
        if not self._fresh:
            self.refresh()
        for view in self._views.values():
            view.alive = self._lives.life(view.host).alive
        return list(self._views.values())

    def select(self, request: Request) -> list[str]:
        """Hosts in order of preference, best first. Raises NoValidHost saying what each filter left
        (`trace` in its data: also those that kept all)."""
        hosts = [view for view in self.views() if view.host not in request.ignore]
        trace = [f"{len(hosts)} host{'s' if len(hosts) != 1 else ''}"]
        if request.ignore:
            trace[0] += f" (not again: {', '.join(request.ignore)})"
        if request.forced_host:
            left = [view for view in hosts if view.host == request.forced_host]
            if not left:
                raise NoValidHost(f"No valid host was found. There is no host {request.forced_host}")
            return [request.forced_host]
        left = hosts
        whole = list(trace)
        for name, passes in self._filters:
            before, left = len(left), [view for view in left if passes.host_passes(view, request)]
            whole.append(f"{name} left {len(left)}")
            if len(left) < before:  # the message is short: filters that kept all are in the details only
                trace.append(f"{name} left {len(left)}")
            if not left:
                break
        if not left:
            raise NoValidHost(f"No valid host was found. {'; '.join(trace)}", trace="; ".join(whole))
        return [view.host for view in self._ordered(left, request)]

    def _ordered(self, hosts: Sequence[HostView], request: Request) -> list[HostView]:
        sums = dict.fromkeys((view.host for view in hosts), 0.0)
        for weigher, multiplier in self._weighers:
            if not multiplier:
                continue
            raw = [weigher.weigh(view, request) for view in hosts]
            low, high = min(raw), max(raw)
            if high == low:
                continue
            for view, value in zip(hosts, raw, strict=True):
                sums[view.host] += multiplier * (value - low) / (high - low)
        # Equal hosts in random order: several controllers must not all pick the same one.
        order = sorted(hosts, key=lambda view: (-sums[view.host], random.random()))  # noqa: S311
        subset = min(self._options.host_subset_size, len(order))
        if subset > 1:
            best = order.pop(random.randrange(subset))  # noqa: S311
            order.insert(0, best)
        return order

    def _read(self) -> dict[str, HostView]:
        options = self._options
        aggregates = list(AggregateRow.select())
        servers: dict[str, set[str]] = {}
        for held in ClaimRow.select(ClaimRow.host, ClaimRow.instance_uuid):
            servers.setdefault(held.host, set()).add(held.instance_uuid)
        views = {}
        for row in HostRow.select():
            state = msgspec.convert(row.state, HostState)
            metadata: dict[str, set[str]] = {}
            zone = options.default_availability_zone
            for aggregate in aggregates:
                if row.host in aggregate.hosts:
                    zone = aggregate.metadata.get("availability_zone", zone)
                    for key, value in aggregate.metadata.items():
                        metadata.setdefault(key, set()).add(value)
            views[row.host] = HostView(
                host=row.host,
                state=state,
                vcpus_used=row.vcpus_used,
                memory_mb_used=row.memory_mb_used,
                disk_gb_used=row.disk_gb_used,
                servers=row.servers,
                enabled=not (row.disabled or row.forced_down),
                zone=zone,
                aggregate_metadata=metadata,
                server_uuids=servers.get(row.host, set()),
                limits={
                    "vcpus": (row.vcpus - state.reserved_vcpus) * options.cpu_allocation_ratio,
                    "memory_mb": (row.memory_mb - state.reserved_memory_mb) * options.ram_allocation_ratio,
                    "disk_gb": (row.disk_gb - state.reserved_disk_gb) * options.disk_allocation_ratio,
                },
            )
        return views
