"""The store's own count of seconds, by which tokens, leases and waits are judged: nobody can set it, and it never goes
back.

It runs with the kernel's boottime (`nova0.clock`), so that a clock of the day that is ahead or behind, or jumps, moves
nothing; only across a restart of the machine the clock of the day says how long that took. It is kept in the store
with every use that something is forgotten by, so that what was forgotten stays past.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec
import peewee

from nova0 import clock
from nova0.clock import Moment

log = logging.getLogger(__name__)
NAME = "steady_clock"
_READ = "SELECT value FROM fact WHERE name = ?"
_KEEP = "INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class Kept(msgspec.Struct, frozen=True):
    """As kept in the store: `seconds` was the count at `at`."""

    seconds: float
    at: Moment


class SteadyClock:
    """Made inside a transaction of the store's thread; `now` and `jumped` may be asked from any."""

    def __init__(self, database: peewee.SqliteDatabase) -> None:
        self._database = database
        found = database.execute_sql(_READ, (NAME,)).fetchone()
        kept = read(found[0]) if found else None
        self._base, self._from = 0.0, clock.ticks()
        if kept is not None:
            self._base = kept.seconds + clock.since(kept.at)
            moved = clock.jumped_s(kept.at)
            if moved:
                log.warning("the clock was moved by %+.0f s since this store was last open; %s", moved, ADVICE)
        self._told = clock.moment()
        self.keep()

    def now(self) -> float:
        """Seconds since the store was made."""
        return self._base + max(0.0, clock.ticks() - self._from)

    def keep(self) -> None:
        """In a transaction: never again earlier than now, whatever becomes of this process or machine."""
        self._database.execute_sql(_KEEP, (NAME, msgspec.json.encode(Kept(self.now(), clock.moment())).decode()))

    def jumped(self) -> float:
        """By how many seconds the clock of the day was moved since this was last asked, or since the start; logged."""
        moved = clock.jumped_s(self._told)
        if moved:
            log.warning("the clock was moved by %+.0f s while this controller runs; %s", moved, ADVICE)
            self._told = clock.moment()
        return moved


ADVICE = "tokens, leases and waits go by a clock of their own: if it is wrong now, set it and keep it right with NTP"


def read(value: Any) -> Kept | None:
    """What is kept, or None for what is no such thing."""
    try:
        return msgspec.json.decode(value, type=Kept)
    except (msgspec.DecodeError, TypeError):
        return None


def shown(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
