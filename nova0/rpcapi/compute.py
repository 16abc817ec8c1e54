"""What a compute host can be asked. Every call that touches an instance carries its generation."""

from __future__ import annotations

from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.surface import CONTROLLER, HOST, LONG, NORMAL, SELF, SHORT, Surface, call
from nova0.objects.fields import Count, Generation, Line, Name, PathPart, Patience, Uuid, Word
from nova0.objects.host import GuestInfo, HeldGuest, HostState
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkView


class ComputeAPI(Surface):
    topic = "compute"
    served_by = HOST

    @call(timeout=LONG, allow=CONTROLLER)
    def prepare(self, instance: Instance, networks: list[NetworkView]) -> GuestInfo:  # type: ignore[empty-body]
        """Fetch the image, make disks, taps and the guest's definition; start nothing. Idempotent.

        Progress: {"stage": "image"|"disk"|"network"|"define", "percent": 0..100}.
        Raises Stale, NoSpace, ImageUnusable, NetworkError, DriverError."""

    @call(timeout=NORMAL, allow=CONTROLLER)
    def start(self, uuid: Uuid, generation: Generation) -> GuestInfo:  # type: ignore[empty-body]
        """Start a prepared or stopped guest, after asking the conductor's leave (`ConductorAPI.leave`),
        and only within the lease granted. A running guest is left as it is.
        Raises Stale, InstanceNotFound, LeaveRefused, DriverError."""

    @call(timeout=LONG, allow=CONTROLLER, destructive=True)
    def stop(self, uuid: Uuid, generation: Generation, patience_s: Patience) -> GuestInfo:  # type: ignore[empty-body]
        """Ask the guest to shut down (again every 10 s); after `patience_s` cut its power.
        0 cuts at once. A stopped guest is left as it is. Raises Stale, InstanceNotFound, DriverError."""

    @call(timeout=LONG, allow=CONTROLLER, destructive=True)
    def reboot(self, uuid: Uuid, generation: Generation, hard: bool) -> GuestInfo:  # type: ignore[empty-body]
        """Soft: through the guest's own shutdown, falling back to hard when it does not answer.
        Hard: power cycle from the present definition; also starts a stopped guest."""

    @call(timeout=NORMAL, allow=CONTROLLER, destructive=True)
    def pause(self, uuid: Uuid, generation: Generation) -> GuestInfo:  # type: ignore[empty-body]
        """Freeze its processors. Raises Stale, InstanceNotFound, DriverError, NotSupported."""

    @call(timeout=NORMAL, allow=CONTROLLER)
    def unpause(self, uuid: Uuid, generation: Generation) -> GuestInfo:  # type: ignore[empty-body]
        """Let them run on. Raises Stale, InstanceNotFound, DriverError, NotSupported."""

    @call(timeout=LONG, allow=CONTROLLER, destructive=True)
    def delete(self, uuid: Uuid, generation: Generation) -> None:
        """Remove guest, disks, taps, leases and metadata, and leave a tombstone at `generation`, even
        for an instance this host never met. Idempotent. Raises Stale, DriverError."""

    @call(timeout=SHORT, allow=(CONTROLLER, SELF), repeatable=True)
    def inspect(self, uuid: Uuid) -> GuestInfo | None:
        """What is there, asked of the hypervisor itself; None when there is nothing."""

    @call(timeout=NORMAL, allow=(CONTROLLER, SELF), repeatable=True)
    def guests(self) -> list[GuestInfo]:  # type: ignore[empty-body]
        """All guests of this cluster on this host."""

    @call(timeout=NORMAL, allow=SELF, repeatable=True)
    def held(self) -> list[HeldGuest]:  # type: ignore[empty-body]
        """All guests and unfinished instances here, for people; `kept` names those that the store disowned and
        that this host keeps in doubt."""

    @call(timeout=LONG, allow=SELF)
    def release(self, uuids: list[Uuid]) -> list[Uuid]:  # type: ignore[empty-body]
        """Remove these of the guests that are kept in doubt, on the word of a person at this machine. Returns
        what is gone. Raises StoreDoubted where the store itself is in doubt, DriverError."""

    @call(timeout=NORMAL, allow=(CONTROLLER, SELF), repeatable=True)
    def inventory(self) -> dict[Word, list[Line]]:  # type: ignore[empty-body]
        """Everything of this cluster found on the machine, for leak checks:
        {"guests": [uuid], "disks": [uuid], "taps": [name], "bridges": [name], "leases": [mac],
        "rules": [port id], "metadata": [uuid]}."""

    @call(timeout=SHORT, allow=(CONTROLLER, SELF), repeatable=True)
    def host_state(self) -> HostState:  # type: ignore[empty-body]
        """Capacity and nature, measured now."""

    @call(timeout=LONG, allow=CONTROLLER, repeatable=True)
    def offer_image(self, image_id: PathPart, digest: bytes, peer: Name) -> Ticket:  # type: ignore[empty-body]
        """Leave for that node to fetch an image from this host, where it lies verified and with that digest.
        Raises ImageUnusable where it does not."""

    @call(timeout=SHORT, allow=CONTROLLER, repeatable=True)
    def console_log(self, uuid: Uuid, most_bytes: Count) -> bytes:  # type: ignore[empty-body]
        """The last `most_bytes` of the guest's serial log. Raises InstanceNotFound, NotSupported."""

    @call(timeout=NORMAL, allow=CONTROLLER)
    def describe_anew(self, instance: Instance) -> None:
        """Replace what the metadata service says of the instance (name, properties changed)."""
