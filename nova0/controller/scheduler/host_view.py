"""One host as the scheduler sees it: capacity, what claims have taken, aggregates, life."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nova0.objects.host import HostState

PCI = "CUSTOM_PCI_"  # hosts count devices as a custom resource class, one for each alias


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one server takes on a host. `resources` are custom ones by class; `image` its properties."""

    vcpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    resources: dict[str, int] = field(default_factory=dict)
    flavor_id: str = ""
    image: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class HostView:
    """Free values have ratios and reservations applied; they may be negative on an overfull host.

    `metadata` maps each key of the host's aggregates to the values they give it. `heavy` are servers being
    built or moved here, `servers` all that hold a claim."""

    host: str
    state: HostState
    limits: dict[str, float]
    enabled: bool = True
    alive: bool = True
    zone: str = "nova"
    cell: str = ""
    metadata: dict[str, set[str]] = field(default_factory=dict)
    vcpus_used: int = 0
    memory_mb_used: int = 0
    disk_gb_used: int = 0
    servers: dict[str, Taken] = field(default_factory=dict)
    heavy: set[str] = field(default_factory=set)
    failed_builds: int = 0
    resources_used: Counter[str] = field(default_factory=Counter)

    @property
    def free_vcpus(self) -> float:
        return self.limits["vcpus"] - self.vcpus_used

    @property
    def free_memory_mb(self) -> float:
        return self.limits["memory_mb"] - self.memory_mb_used

    @property
    def free_disk_gb(self) -> float:
        return self.limits["disk_gb"] - self.disk_gb_used

    @property
    def free_pci(self) -> int:
        """PCI devices of any kind that no server holds."""
        have = sum(number for name, number in self.state.resources.items() if name.startswith(PCI))
        return have - sum(number for name, number in self.resources_used.items() if name.startswith(PCI))

    def free(self, resource_class: str) -> int:
        """What is left of a custom resource class; 0 of one this host does not have."""
        return self.state.resources.get(resource_class, 0) - self.resources_used[resource_class]

    def consume(self, uuid: str, taken: Taken) -> None:
        """Deduct a server that was just placed here, so that the next pick sees it; it is under construction."""
        if uuid in self.servers:
            return
        self.vcpus_used += taken.vcpus
        self.memory_mb_used += taken.memory_mb
        self.disk_gb_used += taken.disk_gb
        self.resources_used.update(taken.resources)
        self.servers[uuid] = taken
        self.heavy.add(uuid)

    def release(self, uuid: str) -> None:
        """Give back what a server took; one that is not here: nothing."""
        taken = self.servers.pop(uuid, None)
        self.heavy.discard(uuid)
        if taken is not None:
            self.vcpus_used -= taken.vcpus
            self.memory_mb_used -= taken.memory_mb
            self.disk_gb_used -= taken.disk_gb
            self.resources_used.subtract(taken.resources)

    def attribute(self, path: str) -> Any:
        """A value by the field's name (`free_ram_mb`, `capabilities.cpu_info.vendor`, `metrics.x`), as
        ComputeCapabilitiesFilter and JsonFilter name them; None for what there is not."""
        name, _, rest = path.partition(".")
        if name == "capabilities":
            return self.attribute(rest) if rest else None
        found = _FIELD[name](self) if name in _FIELD else getattr(self.state, name, None)
        for part in rest.split(".") if rest else ():
            found = found.get(part) if isinstance(found, dict) else None
        return found


_FIELD = {
    "host": lambda view: view.host,
    "free_ram_mb": lambda view: view.free_memory_mb,
    "total_usable_ram_mb": lambda view: view.state.memory_mb,
    "free_disk_mb": lambda view: view.free_disk_gb * 1024,
    "total_usable_disk_gb": lambda view: view.state.disk_gb,
    "disk_mb_used": lambda view: view.disk_gb_used * 1024,
    "vcpus_total": lambda view: view.state.vcpus,
    "vcpus_free": lambda view: view.free_vcpus,
    "vcpus_used": lambda view: view.vcpus_used,
    "num_instances": lambda view: len(view.servers),
    "num_io_ops": lambda view: len(view.heavy),
    "failed_builds": lambda view: view.failed_builds,
    "availability_zone": lambda view: view.zone,
    "host_ip": lambda view: view.state.address,
    "service_enabled": lambda view: view.enabled,
}
