"""The guests of this host and what they are made with: what every operation on one shares.

Generation checks, per-instance locks, what is known of a guest. Each operation has a file of its own
(prepare, start, power_off, delete); no operation's steps may enter here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gevent.event import Event
from gevent.lock import BoundedSemaphore

from nova0.host.compute.disowned import Disownings
from nova0.host.compute.locks import Locks
from nova0.host.compute.networks import Networks
from nova0.host.compute.records import Record, Records, checked_uuid
from nova0.host.image.cache import ImageCache
from nova0.host.virt.driver import Driver, Found
from nova0.native import let_others
from nova0.objects.errors import InstanceNotFound, Stale
from nova0.objects.host import IN_DOUBT, GuestInfo, HeldGuest
from nova0.objects.instance import Instance
from nova0.objects.states import PowerState
from nova0.rpcapi.conductor import ConductorAPI

POLL_S = 2.0  # between looks at a guest that is to stop, should its event be lost
OFF = (PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.NOSTATE)

Progress = Callable[[Any], None]


class Guests:
    def __init__(
        self,
        host: str,
        state_dir: Path,
        driver: Driver,
        networks: Networks,
        images: ImageCache,
        records: Records,
        conductor: Callable[[], ConductorAPI],
        builds_at_once: int = 10,
        store_doubt: Callable[[], str] = lambda: "",
    ) -> None:
        self.host, self.directory = host, state_dir / "instances"
        self.driver, self.networks, self.images, self.records = driver, networks, images, records
        self.conductor, self.store_doubt = conductor, store_doubt
        self.disowned = Disownings(records)
        self.locks = Locks()
        self.builds = BoundedSemaphore(builds_at_once)
        self._ending: dict[str, int] = {}  # uuid -> generation of a delete that waits for its lock
        self._bells: dict[str, set[Event]] = {}

    @contextmanager
    def work_on(self, uuid: str, generation: int) -> Iterator[None]:
        """Hold the instance's lock for an operation of this generation. Raises Stale."""
        checked_uuid(uuid)
        self.check(uuid, generation)
        with self.locks.hold(uuid):
            self.check(uuid, generation)
            yield

    @contextmanager
    def ending(self, uuid: str, generation: int) -> Iterator[None]:
        """Announce a delete: operations of lower generations give up at their next look."""
        self._ending[uuid] = max(generation, self._ending.get(uuid, 0))
        self.ring(uuid)
        try:
            yield
        finally:
            if self._ending.get(uuid) == generation:
                del self._ending[uuid]

    def check(self, uuid: str, generation: int) -> None:
        """Raises Stale when this host knows better, or the instance was deleted here at this generation."""
        known = max(self.records.highest(uuid), self._ending.get(uuid, 0))
        if generation < known:
            raise Stale(
                f"{self.host}: instance {uuid}: generation {generation} is past, {known} is known here: "
                "the controller has decided anew",
                known=known,
            )
        if generation <= self.records.buried(uuid):
            raise Stale(f"{self.host}: instance {uuid} was deleted here at generation {generation}", known=known)

    def record(self, uuid: str, generation: int) -> Record:
        """The record of a prepared instance, raised to `generation`. Raises InstanceNotFound."""
        record = self.records.get(uuid)
        if record is None or self.driver.find(uuid) is None:
            raise InstanceNotFound(f"{self.host}: instance {uuid} is not prepared here: prepare it first")
        if generation > record.generation:
            record.generation = generation
            self.records.keep(record)
        return record

    def files(self, uuid: str) -> Path:
        return self.directory / uuid

    def image_ids(self, instance: Instance) -> set[str]:
        """Images this instance is made of."""
        image = instance.image
        return {part.id for part in (image, image and image.kernel, image and image.ramdisk) if part}

    def info(self, uuid: str, found: Found | None = None) -> GuestInfo:
        """What is there now; NOSTATE for an instance without a guest."""
        found = found or self.driver.find(uuid)
        record = self.records.get(uuid)
        state = found.power_state if found else PowerState.NOSTATE
        return GuestInfo(
            uuid=uuid,
            generation=max(self.records.highest(uuid), found.generation if found and record is None else 0),
            power_state=state,
            started_at=record.started_at if record and state not in OFF else None,
            host=self.host,
            leased=bool(record and record.leased),
        )

    def inspect(self, uuid: str) -> GuestInfo | None:
        found = self.driver.find(uuid)
        return None if found is None else self.info(uuid, found)

    def all(self) -> list[GuestInfo]:
        """Every guest of this cluster here."""
        guests = []
        for found in self.driver.found():
            let_others()  # there may be ten thousand
            guests.append(self.info(found.uuid, found))
        return guests

    def all_and_unfinished(self) -> list[GuestInfo]:
        """Guests, and instances that have a record but no guest (a prepare that did not end)."""
        guests = self.all()
        seen = {guest.uuid for guest in guests}
        return guests + [self.info(record.uuid) for record in self.records.all() if record.uuid not in seen]

    def doubts(self) -> list[str]:
        """For people who look at this host: what it does not do for now."""
        kept = len(self.disowned.kept())
        return [f"{kept} guests that the store disowns {IN_DOUBT}: nova0 guests, on {self.host}"] if kept else []

    def for_people(self) -> list[HeldGuest]:
        """See ComputeAPI.held."""
        kept, found = self.disowned.kept(), []
        for guest in self.all_and_unfinished():
            record, doubted = self.records.get(guest.uuid), kept.get(guest.uuid)
            found.append(
                HeldGuest(
                    uuid=guest.uuid,
                    name=record.instance.name if record else "",
                    generation=guest.generation,
                    power_state=guest.power_state,
                    kept=doubted.reason if doubted else "",
                    since=doubted.at if doubted else None,
                )
            )
        return found

    def inventory(self) -> dict[str, list[str]]:
        """See ComputeAPI.inventory."""
        disks = [path.name for path in self.directory.iterdir()] if self.directory.is_dir() else []
        return {
            "guests": sorted(found.uuid for found in self.driver.found()),
            "disks": sorted(disks),
            "metadata": sorted(record.uuid for record in self.records.all()),
            **self.networks.carrier.inventory(),
        }

    def describe_anew(self, instance: Instance) -> None:
        """Replace what is told to the guest. Raises Stale, InstanceNotFound."""
        with self.work_on(instance.uuid, instance.generation):
            record = self.record(instance.uuid, instance.generation)
            record.instance = instance
            self.records.keep(record)

    def asker(self, network_id: str, address: str) -> Instance | None:
        """Whose address on that network it is, for the metadata service."""
        for record in self.records.all():
            if any(port.network_id == network_id and port.ip == address for port in record.instance.ports):
                return record.instance
        return None

    def networks_in_use(self) -> set[str]:
        return {port.network_id for record in self.records.all() for port in record.instance.ports}

    def images_in_use(self) -> set[str]:
        return {image_id for record in self.records.all() for image_id in self.image_ids(record.instance)}

    def unrecorded(self) -> list[str]:
        """Guests found here that no record tells of: what they are made of is not known."""
        return sorted(found.uuid for found in self.driver.found() if self.records.get(found.uuid) is None)

    def ring(self, uuid: str) -> None:
        """Something happened to the guest: whoever waits for it looks again. Does not block."""
        for bell in self._bells.get(uuid, ()):
            bell.set()

    def wait_until_off(self, uuid: str, generation: int, until: float) -> bool:
        """Wait for the guest to be off, until that monotonic time. Raises Stale when it is deleted meanwhile."""
        bell = Event()
        self._bells.setdefault(uuid, set()).add(bell)
        try:
            while True:
                bell.clear()
                self.check(uuid, generation)
                found = self.driver.find(uuid)
                if found is None or found.power_state in OFF:
                    return True
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return False
                bell.wait(min(left_s, POLL_S))
        finally:
            self._bells[uuid].discard(bell)
            if not self._bells[uuid]:
                del self._bells[uuid]
