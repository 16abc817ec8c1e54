"""The conductor: what hosts ask and tell the controller. The store is the truth; this is its counter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import msgspec

from nova0.controller.assembly import Controller
from nova0.controller.conductor import claims, departure, fitting, leave, reports
from nova0.controller.conductor.fitting import fitting_piece, fitting_view
from nova0.controller.conductor.instance_view import instance_of, page_for
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.store import StoreUnavailable
from nova0.controller.network import books as networks
from nova0.mesh.errors import BadArguments, NotAllowed
from nova0.mesh.surface import every
from nova0.objects.errors import ControllerUnavailable, NotSupported
from nova0.objects.host import Disowned, GuestInfo, HostState
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkPiece, NetworkPieces, NetworkView
from nova0.objects.states import PowerState
from nova0.rpcapi.conductor import ConductorAPI

T = TypeVar("T")
log = logging.getLogger(__name__)
MOST_REPORT_BYTES = 256 << 10  # as JSON, of what a host says of itself
READ, WRITTEN = 1000, 100  # guests read, or changed, in one transaction: nobody else is served meanwhile


class ConductorAgent(ConductorAPI):
    """A host may read and write only what concerns servers placed on it: the caller's certified host
    name is what every answer is about."""

    def __init__(self, controller: Controller) -> None:
        self.controller, self.store = controller, controller.store
        self._comparing: set[str] = set()  # hosts

    def leave(self, uuid: str, generation: int) -> int:
        return leave.grant(self.store, self._host(), uuid, generation)

    def report(self, state: HostState) -> None:
        host = self._host()
        if state.host != host:
            raise NotAllowed(f"{host} may not report for {state.host}")
        self._fits(state)
        if self.store.write(lambda: reports.host_reported(state)):
            log.info("host %s is new: %s vCPUs, %s MiB, %s GiB", host, state.vcpus, state.memory_mb, state.disk_gb)
            self.controller.scheduler.stale(host)
        else:
            self.controller.scheduler.reported(host)

    def instances_after(self, number: int) -> list[Instance]:
        host, cluster_id = self._host(), self.controller.cluster_id
        return self.store.read(lambda: page_for(host, number, cluster_id))

    def instances_of(self) -> list[Instance]:
        host, cluster_id = self._host(), self.controller.cluster_id
        here = InstanceRow.select().where(InstanceRow.host == host, InstanceRow.deleted_at.is_null())

        def closure() -> list[Instance]:
            _few(here.count(), f"{host} has {{}} servers")
            return fitting.each("server", here, lambda row: row.uuid, lambda row: instance_of(row, cluster_id))

        return self.store.read(closure)

    def compare(self, guests: list[GuestInfo]) -> list[Disowned]:
        host = self._host()
        if host in self._comparing:
            raise ControllerUnavailable(f"{host}: its guests are being compared; ask again later")
        self._comparing.add(host)
        try:
            return self._compare(host, guests)
        finally:
            self._comparing.discard(host)

    def _compare(self, host: str, guests: list[GuestInfo]) -> list[Disowned]:
        store = self.store
        guests = list({guest.uuid: guest for guest in guests}.values())  # one named often is one
        disowned: list[Disowned] = []
        for some in _pieces(guests, READ):
            for few in _pieces(store.read(partial(reports.differing, host, some)), WRITTEN):
                disowned += self._alone(partial(reports.compare, host, few)) or []
        for absent in _pieces(store.read(lambda: reports.absent(host, guests)), WRITTEN):
            self._alone(partial(reports.missing, host, absent))
        self.controller.removals.ask(host, disowned)
        return disowned

    def _alone(self, closure: Callable[[], T]) -> T | None:
        """In a transaction of its own: what fails in one leaves the others, and is looked at again next time."""
        try:
            return self.store.write(closure)
        except Exception:
            log.exception("%s: comparing some of its guests failed; the others were compared", self._host())
            return None

    def networks_after(self, after: str) -> NetworkPieces:
        host = self._host()
        return self.store.read(lambda: networks.pieces_for(host, after, _fit))

    def networks_of(self) -> list[NetworkView]:
        host = self._host()

        def closure() -> list[NetworkView]:
            first = networks.pieces_for(host, "")
            _few(READ + 1 if first.after else 0, f"the networks of {host} have more than {READ} ports")
            ids = networks.carried_by(host)
            return fitting.each("network", ids, str, lambda id: fitting_view(networks.view(id, host)))

        return self.store.read(closure)

    def host_leaves(self) -> list[str]:
        host = self._host()
        if host == self.controller.bus.host:
            raise NotAllowed(f"{host} is the controller's own machine: `nova0 destroy` there ends the whole cloud")
        log.warning("host %s leaves the cluster", host)
        settled = departure.leave(self.controller.world, host)
        log.warning("host %s left the cluster: %d servers end in ERROR", host, len(settled))
        return settled

    def power_changed(self, uuid: str, generation: int, power_state: PowerState) -> None:
        host = self._host()

        def meant() -> InstanceRow | None:
            row = InstanceRow.one("uuid", uuid)
            return row if row is not None and row.host == host and row.generation == generation else None

        def closure() -> None:
            if (row := meant()) is not None:
                reports.power_reported(row, power_state)

        if self.store.read(meant) is not None:  # a host may say it of any server, as often as it likes
            self.store.write(closure)

    @every(300)
    def audit_claims(self) -> None:
        """Sums of every host equal its claims; a correction is worth a line in the log."""
        self.store.clock.jumped()
        try:
            found = self.store.write(lambda: (claims.audit(), self.store.clock.keep())[0])
        except StoreUnavailable:  # the store has logged it; the next run finds the same
            return
        for line in found:
            log.warning("claims: %s", line)

    def _fits(self, state: HostState) -> None:
        """Each choice of a host reads what is kept of it."""
        sizes = {name: len(msgspec.json.encode(getattr(state, name))) for name in state.__struct_fields__}
        total = sum(sizes.values())
        if total > MOST_REPORT_BYTES:
            name = max(sizes, key=lambda name: sizes[name])
            why = f"{state.host}: its report holds {total} bytes, at most {MOST_REPORT_BYTES} fit: most are in {name}"
            raise BadArguments(why, field=name)

    def _host(self) -> str:
        return self.controller.bus.caller().host


def _pieces(items: list[T], most: int) -> Iterator[list[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _few(number: int, what: str) -> None:
    if number > READ:
        raise NotSupported(f"{what.format(number)}: more than is told to a host of its version: upgrade nova0 there")


def _fit(network_id: str, make: Callable[[], NetworkPiece]) -> list[NetworkPiece]:
    return fitting.each("network", [network_id], str, lambda id: fitting_piece(make()))
