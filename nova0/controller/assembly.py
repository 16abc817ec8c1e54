"""Puts a controller together: store, scheduler, conductor and what the API is given. No sockets here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import gevent
from gevent.event import Event

from nova0.controller.compute.host_life import HostLives
from nova0.controller.conductor import claims
from nova0.controller.conductor.engine import Engine
from nova0.controller.conductor.fitting import REFUSED
from nova0.controller.conductor.instance_view import instance_of
from nova0.controller.conductor.operation import World
from nova0.controller.conductor.removals import Removals
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.network_tables import NetworkRow
from nova0.controller.db.store import Store
from nova0.controller.image import storage
from nova0.controller.scheduler.scheduler import Scheduler
from nova0.controller.services import Services
from nova0.controller.tunnel import GuestTunnel
from nova0.controller.upkeep import Upkeep
from nova0.mesh.bus import Bus, Member, Status
from nova0.mesh.errors import MeshError
from nova0.objects import fields
from nova0.objects.instance import Instance
from nova0.rpcapi.compute import ComputeAPI
from nova0.rpcapi.network import NetworkAPI

log = logging.getLogger(__name__)

TELL_S = 0.05  # network changes are gathered this long and told once


class Controller:
    """One controller's parts, from opened store to running conductor."""

    def __init__(
        self, store: Store, bus: Bus, *, state_dir: Path, cluster_id: str, public_url: str, owner: str
    ) -> None:
        self.store, self.bus, self.cluster_id = store, bus, cluster_id
        self.lives = HostLives(bus)
        self.scheduler = Scheduler(store, self.lives)
        self.networks = NetworkTeller(store, bus)
        self.world = World(
            store=store,
            bus=bus,
            scheduler=self.scheduler,
            lives=self.lives,
            cluster_id=cluster_id,
            networks_changed=self.networks.changed,
        )
        self.engine = Engine(self.world, owner)
        self.removals = Removals(self.world)
        self.upkeep = Upkeep(store)
        self.services = Services(
            store=store,
            hosts=self.lives,
            guests=Guests(self),
            placement=self.scheduler,
            state_dir=state_dir,
            public_url=public_url,
        )

    def start(self) -> None:
        """Audit the claims, then take up the work an earlier run left."""
        storage.make_folder(self.services.state_dir)
        for line in self.store.write(claims.audit):
            log.warning("claims: %s", line)
        self.scheduler.stale()
        self.bus.on_member(self._member_changed)
        self.networks.start()
        self.engine.start()
        self.upkeep.start()

    def stop(self) -> None:
        self.upkeep.stop()
        self.removals.stop()
        self.engine.stop()
        self.networks.stop()

    def _member_changed(self, member: Member, before: Status) -> None:
        if ComputeAPI.topic in member.topics:
            log.info(
                "host %s: %s, was %s%s",
                member.host,
                member.status,
                before,
                f" ({member.detail})" if member.detail else "",
            )


class NetworkTeller:
    """Casts `changed` for networks whose views differ now; several changes at once are told once."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store, self._bus = store, bus
        self._waiting: set[str] = set()
        self._bell = Event()
        self._greenlet: gevent.Greenlet | None = None

    def changed(self, network_ids: list[str]) -> None:
        self._waiting.update(network_ids)
        if self._waiting:
            self._bell.set()

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()

    def _run(self) -> None:
        while True:
            self._bell.wait()
            gevent.sleep(TELL_S)
            self._bell.clear()
            ids, self._waiting = list(self._waiting), set()
            try:
                self._tell(ids)
            except Exception:
                log.exception("telling hosts of changed networks failed; they will notice at their next audit")

    def _tell(self, ids: list[str]) -> None:
        columns = (NetworkRow.id, NetworkRow.revision)
        rows = self._store.read(lambda: list(NetworkRow.select(*columns).where(NetworkRow.id.in_(ids))))
        revisions = {row.id: row.revision for row in rows}
        for network_id in ids:
            self._bus.stub(NetworkAPI).changed(network_id, revisions.get(network_id, 0))


class Guests:
    """Answers `services.Guests` by asking the host."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def console_log(self, host: str, instance_uuid: str, most_bytes: int) -> bytes:
        """Raises the host's errors, or Unreachable / CallTimeout."""
        return self._controller.bus.stub(ComputeAPI, host).console_log(instance_uuid, most_bytes)

    def describe_anew(self, instance_uuid: str) -> None:
        """In the background; a host that misses it is told again with its next audit."""
        gevent.spawn(self._describe, instance_uuid)

    def tunnel(self, host: str, network_id: str, ip: str, port: int) -> GuestTunnel:
        """Raises NetworkError, NotSupported, or the mesh's errors."""
        return GuestTunnel(self._controller.bus, host, network_id, ip, port)

    def networks_changed(self, network_ids: list[str]) -> None:
        self._controller.networks.changed(network_ids)

    def _describe(self, uuid: str) -> None:
        controller = self._controller

        def closure() -> tuple[str | None, Instance]:
            row = InstanceRow.known("uuid", uuid)
            return row.host, fields.checked(instance_of(row, controller.cluster_id))

        try:
            host, instance = controller.store.read(closure)
            if host:
                controller.bus.stub(ComputeAPI, host).describe_anew(instance)
        except (MeshError, *REFUSED) as error:
            log.warning("metadata of %s not told to its host: %s", uuid, error)


def quietly(step: str, function: Callable[[], None]) -> None:
    """Run one step of a shutdown; a failure is logged and does not stop the next."""
    try:
        function()
    except Exception:
        log.exception("while stopping: %s", step)
