"""Filters, then weights: who is left, and in which order. Two ways to the same answer.

The plain one asks every filter and weigher of every host in turn. The fast one works on all hosts at once
where a filter or weigher offers that, keeps answers that cannot have changed, and asks the rest host by host.
`tests/unit/scheduler` holds both to the same result (docs/decisions/0020-scheduler.md).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from nova0.config import CONF
from nova0.controller.scheduler.aggregate_values import smallest
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


@dataclass(frozen=True)
class Weighing:
    """One active weigher. Its multiplier is read at each use, so that a reload takes effect."""

    name: str
    weigher: Weigher

    @property
    def multiplier(self) -> float:
        return float(getattr(CONF.scheduler, self.weigher.multiplier_option, 1.0))


@dataclass
class Trace:
    """How a choice came about: what each filter left, and for each host left what each weigher made of it."""

    begun_with: int = 0
    filters: list[tuple[str, int]] = field(default_factory=list)  # name, hosts left after it
    removed: dict[str, list[str]] = field(default_factory=dict)  # filter -> hosts it took away
    weights: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    # host -> weigher -> (raw, scaled to 0..1, times its multiplier)
    sums: dict[str, float] = field(default_factory=dict)
    smallest_wins: bool = False  # these are costs

    def ranked(self) -> list[str]:
        """Hosts left, best first."""
        return sorted(self.sums, key=lambda host: self.sums[host], reverse=not self.smallest_wins)

    def left(self) -> str:
        """`4 hosts; RamFilter left 1; ...`: the filters that took some away."""
        words, before = [_hosts(self.begun_with)], self.begun_with
        for name, left in self.filters:
            if left < before:
                words.append(f"{name} left {left}")
            before = left
        return "; ".join(words)

    def whole(self) -> str:
        return "; ".join([_hosts(self.begun_with), *(f"{name} left {left}" for name, left in self.filters)])


def _hosts(number: int) -> str:
    return f"{number} host{'s' if number != 1 else ''}"


def filter_plain(
    hosts: Sequence[HostView], request: Request, filters: Sequence[tuple[str, Filter]], trace: Trace, *, named: bool
) -> list[HostView]:
    """`named`: also note which hosts each filter took away."""
    trace.begun_with, left = len(hosts), list(hosts)
    for name, filter_ in filters:
        if filter_.applies(request):
            kept = [host for host in left if filter_.host_passes(host, request)]
            if named and len(kept) < len(left):
                passed = {host.host for host in kept}
                trace.removed[name] = [host.host for host in left if host.host not in passed]
            left = kept
        trace.filters.append((name, len(left)))
        if not left:
            break
    return left


def weigh_plain(
    hosts: Sequence[HostView], request: Request, weighers: Sequence[Weighing], trace: Trace | None = None
) -> list[float]:
    """The sum of each host, in the order of `hosts`."""
    sums = [0.0] * len(hosts)
    for weighing in weighers:
        multiplier, weigher = weighing.multiplier, weighing.weigher
        own = [smallest(host, weigher.multiplier_option, multiplier) for host in hosts]
        if not any(own) or not weigher.applies(request):
            continue
        raw = [weigher.weigh(host, request) for host in hosts]
        low, high = min(raw), max(raw)
        scaled = [(value - low) / (high - low) if high > low else 0.0 for value in raw]
        for at, host in enumerate(hosts):
            sums[at] += own[at] * scaled[at]
            if trace is not None:
                trace.weights.setdefault(host.host, {})[weighing.name] = (raw[at], scaled[at], own[at] * scaled[at])
    if trace is not None:
        trace.sums = {host.host: total for host, total in zip(hosts, sums, strict=True)}
    return sums


def order(names: Sequence[str], sums: Sequence[float], count: int) -> list[str]:
    """The best `count`, equal ones at random, and the first drawn from among the best host_subset_size."""
    options = CONF.scheduler
    ties = random.random if options.shuffle_best_same_weighed_hosts else float
    ranked = sorted(zip(names, sums, strict=True), key=lambda pair: (-pair[1], ties()))
    return draw([name for name, _ in ranked[: max(count, options.host_subset_size)]])[:count]


def draw(ranked: list[str]) -> list[str]:
    """The first is drawn at random from the best host_subset_size."""
    subset = min(CONF.scheduler.host_subset_size, len(ranked))
    if subset > 1:
        ranked.insert(0, ranked.pop(random.randrange(subset)))  # noqa: S311  (spread, not secrecy)
    return ranked


def filter_fast(
    hosts: HostColumns, chosen: Any, request: Request, filters: Sequence[tuple[str, Filter]], trace: Trace
) -> Any:
    """`chosen`: a mask of the hosts to begin with. Returns the mask of those left."""
    import numpy as np

    trace.begun_with = int(np.count_nonzero(chosen))
    left = chosen
    for name, filter_ in filters:
        if filter_.applies(request):
            answers = filter_.mask(hosts, request)
            if answers is None and (key := filter_.key(request)) is not None:
                answers = hosts.kept((id(filter_), key), partial(_passes, filter_, request))
            if answers is None:
                rows = np.flatnonzero(left)
                answers = np.zeros(len(hosts), dtype=bool)
                answers[rows] = [filter_.host_passes(hosts.views[row], request) for row in rows.tolist()]
            left = left & answers
        remaining = int(np.count_nonzero(left))
        trace.filters.append((name, remaining))
        if not remaining:
            break
    return left


def _passes(filter_: Filter, request: Request, host: HostView) -> bool:
    return filter_.host_passes(host, request)


def weigh_fast(hosts: HostColumns, rows: Any, request: Request, weighers: Sequence[Weighing]) -> Any:
    """The sums of the hosts at `rows`, in their order: the same numbers as `weigh_plain` gives."""
    import numpy as np

    sums = np.zeros(len(rows))
    for weighing in weighers:
        multiplier, weigher = weighing.multiplier, weighing.weigher
        own = hosts.factors(weigher.multiplier_option, multiplier)
        if (own is None and not multiplier) or not weigher.applies(request):
            continue
        column = weigher.column(hosts, request)
        if column is None:
            raw = np.array([weigher.weigh(hosts.views[row], request) for row in rows.tolist()])
        else:
            raw = column[rows]
        low, high = raw.min(), raw.max()
        if high > low:
            scaled = (raw - low) / (high - low)
            sums += (multiplier if own is None else own[rows]) * scaled
    return sums


def order_fast(hosts: HostColumns, rows: Any, sums: Any, count: int) -> list[str]:
    """As `order`, without sorting what is not asked for."""
    import numpy as np

    options = CONF.scheduler
    wanted = min(max(count, options.host_subset_size), len(rows))
    worst = np.partition(sums, len(sums) - wanted)[len(sums) - wanted]  # the sum of the last one wanted
    better, equal = np.flatnonzero(sums > worst), np.flatnonzero(sums == worst)
    places = wanted - len(better)
    if options.shuffle_best_same_weighed_hosts:
        better = np.random.default_rng().permutation(better)
        equal = equal[random.sample(range(len(equal)), places)]
    ranked = np.concatenate((better[np.argsort(-sums[better], kind="stable")], equal[:places]))
    return draw([hosts.names[row] for row in rows[ranked].tolist()])[:count]
