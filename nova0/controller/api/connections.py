"""Who is connected, and who gives way when there is no room: for one more connection, body or answer.

A connection is at work, or waits for its client: for a request, for the rest of one, for an answer to be taken. When
a bound is reached, the one that has waited longest gives way, those that never showed a good token first; one at work
never does. So whoever comes is served at once, and who holds much does nobody else any harm.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import time
from collections.abc import Collection, Iterator
from typing import Any

import gevent
from gevent import monkey
from gevent.event import Event

_poll = monkey.get_original("select", "poll")

BODIES_MOST_BYTES = 64 * 1024 * 1024  # of bodies not yet whole, of all connections together
ANSWERS_MOST_BYTES = 128 * 1024 * 1024  # of answers not yet taken; one alone may be larger


class NoRoom(Exception):
    """Everything is at work: nobody can give way."""


class GaveWay(OSError):
    """This connection was the one to give way."""


class Connection:
    """One client's connection. `known`: it has shown a good token."""

    def __init__(self, table: Connections, address: str, transport: Any) -> None:
        self._table, self.address, self.transport = table, address, transport
        self.known = False
        self.gone = Event()
        self.last_words = False  # it gives way, but its client is told why
        self.waits_since: float | None = time.monotonic()
        self.between_requests = True
        self.body_bytes = self.answer_bytes = 0

    @contextlib.contextmanager
    def waiting(self, since: float | None = None, *, between_requests: bool = False) -> Iterator[None]:
        """While it holds, the client is waited for (`since`: has been, since that moment of time.monotonic)."""
        if self.gone.is_set() and not self.last_words:
            raise GaveWay("gave way to others")
        self.waits_since, self.between_requests = since or time.monotonic(), between_requests
        try:
            yield
        finally:
            self.waits_since, self.between_requests = None, False

    def wait(self, event: Event | None, seconds: float) -> bool:
        """Until `event` is set or the time is over, ready to give way; whether it is set. Raises GaveWay."""
        awaited = [self.gone] if event is None else [event, self.gone]
        with self.waiting():
            gevent.wait(awaited, timeout=seconds, count=1)
        if self.gone.is_set():
            raise GaveWay("gave way to others")
        return event is not None and event.is_set()

    def take_body(self, count: int) -> None:
        """Count bytes of a body that is not yet whole. Raises NoRoom, GaveWay."""
        self._table.make_room(self, "body_bytes", count, BODIES_MOST_BYTES)

    def leave_body(self, count: int | None = None) -> None:
        """So many bytes (None: all) are read by now, or given up."""
        self._table.leave_room(self, "body_bytes", self.body_bytes if count is None else count)

    def take_answer(self, count: int) -> None:
        """Count bytes of an answer that the client has not yet taken. Raises GaveWay."""
        if not self.last_words:
            self._table.make_room(self, "answer_bytes", count, ANSWERS_MOST_BYTES, alone=True)

    def leave_answer(self, count: int) -> None:
        """The client has taken them, or gets them no more."""
        self._table.leave_room(self, "answer_bytes", count)

    def give_way(self) -> None:
        """End it: it counts no more from now on, and what its greenlet waits for ends."""
        # Of a body its half only: who sends it can still be told why.
        self.last_words = bool(self.body_bytes)
        how = socket.SHUT_RD if self.last_words else socket.SHUT_RDWR
        self._table.remove(self)
        self.gone.set()
        with contextlib.suppress(OSError):
            self.transport._sock.shutdown(how)  # below gevent and TLS: whoever waits there sees the end


class Connections:
    """All of one server. `most` of all, `per_address` from one; an IPv6 network of 64 bits counts as one."""

    def __init__(self, most: int, per_address: int) -> None:
        self.most, self.per_address = most, per_address
        self.count = 0
        self.body_bytes = self.answer_bytes = 0
        self._by_address: dict[str, dict[Connection, None]] = {}

    def admit(self, address: Any, transport: Any) -> Connection:
        """Take one in. Raises NoRoom."""
        place = place_of(address)
        mine = self._by_address.get(place, {})
        if len(mine) >= self.per_address and not _end_one(mine):
            raise NoRoom(f"{place} has {len(mine)} connections, all at work")
        if self.count >= self.most and not self.end_one():
            raise NoRoom(f"{self.count} connections, all at work")
        made = Connection(self, place, transport)
        self._by_address.setdefault(place, {})[made] = None
        self.count += 1
        return made

    def end_one(self) -> bool:
        """The one that waits longest, of the address that has most."""
        return any(_end_one(mine) for mine in sorted(self._by_address.values(), key=len, reverse=True))

    def remove(self, connection: Connection) -> None:
        """It has ended."""
        mine = self._by_address.get(connection.address, {})
        if connection in mine:
            del mine[connection]
            self.count -= 1
            if not mine:
                del self._by_address[connection.address]
        connection.leave_body()
        connection.leave_answer(connection.answer_bytes)

    def make_room(self, who: Connection, kind: str, count: int, most: int, *, alone: bool = False) -> None:
        """Count `count` more for `who`; others give way where it is needed. With `alone` one may pass the bound when
        nobody else can give way, otherwise that raises NoRoom."""
        if who.gone.is_set():
            raise GaveWay("gave way to others")
        while getattr(self, kind) + count > most:
            if not _end_one([one for one in self._all() if one is not who and getattr(one, kind)]):
                if alone:
                    break
                raise NoRoom("all the room for bodies is taken")
        setattr(self, kind, getattr(self, kind) + count)
        setattr(who, kind, getattr(who, kind) + count)

    def leave_room(self, who: Connection, kind: str, count: int) -> None:
        """Count less, but nothing twice: who gave way has nothing any more."""
        count = min(count, getattr(who, kind))
        setattr(self, kind, getattr(self, kind) - count)
        setattr(who, kind, getattr(who, kind) - count)

    def _all(self) -> Iterator[Connection]:
        for mine in self._by_address.values():
            yield from mine


def _end_one(among: Collection[Connection]) -> Connection | None:
    """End the one that gives way first; None when all are at work."""
    for known in (False, True):
        waiting = [one for one in among if one.known is known and one.waits_since is not None]
        waiting.sort(key=_since)
        for one in waiting:
            if not (one.between_requests and _has_come(one.transport)):  # its next request lies there already
                one.give_way()
                return one
    return None


def _since(one: Connection) -> float:
    return one.waits_since or 0.0


def _has_come(transport: Any) -> bool:
    poller = _poll()
    try:
        poller.register(transport.fileno(), select.POLLIN)
        return bool(poller.poll(0))
    except (OSError, ValueError):
        return False


def place_of(address: Any) -> str:
    """What counts as one address: an IPv4 address, or the network of 64 bits that an IPv6 subscriber has."""
    text = str(address[0]) if isinstance(address, tuple) and address else "local"
    if ":" not in text:
        return text
    try:
        found = ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))


def of(environ: dict[str, Any]) -> Connection:
    """The connection a request came over; one of its own where no server of ours has read it."""
    found: Connection = environ.setdefault("nova0.connection", Connection(Connections(1, 1), "", None))
    return found
