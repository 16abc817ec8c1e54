"""All hosts side by side, as arrays: what filters and weighers ask of ten thousand hosts at once.

Rows follow `names`. The arrays are kept up to date by `HostBook`; whoever reads them must not change them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from nova0.controller.scheduler.host_view import HostView

MOST_KEPT = 64  # answers of filters, one array of booleans each
NUMBERS = (
    "free_vcpus",
    "free_memory_mb",
    "free_disk_gb",
    "free_pci",
    "servers",
    "heavy",
    "failed_builds",
    "hypervisor_version",
)


class HostColumns:
    able: Any  # enabled and alive
    free_vcpus: Any
    free_memory_mb: Any
    free_disk_gb: Any
    free_pci: Any
    servers: Any  # how many
    heavy: Any  # how many of them are being built or moved
    failed_builds: Any
    hypervisor_version: Any

    def __init__(self, views: list[HostView], place: dict[str, str]) -> None:
        self.views = views
        self.names = [view.host for view in views]
        self.row = {name: at for at, name in enumerate(self.names)}
        self._place = place  # server -> host, the book's own
        self.able = np.zeros(len(views), dtype=bool)
        for column in NUMBERS:
            setattr(self, column, np.zeros(len(views)))
        self._kept: OrderedDict[Hashable, tuple[Any, set[int]]] = OrderedDict()
        self._factors: dict[str, Any] = {}
        for view in views:
            self.update(view)

    def __len__(self) -> int:
        return len(self.names)

    def update(self, view: HostView) -> None:
        """Servers or life of a host changed."""
        at = self.row[view.host]
        self.able[at] = view.enabled and view.alive
        self.free_vcpus[at] = view.free_vcpus
        self.free_memory_mb[at] = view.free_memory_mb
        self.free_disk_gb[at] = view.free_disk_gb
        self.free_pci[at] = view.free_pci
        self.servers[at] = len(view.servers)
        self.heavy[at] = len(view.heavy)
        self.failed_builds[at] = view.failed_builds
        self.hypervisor_version[at] = view.state.hypervisor_version

    def replace(self, view: HostView) -> None:
        """A host was read anew: what it reports or its aggregates may have changed."""
        at = self.row[view.host]
        if view.metadata != self.views[at].metadata:
            self._factors.clear()
        self.views[at] = view
        self.update(view)
        for _, stale in self._kept.values():
            stale.add(at)

    def all(self) -> Any:
        """A mask of every host."""
        return np.ones(len(self.names), dtype=bool)

    def named(self, hosts: Iterable[str]) -> Any:
        """A mask of these hosts."""
        mask = np.zeros(len(self.names), dtype=bool)
        mask[[self.row[host] for host in hosts if host in self.row]] = True
        return mask

    def holding(self, servers: Iterable[str]) -> Any:
        """A mask of the hosts that hold any of these servers."""
        return self.named(self._place[uuid] for uuid in servers if uuid in self._place)

    def members(self, servers: Iterable[str]) -> Any:
        """How many of these servers each host holds."""
        counts = np.zeros(len(self.names))
        for uuid in servers:
            at = self.row.get(self._place.get(uuid, ""))
            if at is not None:
                counts[at] += 1
        return counts

    def kept(self, name: Hashable, passes: Callable[[HostView], bool]) -> Any:
        """The answers under this name: from before where they still hold, else asked now."""
        known = self._kept.get(name)
        if known is None:
            answers = np.fromiter((passes(view) for view in self.views), bool, len(self.views))
            known = self._kept[name] = (answers, set())
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(name)
            while known[1]:
                at = known[1].pop()
                known[0][at] = passes(self.views[at])
        return known[0]

    def factors(self, option: str, default: float) -> Any | None:
        """Multipliers of a weigher where aggregates set their own; None where none does."""
        known = self._factors.get(option, self)
        if known is self:
            known = None
            if any(option in view.metadata for view in self.views):
                from nova0.controller.scheduler.aggregate_values import smallest

                known = np.array([smallest(view, option, default) for view in self.views])
            self._factors[option] = known
        return known
