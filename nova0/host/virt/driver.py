"""The contract of a virt driver. One conformance suite (tests/unit/virt/driver_contract.py) holds every driver.

All methods may block (drivers go through `native.offload` themselves) and are idempotent: asked again
after success they answer the same and change nothing. uuids are instance uuids. A driver touches only
guests that carry this cluster's id. Errors: those of `objects.errors`, with the host's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nova0.host.disk import ownership
from nova0.host.disk.ownership import Owner
from nova0.objects.errors import NotSupported
from nova0.objects.host import HostState
from nova0.objects.instance import Instance
from nova0.objects.states import PowerState


@dataclass(frozen=True, kw_only=True)
class GuestDisks:
    """Files a guest is made of, already on this host. Paths; None where not wanted."""

    directory: Path  # instances_path/<uuid>
    base: Path | None  # verified image in the cache, None for a guest without an image
    base_format: str  # raw | qcow2
    kernel: Path | None = None
    ramdisk: Path | None = None
    config_drive: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A guest as the hypervisor has it."""

    uuid: str
    power_state: PowerState
    generation: int = 0


@dataclass(frozen=True, kw_only=True)
class GuestEvent:
    """Something a guest did by itself. kind: started, stopped, paused, resumed, crashed."""

    uuid: str
    kind: str


@dataclass
class Listener:
    """Where a driver tells events; `heard` is called in the loop and must not block."""

    heard: Callable[[GuestEvent], None] = field(default=lambda event: None)


class Driver(ABC):
    name: ClassVar[str] = ""

    def __init__(self, host: str, cluster_id: str, state_dir: Path) -> None:
        self.host, self.cluster_id, self.state_dir = host, cluster_id, state_dir
        self.listener = Listener()

    def needs_files(self) -> bool:
        """Whether base images and config drives must be there before `define`; only a fake can do without."""
        return True

    def owner(self) -> Owner:
        """Whose guests' files must be: the user the hypervisor runs them as. For an open driver."""
        return ownership.ours()

    @abstractmethod
    def open(self) -> list[str]:
        """Connect, start what must run. Returns notes for people ("KVM does not answer; emulating")."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect; guests run on."""

    @abstractmethod
    def host_state(self) -> HostState: ...

    @abstractmethod
    def define(self, instance: Instance, disks: GuestDisks) -> None:
        """Make disks and definition; not started. An existing guest of the same uuid that does not run
        is made anew, one that runs is left alone."""

    @abstractmethod
    def start(self, uuid: str) -> None:
        """Raises InstanceNotFound if not defined."""

    @abstractmethod
    def shut_down(self, uuid: str) -> None:
        """Ask the guest (ACPI); returns at once."""

    @abstractmethod
    def cut_power(self, uuid: str) -> None: ...

    @abstractmethod
    def reset(self, uuid: str) -> None:
        """Hard reboot: power off if running, start anew."""

    def pause(self, uuid: str) -> None:
        raise NotSupported(f"{self.host}: the {self.name} driver cannot pause a server")

    def unpause(self, uuid: str) -> None:
        raise NotSupported(f"{self.host}: the {self.name} driver cannot unpause a server")

    @abstractmethod
    def remove(self, uuid: str) -> None:
        """Guest, definition and its disks' directory gone. Nothing there: fine."""

    @abstractmethod
    def find(self, uuid: str) -> Found | None: ...

    @abstractmethod
    def found(self) -> list[Found]:
        """All guests of this cluster on this host."""

    def sweep(self) -> list[str]:
        """Take every guest of this cluster off the machine; returns a line for each thing removed."""
        removed = []
        for guest in self.found():
            self.remove(guest.uuid)
            removed.append(f"guest {guest.uuid}")
        self.close()
        return removed

    def console_log(self, uuid: str, most_bytes: int) -> bytes:
        raise NotSupported(f"{self.host}: the {self.name} driver keeps no console log")
