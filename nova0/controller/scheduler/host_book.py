"""What the scheduler believes of every host: views in memory, read from the store a host at a time as they
change, and adjusted at once as servers are placed and go. The store's claims have the last word.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from oslo_config import cfg

from nova0.controller.compute import host_changes, host_records
from nova0.controller.db.compute_tables import AggregateRow, ClaimRow, HostRow, InstanceRow
from nova0.controller.db.store import Store
from nova0.controller.scheduler.aggregate_values import smallest
from nova0.controller.scheduler.host_view import HostView, Taken
from nova0.objects.host import HostState

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns

LOG = logging.getLogger(__name__)
ALIVE_S = 0.5  # who is alive is asked again after so long, or when the mesh says that something changed
AT_ONCE = 500  # hosts read in one query
FEW = 100  # hosts: what these report is read before the next choice
REPORTS_S = 0.5  # what one of more reports is read with that of others, not later than this


class Lives(Protocol):
    """What the book needs to know of the mesh."""

    def alive(self) -> set[str]: ...

    @property
    def changes(self) -> int: ...


class HostBook:
    """`detailed`: servers are remembered with flavor and image, which some filters and weighers ask for.
    `period_s`: what changed in the store is read only so often; our own placements count at once."""

    def __init__(
        self,
        store: Store,
        lives: Lives,
        options: cfg.ConfigOpts.GroupAttr,
        *,
        detailed: bool = False,
        period_s: float = 0,
    ) -> None:
        self._store, self._lives, self._options, self._detailed = store, lives, options, detailed
        self._period_s, self._read_at, self.reads = period_s, -1e9, 0
        self._reading = 0
        self._numpy = True
        host_changes.listen(self)
        self._views: dict[str, HostView] = {}
        self._place: dict[str, str] = {}  # server -> host
        self._placed: dict[str, tuple[str, Taken]] = {}  # chosen here, not yet seen in the store
        self._failed: Counter[str] = Counter()
        self._noted: deque[str | None] = deque([None])  # what changed, as told by any thread
        self._reports: deque[str] = deque()  # who described itself again
        self._reports_at = -1e9
        self._lost: deque[str | None] = deque()  # where a claim was refused: read at once, whatever the period
        self._columns: HostColumns | None = None
        self._alive: set[str] = set()
        self._asked_alive = (-1, 0.0)

    # what changes

    def stale(self, host: str | None = None) -> None:
        """This host (None: any) is read from the store before the next choice. From any thread."""
        self._noted.append(host)

    def reported(self, host: str) -> None:
        """A known host described itself again: seen by the next choice, in large clouds within REPORTS_S. From any
        thread. Ten thousand hosts report a hundred and more times a second, which would be a read for each choice."""
        self._reports.append(host)

    def refused(self, host: str, uuid: str) -> None:
        """The store refused what was consumed here: the host is not as it was believed. From any thread."""
        self._placed.pop(uuid, None)
        self._lost.append(host)

    def consume(self, host: str, uuid: str, taken: Taken) -> None:
        """A server was placed on `host`: the next choice sees it."""
        view = self._views.get(host)
        if view is not None:
            self._placed[uuid] = (host, taken)
            self._hold(view, uuid, taken)

    def release(self, uuid: str) -> None:
        """A server gave back what it held, or its claim was refused."""
        self._placed.pop(uuid, None)
        view = self._views.get(self._place.pop(uuid, ""))
        if view is not None:
            view.release(uuid)
            self._updated(view)
            self._read_again(view.host)

    def built(self, uuid: str) -> None:
        """A build ended well: its host is no longer busy with it, and has none of its failures left."""
        view = self._views.get(self._place.get(uuid, ""))
        if view is not None:
            self._failed.pop(view.host, None)
            view.failed_builds = 0
            view.heavy.discard(uuid)
            self._updated(view)
            self._read_again(view.host)

    def failed(self, host: str) -> None:
        """A build failed there. Remembered until one ends well, or this controller restarts."""
        self._failed[host] += 1
        view = self._views.get(host)
        if view is not None:
            view.failed_builds = self._failed[host]
            self._updated(view)

    # what is asked

    def views(self) -> list[HostView]:
        """Every host as of now."""
        self._sync()
        return list(self._views.values())

    def knows(self, host: str) -> bool:
        """Whether there is such a host; also for who never looked at them."""
        if host not in self._views:
            self._sync()
        return host in self._views

    def view(self, host: str) -> HostView:
        """Raises KeyError for a host that `knows` denies."""
        return self._views[host]

    def columns(self, at_least: int = 0) -> HostColumns | None:
        """The same side by side; None with fewer hosts than `at_least`, or where numpy is not installed."""
        self._sync()
        if len(self._views) < at_least or not self._numpy:
            return None
        if self._columns is None:
            try:  # loaded late: only large clouds pay for it
                from nova0.controller.scheduler.host_columns import HostColumns
            except ImportError:
                self._numpy = False
                LOG.warning("%d hosts, and no numpy: choosing takes longer; pip install nova0[large]", len(self._views))
                return None
            self._columns = HostColumns(list(self._views.values()), self._place)
        return self._columns

    # reading

    def _sync(self) -> None:
        if self._reports and (len(self._views) < FEW or time.monotonic() - self._reports_at >= REPORTS_S):
            self._reports_at = time.monotonic()
            self._noted.extend({self._reports.popleft() for _ in range(len(self._reports))})
        if self._noted and time.monotonic() - self._read_at >= self._period_s:
            self._read_at = time.monotonic()
            self._refresh(self._noted)
        if self._lost:
            self._refresh(self._lost)
        self._look_alive()

    def _refresh(self, noted: deque[str | None]) -> None:
        names = {noted.popleft() for _ in range(len(noted))}
        whole = None in names
        self._reading += 1
        try:
            views = self._store.read(lambda: self._read(None if whole else {name for name in names if name}))
        except BaseException:
            noted.extend(names)
            raise
        finally:
            self._reading -= 1
        self.reads += 1
        if whole:
            self._views, self._columns = {}, None
            self._place.clear()
        for name in names - {view.host for view in views}:
            if name is not None:
                self._drop(name)
        for view in views:
            self._take(view)

    def _drop(self, host: str) -> None:
        """It is no more, or what the store has of it cannot be read: nothing is placed there."""
        known = self._views.pop(host, None)
        if known is not None:
            self._columns = None
            for uuid in known.servers:
                self._place.pop(uuid, None)

    def _read_again(self, host: str) -> None:
        """What is being read just now may be older than what we were told."""
        if self._reading:
            self._noted.append(host)

    def _take(self, view: HostView) -> None:
        """A host as the store has it, and what was placed there since."""
        known = self._views.get(view.host)
        for uuid in known.servers if known else ():
            self._place.pop(uuid, None)
        for uuid in view.servers:
            self._place[uuid] = view.host
            self._placed.pop(uuid, None)
        view.alive = view.host in self._alive
        view.failed_builds = self._failed.get(view.host, 0)
        self._views[view.host] = view
        for uuid, (host, taken) in list(self._placed.items()):
            if host == view.host:
                view.consume(uuid, taken)
                self._place[uuid] = host
        if known is None:
            self._columns = None
        elif self._columns is not None:
            self._columns.replace(view)

    def _look_alive(self) -> None:
        changes, asked = self._asked_alive
        if changes == self._lives.changes and time.monotonic() - asked < ALIVE_S:
            return
        self._asked_alive = (self._lives.changes, time.monotonic())
        alive = self._lives.alive()
        for host in alive ^ self._alive:
            view = self._views.get(host)
            if view is not None:
                view.alive = host in alive
                self._updated(view)
        self._alive = alive
        for view in self._views.values():
            if view.alive != (view.host in alive):  # read since the last look
                view.alive = not view.alive
                self._updated(view)

    def _hold(self, view: HostView, uuid: str, taken: Taken) -> None:
        view.consume(uuid, taken)
        self._place[uuid] = view.host
        self._updated(view)

    def _updated(self, view: HostView) -> None:
        if self._columns is not None:
            self._columns.update(view)

    def _read(self, names: set[str] | None) -> list[HostView]:
        """On the store's thread: hosts by name (None: all), with their claims and aggregates."""
        chosen = [None] if names is None else [list(names)[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)]
        aggregates = list(AggregateRow.select())
        # an aggregate may give that weigher a multiplier where the option has none
        detailed = self._detailed or any("image_props_weight_multiplier" in one.metadata for one in aggregates)
        views = []
        for some in chosen:
            rows = HostRow.select() if some is None else HostRow.select().where(HostRow.host.in_(some))
            taken, heavy = self._servers(some, detailed)
            for row in rows:
                state = host_records.state_of(row)
                if state is not None:
                    servers, busy = taken.get(row.host, {}), heavy.get(row.host, set())
                    views.append(self._view(row, state, aggregates, servers, busy))
        return views

    def _servers(
        self, hosts: list[str] | None, detailed: bool
    ) -> tuple[dict[str, dict[str, Taken]], dict[str, set[str]]]:
        claims = ClaimRow.select()
        busy = InstanceRow.select(InstanceRow.uuid, InstanceRow.host).where(InstanceRow.task_state.is_null(False))
        more: dict[str, dict[str, object]] = {}
        if hosts is not None:
            claims = claims.where(ClaimRow.host.in_(hosts))
            busy = busy.where(InstanceRow.host.in_(hosts))
        if detailed:
            rows = InstanceRow.select(InstanceRow.uuid, InstanceRow.flavor, InstanceRow.image)
            rows = rows.where(InstanceRow.host.is_null(False) if hosts is None else InstanceRow.host.in_(hosts))
            for row in rows:
                flavor_id = str(row.flavor.get("flavor_id", ""))  # of a record that cannot be read: as of no flavor
                image = (row.image or {}).get("properties", {})
                more[row.uuid] = {"flavor_id": flavor_id, "image": image}
        taken: dict[str, dict[str, Taken]] = {}
        for claim in claims:
            held = Taken(
                vcpus=claim.vcpus,
                memory_mb=claim.memory_mb,
                disk_gb=claim.disk_gb,
                resources=claim.resources or {},
                **more.get(claim.instance_uuid, {}),  # type: ignore[arg-type]
            )
            taken.setdefault(claim.host, {})[claim.instance_uuid] = held
        heavy: dict[str, set[str]] = {}
        for row in busy:
            heavy.setdefault(str(row.host), set()).add(row.uuid)
        return taken, heavy

    def _view(
        self,
        row: HostRow,
        state: HostState,
        aggregates: Iterable[AggregateRow],
        servers: dict[str, Taken],
        heavy: set[str],
    ) -> HostView:
        options = self._options
        metadata: dict[str, set[str]] = {}
        for aggregate in aggregates:
            if row.host in aggregate.hosts:
                for key, value in aggregate.metadata.items():
                    metadata.setdefault(key, set()).add(value)
        zones = metadata.get("availability_zone")
        used: Counter[str] = Counter()
        for taken in servers.values():
            used.update(taken.resources)
        view = HostView(
            host=row.host,
            state=state,
            limits={},
            enabled=not (row.disabled or row.forced_down),
            zone=min(zones) if zones else options.default_availability_zone,
            metadata=metadata,
            vcpus_used=row.vcpus_used,
            memory_mb_used=row.memory_mb_used,
            disk_gb_used=row.disk_gb_used,
            servers=servers,
            heavy=heavy & servers.keys(),
            resources_used=used,
        )
        view.limits = {
            "vcpus": (row.vcpus - state.reserved_vcpus) * self._ratio(view, "cpu"),
            "memory_mb": (row.memory_mb - state.reserved_memory_mb) * self._ratio(view, "ram"),
            "disk_gb": (row.disk_gb - state.reserved_disk_gb) * self._ratio(view, "disk"),
        }
        return view

    def _ratio(self, view: HostView, kind: str) -> float:
        """By an aggregate, else by the host's own configuration, else by ours."""
        option = f"{kind}_allocation_ratio"
        own = getattr(view.state, option)
        return smallest(view, option, own if own is not None else getattr(self._options, option))
