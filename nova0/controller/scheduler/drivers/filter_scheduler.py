"""Filters, then weights: the policy that nova0 uses unless told otherwise."""

from __future__ import annotations

from typing import Any

from nova0.config import CONF
from nova0.controller.scheduler import selection
from nova0.controller.scheduler.driver import CLAIM, Driver, World, forced
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.loading import built_in, by_path, load, short
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.selection import Trace, Weighing
from nova0.controller.scheduler.weigher import Weigher
from nova0.objects.errors import NoValidHost

MANY = 100  # hosts from which on working on all at once pays

FILTERS = "nova0.controller.scheduler.filters"
WEIGHTS = "nova0.controller.scheduler.weights"


class FilterScheduler(Driver):
    """Raises ValueError at construction for a filter or weigher that does not load."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        options = CONF.scheduler
        mine = {short(path): by_path(path) for path in options.available_filters if not path.startswith("nova.")}
        self.filters: list[tuple[str, Filter]] = [
            (short(name), load(name, FILTERS, Filter, mine)()) for name in options.enabled_filters
        ]
        enabled = [filter_ for _, filter_ in self.filters]  # the rest of what the claim asks comes after them
        self.filters += [(name, f) for name, f in CLAIM if not any(isinstance(own, type(f)) for own in enabled)]
        self.weighers = [
            Weighing(short(name), load(name, WEIGHTS, Weigher)()) for name in _named(options.weight_classes)
        ]

    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        if topic != "compute" or not isinstance(request, Request):
            raise NoValidHost(f"{type(self).__name__} places servers only: set volume_scheduler_driver for {topic}")
        book, trace = self.world.book, Trace()
        if request.forced_host and (named := forced(request, book.views())):
            return named
        columns = book.columns(at_least=MANY)
        if columns is None:
            left = self.filter_hosts(self._candidates(book.views(), request), request, trace, named=False)
            best = self.order(left, request, count)
        else:
            chosen = columns.named([request.wanted_host]) if request.wanted_host else columns.all()
            if request.tried:
                chosen &= ~columns.named(request.tried)
            mask = selection.filter_fast(columns, chosen, request, self.filters, trace)
            rows = mask.nonzero()[0]
            best = self.order_all(columns, rows, request, count) if len(rows) else []
        if not best:
            raise no_valid_host(request, trace)
        return best

    def filter_hosts(self, hosts: list[HostView], request: Request, trace: Trace, *, named: bool) -> list[HostView]:
        return selection.filter_plain(hosts, request, self.filters, trace, named=named)

    def order(self, hosts: list[HostView], request: Request, count: int) -> list[str]:
        if not hosts:
            return []
        sums = selection.weigh_plain(hosts, request, self.weighers)
        return selection.order([host.host for host in hosts], sums, count)

    def order_all(self, columns: Any, rows: Any, request: Request, count: int) -> list[str]:
        sums = selection.weigh_fast(columns, rows, request, self.weighers)
        return selection.order_fast(columns, rows, sums, count)

    def explain(self, request: Request) -> Trace:
        """Every filter and weigher with all its figures; chooses nothing and consumes nothing."""
        trace = Trace()
        left = self.filter_hosts(self._candidates(self.world.book.views(), request), request, trace, named=True)
        if left:
            selection.weigh_plain(left, request, self.weighers, trace)
        return trace

    def _candidates(self, views: list[HostView], request: Request) -> list[HostView]:
        wanted = request.forced_host or request.wanted_host
        if wanted:
            views = [view for view in views if view.host == wanted]
        return [view for view in views if view.host not in request.tried]


def no_valid_host(request: Request, trace: Trace) -> NoValidHost:
    tried = f" (not again: {', '.join(request.tried)})" if request.tried else ""
    wanted = f" ({request.wanted_host} was asked for)" if request.wanted_host else ""
    return NoValidHost(
        f"No valid host was found{wanted}. {trace.left()}{tried}", trace=trace.whole(), request_id=request.uuid
    )


def _named(names: list[str]) -> list[str]:
    """`all` stands for every built-in weigher, so does the field's own path of its list of them."""
    chosen: list[str] = []
    for name in names:
        if name == "all" or name.endswith("all_weighers"):
            chosen += [n for n, c in sorted(built_in(WEIGHTS).items()) if issubclass(c, Weigher)]
        else:
            chosen.append(name)
    return list(dict.fromkeys(chosen))
