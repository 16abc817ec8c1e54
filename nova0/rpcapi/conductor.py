"""What hosts ask and tell the controller."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from nova0.mesh.surface import CONTROLLER, HOST, LONG, NORMAL, SHORT, Surface, call, cast
from nova0.objects.fields import Count, Generation, PageMark, Uuid
from nova0.objects.host import Disowned, GuestInfo, HostState
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkPieces, NetworkView
from nova0.objects.states import PowerState

MOST_GUESTS = 20_000  # of one host


class ConductorAPI(Surface):
    topic = "conductor"
    served_by = CONTROLLER

    @call(timeout=SHORT, allow=HOST, repeatable=True)
    def leave(self, uuid: Uuid, generation: Generation) -> Annotated[Count, "milliseconds"]:  # type: ignore[empty-body]
        """May the calling host start this instance now? The lease, counted by the asker
        from before it asked. Raises LeaveRefused, Stale."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def report(self, state: HostState) -> None:
        """The calling host's capacity, at its start and whenever it changes."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def instances_after(self, number: int) -> list[Instance]:  # type: ignore[empty-body]
        """Some of the instances the store places on the calling host, for its start and its audits: those that
        follow this `Instance.number`, in order; 0 for the first, none when there are no more. Their ports come
        without rules, which `networks_after` tells."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def instances_of(self) -> list[Instance]:  # type: ignore[empty-body]
        """All of them at once, with rules: what hosts of earlier versions ask. Raises NotSupported for more than
        such an answer holds."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def compare(self, guests: Annotated[list[GuestInfo], Meta(max_length=MOST_GUESTS)]) -> list[Disowned]:  # type: ignore[empty-body]
        """Tell what guests the calling host holds; returns those that the store does not place there, with why
        and at which generation. The controller takes up what differs (power states), and asks the host to delete
        each of these by a call of its own; the answer alone lets a host remove no more than a few."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def networks_after(self, after: PageMark) -> NetworkPieces:  # type: ignore[empty-body]
        """Some of the views of all networks with a port on the calling host: "" for the first, then as each answer
        says. All of them are the whole desired state."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def networks_of(self) -> list[NetworkView]:  # type: ignore[empty-body]
        """All of them at once: what hosts of earlier versions ask. Raises NotSupported for more than such an answer
        holds."""

    @call(timeout=LONG, allow=HOST, repeatable=True)
    def host_leaves(self) -> list[Uuid]:  # type: ignore[empty-body]
        """The calling host leaves the cluster for good and removes its guests as soon as this is answered: its
        servers end in ERROR with a fault that says so, and it is forgotten. Asked again it goes on where it was.
        Returns the uuids of those servers. Raises NotAllowed for the controller's own machine."""

    @cast(allow=HOST)
    def power_changed(self, uuid: Uuid, generation: Generation, power_state: PowerState) -> None:
        """A guest changed by itself (shut down inside, crashed). Lost ones are caught by `compare`."""
