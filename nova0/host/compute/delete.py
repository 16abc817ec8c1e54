"""Remove an instance from this host: tombstone, guest, taps, disks, metadata. Repeatable at every point.

The tombstone comes first: from then on no late call can bring the instance back, and a restart knows
what is still to be removed.
"""

from __future__ import annotations

import shutil

from nova0.crashpoints import crash_point
from nova0.host.compute.guests import Guests
from nova0.host.compute.records import checked_uuid
from nova0.native import offload
from nova0.objects.errors import DriverError, NetworkError, Stale


def delete(guests: Guests, uuid: str, generation: int) -> None:
    """See ComputeAPI.delete."""
    checked_uuid(uuid)
    _refuse_older(guests, uuid, generation)
    with guests.ending(uuid, generation), guests.locks.hold(uuid):
        _refuse_older(guests, uuid, generation)
        guests.records.bury(uuid, generation)
        crash_point("host.delete.tombstoned")
        remove(guests, uuid)
        crash_point("host.delete.removed")


def remove(guests: Guests, uuid: str) -> None:
    """The effects, for a buried instance; the caller holds the lock. What cannot be unplugged keeps its
    record, so that the next attempt (a repeated delete, a restart) finds it. Raises DriverError."""
    record = guests.records.get(uuid)
    ports = record.instance.ports if record else ()
    guests.driver.remove(uuid)  # raises: nothing is taken from under a guest that may still run
    failed: list[str] = []
    for port in ports:
        try:
            guests.networks.unplug(port.id)
        except NetworkError as error:
            failed.append(error.message)
    files = guests.files(uuid)
    try:
        if files.exists():
            offload(shutil.rmtree, files)
    except OSError as error:
        failed.append(f"{guests.host}: disks of {uuid}: {error}: remove {files} by hand")
    if failed:
        raise DriverError("; ".join(failed))
    guests.records.drop(uuid)
    guests.disowned.gone(uuid)
    try:
        guests.networks.forget_unused({port.network_id for port in ports})
    except NetworkError:
        guests.networks.ask_anew()  # the keeper compares with the store and tries again


def remove_disowned(guests: Guests, uuid: str, generation: int) -> None:
    """What the store disowned when it was told of this generation; left alone if it has grown since."""
    with guests.ending(uuid, generation), guests.locks.hold(uuid):
        if guests.records.highest(uuid) <= generation:
            guests.records.bury(uuid, max(generation, 1))
            remove(guests, uuid)


def _refuse_older(guests: Guests, uuid: str, generation: int) -> None:
    known = guests.records.highest(uuid)
    if generation < known:
        raise Stale(
            f"{guests.host}: delete of {uuid}: generation {generation} is past, {known} is known here", known=known
        )
