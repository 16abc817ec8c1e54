"""A load replayed over hosts that are not there, by the scheduler that is: how a policy spreads, packs and refuses."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nova0.config import CONF
from nova0.controller.scheduler.driver import World, dispatch
from nova0.controller.scheduler.host_book import HostBook
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.policies import policy
from nova0.controller.scheduler.request import Request
from nova0.objects.errors import NoValidHost
from nova0.objects.flavor import Flavor
from nova0.objects.host import HostState


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One line of a load: a server of this size comes (`boot`), or one that came earlier goes (`delete`)."""

    boot: str = ""
    delete: str = ""
    vcpus: int = 1
    memory_mb: int = 512
    disk_gb: int = 1
    extra_specs: dict[str, str] = {}
    hints: dict[str, Any] = {}
    zone: str | None = None
    project_id: str = "p"


@dataclass
class Outcome:
    """`used`: share of memory in use on each host at the end; `course`: (event, mean share, deviation)."""

    placed: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    servers: dict[str, int] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    course: list[tuple[int, float, float]] = field(default_factory=list)
    choice_ms: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        numbers, shares = list(self.servers.values()), list(self.used.values())
        return {
            "placed": self.placed,
            "rejected": self.rejected,
            "reasons": self.reasons,
            "hosts": len(numbers),
            "empty_hosts": numbers.count(0),
            "servers_most": max(numbers),
            "servers_least": min(numbers),
            "servers_deviation": round(statistics.pstdev(numbers), 3),
            "memory_used_mean": round(statistics.fmean(shares), 4),
            "memory_used_deviation": round(statistics.pstdev(shares), 4),
            "choice_ms_median": round(statistics.median(self.choice_ms), 3) if self.choice_ms else None,
        }


class Hosts:
    """Stands for store and mesh: these hosts, all alive."""

    changes = 0

    def __init__(self, views: list[HostView]) -> None:
        self.views = views

    def read(self, closure: object) -> list[HostView]:
        return self.views

    def alive(self) -> set[str]:
        return {view.host for view in self.views}


def hosts(number: int, vcpus: int = 16, memory_mb: int = 65536, disk_gb: int = 1000) -> list[HostView]:
    """`number` equal hosts, ratios as configured."""
    options, made = CONF.scheduler, []
    for at in range(number):
        name = f"host{at:05}"
        state = HostState(
            host=name,
            hypervisor_hostname=name,
            hypervisor_type="fake",
            hypervisor_version=1,
            virt_type="fake",
            arch="x86_64",
            vcpus=vcpus,
            memory_mb=memory_mb,
            disk_gb=disk_gb,
        )
        limits = {
            "vcpus": vcpus * options.cpu_allocation_ratio,
            "memory_mb": memory_mb * options.ram_allocation_ratio,
            "disk_gb": disk_gb * options.disk_allocation_ratio,
        }
        made.append(HostView(host=name, state=state, limits=limits))
    return made


def generated(number: int, sizes: list[tuple[int, int, int]], lifetime: float, seed: int) -> Iterator[Event]:
    """`number` boots of (vCPUs, MiB, GiB) drawn from `sizes`; each goes after about `lifetime` further boots
    (0: stays)."""
    chance = random.Random(seed)  # noqa: S311  (a load that can be repeated)
    going: list[tuple[float, str]] = []
    for at in range(number):
        for end, name in sorted(going):
            if end <= at:
                going.remove((end, name))
                yield Event(delete=name)
        vcpus, memory_mb, disk_gb = chance.choice(sizes)
        yield Event(boot=f"s{at}", vcpus=vcpus, memory_mb=memory_mb, disk_gb=disk_gb)
        if lifetime:
            going.append((at + chance.expovariate(1 / lifetime), f"s{at}"))


def recorded(lines: Iterable[str]) -> Iterator[Event]:
    """A load from a file: one JSON object a line. Raises ValueError naming the line."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield msgspec.json.decode(line, type=Event)
            except msgspec.MsgspecError as error:
                raise ValueError(f"line {number}: {error}") from None


def run(views: list[HostView], events: Iterable[Event], driver: str = "filter") -> Outcome:
    """Every event in turn. Raises ValueError for a policy that does not load."""
    rows = Hosts(views)
    book = HostBook(rows, rows, CONF.scheduler)  # type: ignore[arg-type]
    chosen, outcome = policy(driver, World(book)), Outcome()
    for number, event in enumerate(events, start=1):
        if event.delete:
            book.release(event.delete)
            continue
        flavor = Flavor(
            flavor_id="-",
            name="-",
            vcpus=event.vcpus,
            memory_mb=event.memory_mb,
            root_gb=event.disk_gb,
            extra_specs=event.extra_specs,
        )
        asked = Request(uuid=event.boot, project_id=event.project_id, flavor=flavor, hints=event.hints, zone=event.zone)
        began = time.perf_counter()
        try:
            host = dispatch(chosen, "run_instance", asked)[0]
        except NoValidHost as error:
            outcome.rejected += 1
            last = str(error.data.get("trace", "no host")).rpartition("; ")[2]
            reason = last.partition(" left ")[0]
            outcome.reasons[reason] = outcome.reasons.get(reason, 0) + 1
        else:
            outcome.choice_ms.append((time.perf_counter() - began) * 1000)
            book.consume(host, asked.uuid, asked.takes)
            book.built(asked.uuid)
            outcome.placed += 1
        if number % 50 == 0:
            shares = [_share(view) for view in views]
            outcome.course.append((number, statistics.fmean(shares), statistics.pstdev(shares)))
    outcome.servers = {view.host: len(view.servers) for view in views}
    outcome.used = {view.host: _share(view) for view in views}
    return outcome


def _share(view: HostView) -> float:
    return view.memory_mb_used / view.limits["memory_mb"]
