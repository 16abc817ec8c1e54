"""One host as the scheduler sees it: capacity, what claims have taken, aggregates, life."""

from __future__ import annotations

from dataclasses import dataclass, field

from nova0.objects.flavor import Flavor
from nova0.objects.host import HostState


@dataclass(kw_only=True)
class HostView:
    """Free values have ratios and reservations applied; they may be negative on an overfull host."""

    host: str
    state: HostState
    vcpus_used: int = 0
    memory_mb_used: int = 0
    disk_gb_used: int = 0
    servers: int = 0
    enabled: bool = True
    alive: bool = True
    zone: str = "nova"
    aggregate_metadata: dict[str, set[str]] = field(default_factory=dict)
    server_uuids: set[str] = field(default_factory=set)
    limits: dict[str, float] = field(default_factory=dict)

    @property
    def free_vcpus(self) -> float:
        return self.limits["vcpus"] - self.vcpus_used

    @property
    def free_memory_mb(self) -> float:
        return self.limits["memory_mb"] - self.memory_mb_used

    @property
    def free_disk_gb(self) -> float:
        return self.limits["disk_gb"] - self.disk_gb_used

    def consume(self, uuid: str, flavor: Flavor) -> None:
        """Deduct a server that was just placed here, so that the next pick sees it."""
        self.vcpus_used += flavor.vcpus
        self.memory_mb_used += flavor.memory_mb
        self.disk_gb_used += flavor.disk_gb
        self.servers += 1
        self.server_uuids.add(uuid)
