"""Filters, then costs: each cost function times its weight, summed; the smallest sum wins."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from nova0.config import CONF
from nova0.controller.scheduler.driver import forced
from nova0.controller.scheduler.drivers.filter_scheduler import FilterScheduler, no_valid_host
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.loading import short, value_of
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.selection import Trace

CostFunction = Callable[[HostView, Request], float]


def compute_fill_first_cost_fn(host: HostView, request: Request) -> float:
    """Free memory in MiB: with weight -1 the emptiest host costs least (spread), with 1 the fullest (fill up)."""
    return float(host.free_memory_mb)


def noop_cost_fn(host: HostView, request: Request) -> float:
    """The same for every host."""
    return 1.0


def retry_host_cost_fn(host: HostView, request: Request) -> float:
    """1 for a host that failed this request before."""
    return float(host.host in request.tried)


BUILT_IN = {f.__name__: f for f in (compute_fill_first_cost_fn, noop_cost_fn, retry_host_cost_fn)}


def cost_function(name: str) -> CostFunction:
    """By name, or package.module:function or /path/of/a/file.py:function of one's own. Raises ValueError."""
    if short(name) in BUILT_IN:
        return BUILT_IN[short(name)]
    try:
        return value_of(name)  # type: ignore[no-any-return]
    except ValueError as error:
        raise ValueError(f"{error}; least_cost_functions built in are {', '.join(BUILT_IN)}") from error


class LeastCostScheduler(FilterScheduler):
    """`least_cost_functions` names the functions (one may stand twice and then counts twice); the weight of
    each is the option NAME_weight, 1 where there is none."""

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.costs = [(short(name), cost_function(name)) for name in CONF.scheduler.least_cost_functions]

    def _candidates(self, views: list[HostView], request: Request) -> list[HostView]:
        """Hosts tried before stay: the cost of trying them again is a cost function's business."""
        if request.forced_host or request.wanted_host:
            return super()._candidates(views, request)
        return list(views)

    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        if named := forced(request, self.world.book.views()):
            return named
        trace = Trace()
        left = self._candidates(self.world.book.views(), request)
        left = self.filter_hosts(left, request, trace, named=False)
        if not left:
            raise no_valid_host(request, trace)
        return self.order(left, request, count)

    def order(self, hosts: list[HostView], request: Request, count: int) -> list[str]:
        sums = self.sums(hosts, request)
        ranked = sorted(hosts, key=lambda host: (sums[host.host], random.random()))  # noqa: S311
        return [host.host for host in ranked][:count]

    def sums(self, hosts: list[HostView], request: Request, trace: Trace | None = None) -> dict[str, float]:
        total = dict.fromkeys((host.host for host in hosts), 0.0)
        for name, function in self.costs:
            weight = float(getattr(CONF.scheduler, f"{name}_weight", 1.0))
            for host in hosts:
                cost = function(host, request)
                total[host.host] += weight * cost
                if trace is not None:  # a function that stands twice is shown once, with what both gave
                    of_host = trace.weights.setdefault(host.host, {})
                    before = of_host.get(name, (0.0, 0.0, 0.0))[2]
                    of_host[name] = (cost, cost, before + weight * cost)
        return total

    def explain(self, request: Request) -> Trace:
        trace = Trace(smallest_wins=True)
        left = self._candidates(self.world.book.views(), request)
        left = self.filter_hosts(left, request, trace, named=True)
        trace.sums = self.sums(left, request, trace)
        return trace
