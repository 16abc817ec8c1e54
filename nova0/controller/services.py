"""What the API front end is given: the store and two doors to the rest, so that it knows no mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nova0.controller.db.store import Store


@dataclass(frozen=True, kw_only=True)
class HostLife:
    """What the mesh says of one compute host now."""

    host: str
    alive: bool
    status: str  # mesh.bus.Status value
    age_s: float | None  # since its last sign of life
    detail: str = ""


class Hosts(Protocol):
    """Liveness of compute hosts, in seconds, not by a database heartbeat."""

    def life(self, host: str) -> HostLife: ...

    def all(self) -> list[HostLife]: ...


class Tunnel(Protocol):
    """A byte stream into a guest. `read` blocks until bytes come; None at the end."""

    def write(self, data: bytes) -> None: ...

    def read(self) -> bytes | None: ...

    def close(self) -> None: ...


class Guests(Protocol):
    """What only the host of a server can answer at once. Errors are those of mesh.errors/objects.errors."""

    def console_log(self, host: str, instance_uuid: str, most_bytes: int) -> bytes: ...

    def describe_anew(self, instance_uuid: str) -> None:
        """Push name and properties to the host's metadata service; best effort, in the background."""

    def tunnel(self, host: str, network_id: str, ip: str, port: int) -> Tunnel:
        """Connect to a TCP port of a guest, from its own host."""

    def networks_changed(self, network_ids: list[str]) -> None:
        """Tell hosts that carry them (ports, rules, subnets changed); after the commit."""


@dataclass(kw_only=True)
class Services:
    store: Store
    hosts: Hosts
    guests: Guests
    state_dir: Path
    public_url: str  # http://127.0.0.1:8774, as clients reach the API
    region: str = "nova0"
    extras: dict[str, Any] = field(default_factory=dict)
