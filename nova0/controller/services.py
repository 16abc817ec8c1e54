"""What the API front end is given: the store and two doors to the rest, so that it knows no mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nova0.controller.db.store import Store

if TYPE_CHECKING:
    from nova0.controller.scheduler.request import Request
    from nova0.controller.scheduler.selection import Trace


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

    def put_out(self) -> dict[str, tuple[str, float]]:
        """host -> why, and when (seconds since 1970): no controller asks it anything any more, and what runs there
        is not known, until a machine of that name joins again. From any thread."""


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


class Mesh(Protocol):
    """Agents by name, for an administrator. AGENT is a topic, topic@host or node; errors are those of mesh.errors
    (with `kind`, `message`, `data`) and the methods' own."""

    def call(
        self,
        agent: str,
        method: str,
        arguments: dict[str, Any],
        *,
        timeout_s: float,
        request_id: str | None,
        context: dict[str, Any],
    ) -> Any:
        """The result in plain values. Under a request id given at most one execution."""

    def members(self) -> list[dict[str, Any]]:
        """mesh.bus.Member in plain values, this node's first."""

    def surfaces(self, agent: str | None) -> list[dict[str, Any]]:
        """Rows of mesh.describing: of that agent, or of every topic on the mesh."""

    def metrics(self, agent: str | None) -> list[dict[str, Any]]:
        """nova0.metrics.Family in plain values, of that agent's node or this one."""


class Placement(Protocol):
    """What the scheduler would do."""

    def explain(self, request: Request) -> Trace:
        """What every filter leaves and every weigher gives; nothing is placed. Raises NotSupported."""


@dataclass(kw_only=True)
class Services:
    store: Store
    hosts: Hosts
    guests: Guests
    state_dir: Path
    public_url: str  # http://127.0.0.1:8774, as clients reach the API
    region: str = "nova0"
    mesh: Mesh | None = None  # None: no node in this process
    placement: Placement | None = None
    extras: dict[str, Any] = field(default_factory=dict)
