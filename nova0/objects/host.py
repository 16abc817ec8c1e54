"""What a host says of itself, and of each guest it holds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from nova0.objects.fields import (
    AddressOrNone,
    Count,
    Described,
    Generation,
    HostName,
    Instant,
    Line,
    Measure,
    Name,
    Ratio,
    Size,
    Uuid,
    Word,
    one_machines,
)
from nova0.objects.states import PowerState

MOST = 1024  # entries of each list and mapping in a report
MOST_NOTES = 64
IN_DOUBT = "are kept in doubt"  # in the note of a host that keeps guests which the store disowns


class HostState(msgspec.Struct, kw_only=True):
    """A compute host's capacity and nature; what is used comes from the store's claims, not from here.

    Decoding refuses what no machine has (numbers that are negative, not finite or past every machine, more entries
    than MOST, texts with control characters): it is kept, counted with and shown to others."""

    host: HostName
    hypervisor_hostname: HostName
    hypervisor_type: Word  # QEMU, fake
    hypervisor_version: Count  # 7002022 = 7.2.22
    virt_type: Word  # kvm, qemu, fake
    arch: Word  # x86_64
    vcpus: Count
    memory_mb: Size
    disk_gb: Size
    reserved_memory_mb: Size = 0
    reserved_disk_gb: Size = 0
    reserved_vcpus: Count = 0
    cpu_allocation_ratio: Ratio | None = None  # promised for each there is; None: the controller's
    ram_allocation_ratio: Ratio | None = None
    disk_allocation_ratio: Ratio | None = None
    traits: Annotated[list[Word], Meta(max_length=MOST)] = []  # HW_..., COMPUTE_..., CUSTOM_...
    resources: Annotated[dict[Word, Count], Meta(max_length=MOST)] = {}  # custom resource classes: how many there are
    # a {"cpus", "memory_mb"} for each cell
    numa: Annotated[list[Annotated[dict[Word, Size], Meta(max_length=16)]], Meta(max_length=MOST)] = []
    address: AddressOrNone = ""  # its own address as peers see it
    tunnel_address: AddressOrNone = ""  # where it takes VXLAN: one machine's address, or ""
    cpu_info: Described = {}
    # (arch, hypervisor type, vm mode)
    supported: Annotated[list[tuple[Word, Word, Word]], Meta(max_length=MOST)] = []
    disk_free_gb: Size = 0
    memory_free_mb: Size = 0
    running: Count = 0
    uptime: Name = ""
    metrics: Annotated[dict[Word, Measure], Meta(max_length=MOST)] = {}
    notes: Annotated[list[Line], Meta(max_length=MOST_NOTES)] = []  # e.g. "KVM does not answer; emulating"

    def __post_init__(self) -> None:
        if self.tunnel_address and not one_machines(self.tunnel_address):
            raise ValueError(f"tunnel_address: {self.tunnel_address!r} is not the address of one machine")


class GuestInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A guest as found on a host."""

    uuid: Uuid
    generation: Generation  # highest this host was told of; 0 when the guest is unknown to its records
    power_state: PowerState
    started_at: Instant | None = None  # wall clock, for show
    host: Name = ""
    leased: bool = False  # was started under a granted leave


class Disowned(msgspec.Struct, frozen=True, kw_only=True):
    """The store's word on a guest that a host told of and that it does not place there."""

    uuid: Uuid
    reason: Word  # deleted, moved; a host does nothing for a reason it does not know
    generation: Generation  # the server's in the store; below the host's own it is an older store's word


class HeldGuest(msgspec.Struct, frozen=True, kw_only=True):
    """A guest as its own host shows it to people."""

    uuid: Uuid
    name: Name  # "" where no record tells of it
    generation: Generation
    power_state: PowerState
    kept: Word = ""  # why the store disowned it, where this host keeps it in doubt
    since: Instant | None = None  # seconds since the epoch, when it was disowned
