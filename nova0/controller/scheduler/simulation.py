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
from nova0.controller.scheduler.aggregate_values import smallest
from nova0.controller.scheduler.driver import Driver, World, dispatch
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.host_book import HostBook
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.policies import policy
from nova0.controller.scheduler.request import Group, Request
from nova0.objects.errors import NoValidHost
from nova0.objects.flavor import Flavor
from nova0.objects.host import HostState
from nova0.objects.image import ImageRef


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One line of a load: a server of this size comes (`boot`), or one that came earlier goes (`delete`); or, before
    all others, a host there is. Servers asked for `together` with the first are equal and one decision: with room for
    fewer than `at_least` (all, unless it says otherwise) none is placed."""

    at: float = 0.0  # seconds since the epoch, for show: events follow each other as they stand
    boot: str = ""
    delete: str = ""
    host: HostState | None = None
    metadata: dict[str, list[str]] = {}  # of the host's aggregates
    together: list[str] = []
    at_least: int | None = None
    vcpus: int = 1
    memory_mb: int = 512
    disk_gb: int = 1
    extra_specs: dict[str, str] = {}
    image: dict[str, str] = {}  # its properties
    hints: dict[str, Any] = {}
    policy: str = ""  # of the server group that the hint `group` names
    most_per_host: int = 1
    zone: str | None = None
    forced_host: str | None = None
    wanted_host: str | None = None
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


def described(state: HostState, metadata: dict[str, list[str]]) -> HostView:
    """A host as it said, with the metadata of its aggregates."""
    view = HostView(host=state.host, state=state, limits={}, metadata={key: set(v) for key, v in metadata.items()})
    view.zone = min(view.metadata.get("availability_zone") or {CONF.scheduler.default_availability_zone})

    def limit(number: int, reserved: int, kind: str) -> float:
        option = f"{kind}_allocation_ratio"
        own = getattr(state, option)
        return (number - reserved) * smallest(view, option, getattr(CONF.scheduler, option) if own is None else own)

    view.limits = {
        "vcpus": limit(state.vcpus, state.reserved_vcpus, "cpu"),
        "memory_mb": limit(state.memory_mb, state.reserved_memory_mb, "ram"),
        "disk_gb": limit(state.disk_gb, state.reserved_disk_gb, "disk"),
    }
    return view


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
    """A load from a file: one JSON object a line, or all in one JSON array on the first. Raises ValueError naming
    the line."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                if number == 1 and line.lstrip().startswith("["):
                    yield from msgspec.json.decode("\n".join([line, *lines]), type=list[Event])
                    return
                yield msgspec.json.decode(line, type=Event)
            except msgspec.MsgspecError as error:
                raise ValueError(f"line {number}: {error}") from None


def run(views: list[HostView], events: Iterable[Event], driver: str = "filter") -> Outcome:
    """Every event in turn. Raises ValueError for a policy that does not load."""
    rows = Hosts(views)
    book = HostBook(rows, rows, CONF.scheduler)  # type: ignore[arg-type]
    chosen, outcome = policy(driver, World(book)), Outcome()
    groups: dict[str, dict[str, str]] = {}  # group -> its members and where they are
    for number, event in enumerate(events, start=1):
        if event.delete:
            book.release(event.delete)
            for members in groups.values():
                members.pop(event.delete, None)
        elif event.boot:
            _boot(chosen, book, event, groups, outcome)
        if number % 50 == 0:
            shares = [_share(view) for view in views]
            outcome.course.append((number, statistics.fmean(shares), statistics.pstdev(shares)))
    outcome.servers = {view.host: len(view.servers) for view in views}
    outcome.used = {view.host: _share(view) for view in views}
    return outcome


def _boot(driver: Driver, book: HostBook, event: Event, groups: dict[str, dict[str, str]], outcome: Outcome) -> None:
    """One server, or all that were asked for together."""
    names = [event.boot, *event.together]
    at_least = len(names) if event.at_least is None else event.at_least
    members = groups.setdefault("".join(as_list(event.hints.get("group"))[:1]), {}) if event.policy else {}
    placed: list[str] = []
    for name in names:
        asked = _request(event, name, members)
        began = time.perf_counter()
        try:
            host = dispatch(driver, "run_instance", asked)[0]
        except NoValidHost as error:
            last = str(error.data.get("trace", "no host")).rpartition("; ")[2]
            reason = last.partition(" left ")[0]
            break
        outcome.choice_ms.append((time.perf_counter() - began) * 1000)
        book.consume(host, name, asked.takes)
        members[name] = host
        placed.append(name)
    refused = len(names) - len(placed)
    if refused and len(placed) < at_least:
        for name in placed:
            book.release(name)
            del members[name]
        placed, refused = [], len(names)
    for name in placed:
        book.built(name)
    outcome.placed += len(placed)
    if refused:
        outcome.rejected += refused
        outcome.reasons[reason] = outcome.reasons.get(reason, 0) + refused


def _request(event: Event, name: str, members: dict[str, str]) -> Request:
    flavor = Flavor(
        flavor_id="-",
        name="-",
        vcpus=event.vcpus,
        memory_mb=event.memory_mb,
        root_gb=event.disk_gb,
        extra_specs=event.extra_specs,
    )
    group = None
    if event.policy:
        group = Group(
            policy=event.policy,
            members=frozenset({*members, name}),
            placed_on=frozenset(members.values()),
            most_per_host=event.most_per_host,
        )
    image = ImageRef(id="-", name="-", size=0, sha512="", disk_format="raw", properties=event.image)
    return Request(
        uuid=name,
        project_id=event.project_id,
        flavor=flavor,
        image=image,
        hints=event.hints,
        zone=event.zone,
        forced_host=event.forced_host,
        wanted_host=event.wanted_host,
        group=group,
    )


def _share(view: HostView) -> float:
    return view.memory_mb_used / view.limits["memory_mb"]
