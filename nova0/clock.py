"""How much time has passed, also while no process of ours ran, and whatever somebody does to the clock of the day.

The kernel's boottime grows steadily from the machine's start, through suspension, and nobody can set it. So within one
run of the machine elapsed time is exact; only across its restart the clock of the day has to be believed.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from msgspec import Struct

JUMP_S = 60.0  # what the clock of the day may differ by: NTP corrects less than this without anybody's noticing
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Moment(Struct, array_like=True, frozen=True):
    """A point in time that can be kept on disk. `boot` names the machine's run, `ticks` are seconds in it, `wall` is
    seconds since the epoch."""

    boot: str
    ticks: float
    wall: float


def moment() -> Moment:
    """Now."""
    return Moment(boot_id(), ticks(), time.time())


def ticks() -> float:
    """Seconds since the machine's start, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """Of this run of the machine; "" where the kernel does not tell, and then nothing is known to be of one run."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def since(then: Moment) -> float:
    """Seconds that have passed, never below 0."""
    return between(then, moment())


def between(then: Moment, now: Moment) -> float:
    """Seconds from one to the other, never below 0."""
    if _same_run(then, now):
        return max(0.0, now.ticks - then.ticks)
    return max(0.0, now.wall - then.wall)


def jumped_s(then: Moment) -> float:
    """How far the clock of the day was moved since: above 0 ahead, below 0 back. Across a restart of the machine only
    the way back can be seen. 0 for less than JUMP_S."""
    now = moment()
    moved = now.wall - then.wall
    if _same_run(then, now):
        moved -= now.ticks - then.ticks
    else:
        moved = min(0.0, moved)
    return moved if abs(moved) >= JUMP_S else 0.0


def _same_run(then: Moment, now: Moment) -> bool:
    return bool(now.boot) and then.boot == now.boot
