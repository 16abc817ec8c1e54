"""Stop, reboot, pause: what changes a guest's power short of its end."""

from __future__ import annotations

import time

from nova0.host.compute.guests import OFF, Guests
from nova0.host.compute.start import start_with_leave
from nova0.objects.host import GuestInfo
from nova0.objects.states import PowerState

ASK_AGAIN_S = 10.0  # a guest that boots, or sits at a menu, misses the first request
SOFT_REBOOT_S = 120.0  # patience with a guest that is to shut down for its reboot


def stop(guests: Guests, uuid: str, generation: int, patience_s: float) -> GuestInfo:
    """See ComputeAPI.stop."""
    with guests.work_on(uuid, generation):
        record = guests.record(uuid, generation)
        if record.run:
            record.run = False
            guests.records.keep(record)
        if not _shut_down(guests, uuid, generation, patience_s):
            guests.driver.cut_power(uuid)
        return guests.info(uuid)


def reboot(guests: Guests, uuid: str, generation: int, hard: bool) -> GuestInfo:
    """See ComputeAPI.reboot. A guest that does not run needs the controller's leave, as any start."""
    with guests.work_on(uuid, generation):
        record = guests.record(uuid, generation)
        state = _state(guests, uuid)
        if state in OFF:
            start_with_leave(guests, record, lambda: guests.driver.start(uuid))
        elif not hard and state == PowerState.RUNNING and _shut_down(guests, uuid, generation, SOFT_REBOOT_S):
            guests.driver.start(uuid)
        else:
            guests.driver.reset(uuid)
        record.started_at, record.run = time.time(), True
        guests.records.keep(record)
        return guests.info(uuid)


def pause(guests: Guests, uuid: str, generation: int) -> GuestInfo:
    """See ComputeAPI.pause."""
    with guests.work_on(uuid, generation):
        guests.record(uuid, generation)
        guests.driver.pause(uuid)
        return guests.info(uuid)


def unpause(guests: Guests, uuid: str, generation: int) -> GuestInfo:
    """See ComputeAPI.unpause."""
    with guests.work_on(uuid, generation):
        guests.record(uuid, generation)
        guests.driver.unpause(uuid)
        return guests.info(uuid)


def _shut_down(guests: Guests, uuid: str, generation: int, patience_s: float) -> bool:
    """Ask until it is off or patience ends; True when it is off. A paused guest can't hear: not asked."""
    give_up = time.monotonic() + patience_s
    while (state := _state(guests, uuid)) not in OFF:
        left_s = give_up - time.monotonic()
        if left_s <= 0 or state != PowerState.RUNNING:
            return False
        guests.driver.shut_down(uuid)
        guests.wait_until_off(uuid, generation, time.monotonic() + min(left_s, ASK_AGAIN_S))
    return True


def _state(guests: Guests, uuid: str) -> PowerState:
    found = guests.driver.find(uuid)
    return found.power_state if found else PowerState.NOSTATE
