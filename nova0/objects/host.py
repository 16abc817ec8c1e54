"""What a host says of itself, and of each guest it holds."""

from __future__ import annotations

import msgspec

from nova0.objects.states import PowerState


class HostState(msgspec.Struct, kw_only=True):
    """A compute host's capacity and nature; what is used comes from the store's claims, not from here."""

    host: str
    hypervisor_hostname: str
    hypervisor_type: str  # QEMU, fake
    hypervisor_version: int  # 7002022 = 7.2.22
    virt_type: str  # kvm, qemu, fake
    arch: str  # x86_64
    vcpus: int
    memory_mb: int
    disk_gb: int
    reserved_memory_mb: int = 0
    reserved_disk_gb: int = 0
    reserved_vcpus: int = 0
    cpu_allocation_ratio: float | None = None  # promised for each there is; None: the controller's
    ram_allocation_ratio: float | None = None
    disk_allocation_ratio: float | None = None
    traits: list[str] = []  # HW_..., COMPUTE_..., CUSTOM_...
    resources: dict[str, int] = {}  # custom resource classes: how many there are
    numa: list[dict[str, int]] = []  # a {"cpus", "memory_mb"} for each cell
    address: str = ""  # its own address as peers see it
    tunnel_address: str = ""
    cpu_info: dict[str, object] = {}
    supported: list[tuple[str, str, str]] = []  # (arch, hypervisor type, vm mode)
    disk_free_gb: int = 0
    memory_free_mb: int = 0
    running: int = 0
    uptime: str = ""
    metrics: dict[str, float] = {}
    notes: list[str] = []  # e.g. "KVM does not answer; emulating"


class GuestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A guest as found on a host."""

    uuid: str
    generation: int  # highest this host was told of; 0 when the guest is unknown to its records
    power_state: PowerState
    started_at: float | None = None  # wall clock, for show
    host: str = ""
    leased: bool = False  # was started under a granted leave
