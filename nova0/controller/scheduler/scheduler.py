"""The scheduler as the conductor knows it: the policy in force, over the book of hosts.

Touches no socket; the store is read only to refresh the book, and its conditional claim
(`conductor/claims.py`) has the last word, so a stale view costs another try and never a host promised twice.
"""

from __future__ import annotations

import time

from msgspec import structs

from nova0.config import CONF
from nova0.controller.compute.host_life import HostLives
from nova0.controller.db.compute_tables import HostRow
from nova0.controller.db.store import Store
from nova0.controller.scheduler import options  # noqa: F401  (declares what is read here)
from nova0.controller.scheduler.driver import World, dispatch
from nova0.controller.scheduler.host_book import HostBook
from nova0.controller.scheduler.host_view import HostView, Taken
from nova0.controller.scheduler.policies import policy, policy_class
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.selection import Trace
from nova0.objects.errors import NotSupported, NoValidHost

ALTERNATES = 2  # hosts named besides the best one, for the tries that may follow


class Scheduler:
    """One per controller. Raises ValueError at construction for a name in its options that does not load."""

    def __init__(self, store: Store, lives: HostLives) -> None:
        self._store, self._lives, chosen = store, lives, CONF.scheduler
        caches = getattr(policy_class(chosen.scheduler_driver), "caches", False)
        asks_more = any("TypeAffinityFilter" in name for name in chosen.enabled_filters)
        self.book = HostBook(
            store,
            lives,
            chosen,
            detailed=asks_more or bool(chosen.image_props_weight_multiplier),
            period_s=chosen.caching_period_s if caches else 0,
        )
        self.driver = policy(chosen.scheduler_driver, World(self.book))
        self._started = time.monotonic()

    def still_gathering(self) -> bool:
        """True shortly after our own start, while a host in the store has not been heard of yet."""
        if time.monotonic() - self._started > CONF.scheduler.gathering_s:
            return False
        known = self._store.read(lambda: {row.host for row in HostRow.select(HostRow.host)})
        heard = {life.host for life in self._lives.all() if life.status != "unknown"}
        return not known or bool(known - heard)

    def select(self, request: Request, method: str = "run_instance") -> list[str]:
        """Hosts in order of preference, best first: one, and alternates. Raises NoValidHost saying what each
        filter left (`trace` in its data: also those that kept all)."""
        chosen = dispatch(self.driver, method, request, count=1 + ALTERNATES)
        if not chosen or not self.book.knows(chosen[0]):  # a policy of one's own may say anything
            said = f"named {chosen[0]}, and there is no such host" if chosen else "named none"
            raise NoValidHost(f"No valid host was found. {type(self.driver).__name__} {said}")
        return chosen

    def select_many(self, requests: list[Request], at_least: int) -> list[str]:
        """Hosts for the first of these requests, as one decision: each sees those before it, and all are
        consumed. Where there is room for fewer than `at_least` none is. Raises NoValidHost saying for how
        many there was room."""
        placed: list[str] = []
        together: set[str] = set()  # where members of the requests' group went
        try:
            for request in requests:
                if request.group is not None and together:
                    group = structs.replace(request.group, placed_on=request.group.placed_on | together)
                    request = structs.replace(request, group=group)
                host = self.select(request)[0]
                self.book.consume(host, request.uuid, request.takes)
                placed.append(host)
                together.add(host)
        except NoValidHost as error:
            if placed and len(placed) >= at_least:
                return placed
            for request in requests[: len(placed)]:
                self.book.release(request.uuid)
            if len(requests) > 1:
                raise NoValidHost(
                    f"{error.message} (room for {len(placed)} of {len(requests)})", **error.data
                ) from error
            raise
        return placed

    def explain(self, request: Request) -> Trace:
        """How a choice would come about. Raises NotSupported for a policy without filters."""
        explain = getattr(self.driver, "explain", None)
        if explain is None:
            raise NotSupported(f"{type(self.driver).__name__} has no filters and weights to explain")
        trace: Trace = explain(request)
        return trace

    def consume(self, host: str, uuid: str, taken: Taken) -> None:
        self.book.consume(host, uuid, taken)

    def refused(self, host: str, uuid: str) -> None:
        """The store refused the claim: the host is not as it was believed. From any thread."""
        self.book.refused(host, uuid)

    def release(self, uuid: str) -> None:
        """A server gave back what it held."""
        self.book.release(uuid)

    def built(self, uuid: str) -> None:
        """A build ended well."""
        self.book.built(uuid)

    def failed(self, host: str) -> None:
        """A build failed on `host`."""
        self.book.failed(host)

    def stale(self, host: str | None = None) -> None:
        """What is known of this host (None: of any) is read anew before the next choice."""
        self.book.stale(host)

    def reported(self, host: str) -> None:
        """A known host described itself again. From any thread."""
        self.book.reported(host)

    def views(self) -> list[HostView]:
        """All hosts with their life as of now."""
        return self.book.views()

    def limits(self, host: str) -> dict[str, float]:
        """What may be claimed on a host in all, ratios and reservations applied."""
        return self.book.view(host).limits

    def zone(self, host: str) -> str:
        return self.book.view(host).zone
