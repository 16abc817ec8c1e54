"""After a start, a reconnection and every minute: bring this host and the store to one view.

Guests found running are adopted, deletes that were begun are ended, what the store disowns is removed on
its word, unless that store is in doubt. Without the controller's word nothing is destroyed: until it
answers, guests and networks stay as they are. One instance that fails never keeps the others waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import gevent
import msgspec
from gevent.event import Event
from oslo_config import cfg

from nova0 import atomic_file
from nova0.config import CONF, declare
from nova0.host.compute.delete import remove, remove_disowned
from nova0.host.compute.guests import OFF, Guests
from nova0.host.compute.records import Record
from nova0.host.compute.start import start
from nova0.mesh.errors import StoreDoubted, Unreachable
from nova0.native import let_others
from nova0.objects.errors import NetworkError
from nova0.objects.instance import Instance
from nova0.objects.network import without_rules

LOG = logging.getLogger(__name__)
RETRY_S = (0.5, 10.0)  # first and longest pause while the controller does not answer
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

declare(
    [
        cfg.BoolOpt(
            "resume_guests_state_on_host_boot",
            default=False,
            help="After a restart of the machine, start the guests that ran before it (with the controller's leave).",
        )
    ]
)


class Adoption:
    """`adopt_soon` asks for a full comparison; one greenlet does them, again and again until one succeeds."""

    def __init__(self, guests: Guests, report: Callable[[], None], boot_id: Callable[[], str] | None = None) -> None:
        self._guests, self._report = guests, report
        self._boot_id = boot_id or (lambda: BOOT_ID.read_text().strip())
        self._asked, self.adopted = Event(), Event()
        self._greenlet: gevent.Greenlet | None = None

    def open(self) -> None:
        self._resume = self._machine_restarted() and CONF.resume_guests_state_on_host_boot
        finish_deletes(self._guests)
        self._greenlet = gevent.spawn(self._keep)

    def close(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()

    def adopt_soon(self) -> None:
        self._asked.set()

    def _keep(self) -> None:
        pause_s: float | None = None  # until asked
        while True:
            asked = self._asked.wait(pause_s)
            self._asked.clear()
            try:
                self._report()
                adopt(self._guests, self._resume)
                self._resume = False
                self.adopted.set()
                pause_s = None
            except Exception as error:  # noqa: BLE001 - told, and tried again until the controller answers
                first = pause_s is None
                pause_s = RETRY_S[0] if asked or pause_s is None else min(2 * pause_s, RETRY_S[1])
                level = logging.INFO if isinstance(error, Unreachable) else logging.WARNING
                LOG.log(
                    level if first else logging.DEBUG,
                    "%s: comparing with the store: %s; guests stay as they are, tried again until it answers",
                    *(self._guests.host, error),
                )

    def _machine_restarted(self) -> bool:
        """Whether the machine itself was restarted since this host's last start (False at the first)."""
        kept = self._guests.records.directory / "boot-id"
        now, before = self._boot_id(), kept.read_text() if kept.exists() else ""
        if now != before:
            try:
                atomic_file.write(kept, now)
            except OSError as error:  # asked again at the next start
                LOG.warning("%s: the machine's boot is not remembered: %s", self._guests.host, error)
        return before not in ("", now)


def adopt(guests: Guests, resume: bool = False) -> None:
    """The whole comparison. Raises the mesh's errors when the controller does not answer."""
    for instance in _placed(guests):
        _alone(guests, instance.uuid, "take up", partial(_take_up, guests, instance))
    if resume:
        for record in guests.records.all():
            if record.run and not guests.records.buried(record.uuid):
                _alone(guests, record.uuid, "resume", partial(start, guests, record.uuid, record.generation))
    compare(guests)
    try:
        guests.networks.fetch_anew()
    except NetworkError as error:  # one network that cannot be carried keeps nobody waiting; its keeper tries on
        LOG.warning("%s: networks: %s", guests.host, error)
        guests.networks.ask_anew()
    missing: set[str] = set()  # networks that could not be carried: asked for once, not once a guest
    for record in guests.records.all():
        _alone(guests, record.uuid, "plug", partial(_plug_again, guests, record, missing))


def _placed(guests: Guests) -> Iterator[Instance]:
    """What the store places here, page by page."""
    number = 0
    while page := guests.conductor().instances_after(number):
        yield from page
        if page[-1].number <= number:
            return  # a page that leads to itself has no end
        number = page[-1].number


def compare(guests: Guests) -> None:
    """Tell the store what is here and remove what it disowns, unless that is too much at once (disowned.py).
    Raises the mesh's errors, DriverError."""
    finish_deletes(guests)
    held = guests.all_and_unfinished()
    generations = {guest.uuid: guest.generation for guest in held}
    disowned = guests.conductor().compare(held)
    doubt = guests.store_doubt() if disowned else ""
    if doubt:
        LOG.error("%s: the store disowns %d guests, which are kept: %s", guests.host, len(disowned), doubt)
        return
    for uuid in guests.disowned.judge(disowned, generations):
        LOG.info("%s: instance %s: the store no longer places it here: removing", guests.host, uuid)
        _alone(guests, uuid, "remove", partial(remove_disowned, guests, uuid, generations[uuid]))


def release(guests: Guests, uuids: list[str]) -> list[str]:
    """See ComputeAPI.release."""
    doubt = guests.store_doubt()
    if doubt:
        raise StoreDoubted(f"{guests.host}: nothing is released: {doubt}")
    kept = guests.disowned.kept()
    for uuid in uuids:
        if uuid in kept:
            LOG.warning("%s: instance %s: released by a person at this machine: removing", guests.host, uuid)
            known = guests.info(uuid).generation
            if known <= kept[uuid].generation:  # else it was given new work since
                remove_disowned(guests, uuid, known)
    guests.disowned.looked_at()
    left = guests.disowned.kept()
    return [uuid for uuid in uuids if uuid in kept and uuid not in left]


def finish_deletes(guests: Guests) -> None:
    """A tombstone beside a record is a delete that was cut short: the controller's word is given already."""
    for record in guests.records.all():
        let_others()
        if guests.records.buried(record.uuid) >= record.generation and not guests.locks.held(record.uuid):
            _alone(guests, record.uuid, "finish deleting", partial(_finish_delete, guests, record.uuid))


def _finish_delete(guests: Guests, uuid: str) -> None:
    with guests.locks.hold(uuid):
        record = guests.records.get(uuid)
        if record is not None and guests.records.buried(uuid) >= record.generation:
            remove(guests, uuid)


def _take_up(guests: Guests, instance: Instance) -> None:
    """Make the record what the store says, for an instance that is here and not being worked on."""
    uuid = instance.uuid
    if guests.locks.held(uuid) or guests.records.buried(uuid) >= instance.generation:
        return
    with guests.locks.hold(uuid):
        known, found = guests.records.get(uuid), guests.driver.find(uuid)
        if known is None and found is not None:
            runs = found.power_state not in OFF
            generation = max(instance.generation, found.generation)
            guests.records.keep(Record(instance=instance, generation=generation, leased=runs, run=runs))
        elif known is not None and instance.generation >= known.generation and instance != _told(known.instance):
            known.instance, known.generation = instance, instance.generation
            guests.records.keep(known)


def _told(instance: Instance) -> Instance:
    """As the store tells of what is placed here: rules come with the networks."""
    return msgspec.structs.replace(instance, ports=tuple(without_rules(port) for port in instance.ports))


def _plug_again(guests: Guests, record: Record, missing: set[str]) -> None:
    found = guests.driver.find(record.uuid)
    if found is not None and found.power_state not in OFF:
        with guests.locks.hold(record.uuid):
            if guests.records.get(record.uuid) is record:
                for port in record.instance.ports:
                    if port.network_id in missing:
                        raise NetworkError(f"network {port.network_id} is not carried here")
                    try:
                        guests.networks.plug(port)
                    finally:
                        if port.network_id not in guests.networks.carrier.carried():
                            missing.add(port.network_id)


def _alone(guests: Guests, uuid: str, step: str, action: Callable[[], object]) -> None:
    let_others()  # there may be ten thousand
    try:
        action()
    except Exception as error:  # noqa: BLE001 - one instance never keeps the others waiting
        LOG.warning("%s: instance %s: %s: %s", guests.host, uuid, step, error)
