"""Start a guest, only with the controller's leave and only within the lease it grants.

A host that is silent is not a host that stopped: without a lease the controller could turn to another
host while this one still starts the guest. The lease counts by this host's monotonic clock, from before
it asked, so that no delay on the way can stretch it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nova0.crashpoints import crash_point
from nova0.host.compute.guests import Guests
from nova0.host.compute.records import Record
from nova0.mesh.errors import Busy, CallTimeout, Unreachable
from nova0.objects.errors import ControllerUnavailable, LeaveRefused
from nova0.objects.host import GuestInfo
from nova0.objects.states import PowerState


def start(guests: Guests, uuid: str, generation: int) -> GuestInfo:
    """See ComputeAPI.start."""
    with guests.work_on(uuid, generation):
        record = guests.record(uuid, generation)
        found = guests.driver.find(uuid)
        if found is not None and found.power_state in (PowerState.RUNNING, PowerState.PAUSED):
            return guests.info(uuid, found)
        start_with_leave(guests, record, lambda: guests.driver.start(uuid))
        return guests.info(uuid)


def start_with_leave(guests: Guests, record: Record, begin: Callable[[], None]) -> None:
    """Ask, remember, plug, `begin`; the caller holds the lock. Raises LeaveRefused, Stale, DriverError."""
    uuid, generation = record.uuid, record.generation
    asked_at = time.monotonic()
    try:
        lease_ms = guests.conductor().leave(uuid, generation)
    except (Unreachable, CallTimeout, Busy, ControllerUnavailable) as error:
        raise LeaveRefused(
            f"{guests.host}: start of {record.instance.domain_name}: the controller gave no leave ({error}); "
            "nothing was started: try again when it answers",
            unanswered=True,
        ) from error
    crash_point("host.start.leave_granted")
    record.leased, record.run, record.started_at = True, True, time.time()
    guests.records.keep(record)
    for port in record.instance.ports:
        guests.networks.plug(port)
    guests.check(uuid, generation)
    late_ms = (time.monotonic() - asked_at) * 1000 - lease_ms
    if late_ms >= 0:
        raise LeaveRefused(
            f"{guests.host}: start of {record.instance.domain_name}: its lease of {lease_ms} ms ended {late_ms:.0f} ms "
            "ago; nothing was started: the host is too busy or its disk too slow, try again",
            expired=True,
        )
    begin()
    crash_point("host.start.started")
