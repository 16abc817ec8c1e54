"""Tickets: who may open which stream, until when and how often. Kept by the node that offers; lost with it."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from nova0.mesh.errors import Busy, NotAllowed, StreamRefused
from nova0.mesh.surface import Role

LOG = logging.getLogger(__name__)
REMEMBER_S = 600.0  # an ended ticket is told from a forged one for so long
MOST_ENDED = 1024


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to open a stream: hand it to the peer it is for, in an ordinary call. The secret is in no log."""

    node: str  # that offers
    purpose: str
    secret: bytes

    def check_of(self, who: str) -> None:
        """Raises NotAllowed where `who`, a node or a host, is not who offers it; "" is anybody."""
        if who not in ("", self.node, self.node.partition("/")[0]):
            raise NotAllowed(f"a ticket of {self.node!r:.80} where one of {who} was asked for: not used")

    def __repr__(self) -> str:
        return f"Ticket(node={self.node!r}, purpose={self.purpose!r})"


class _Terms:
    __slots__ = ("expires_at", "expires_s", "handler", "peer", "purpose", "uses", "why_ended")

    def __init__(self, peer: str, purpose: str, handler: Any, expires_s: float, expires_at: float, uses: int) -> None:
        self.peer, self.purpose, self.handler = peer, purpose, handler
        self.expires_s, self.expires_at, self.uses = expires_s, expires_at, uses
        self.why_ended = ""

    def is_for(self, node: str) -> bool:
        return self.peer in (node, node.partition("/")[0])


class TicketBook:
    def __init__(self, node: str, most: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._node, self._most, self._clock = node, most, clock
        self._open: dict[bytes, _Terms] = {}
        self._ended: OrderedDict[bytes, _Terms] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def make(self, purpose: str, handler: Any, peer: str, expires_s: float, uses: int) -> Ticket:
        """`peer` is a node ("lab1/host"), or a host ("lab1") for any process of it; one host holds no more than it
        leaves to others. Raises Busy."""
        if not peer or not purpose or expires_s <= 0 or uses < 1:
            raise ValueError("a ticket names a peer and a purpose, lasts some time and is good for one use or more")
        self._sweep()
        host, free = peer.partition("/")[0], self._most - len(self._open)
        if sum(terms.peer.partition("/")[0] == host for terms in self._open.values()) >= free:
            raise Busy(f"{self._node}: {len(self._open)} tickets wait to be used here; ask again later")
        ticket = Ticket(node=self._node, purpose=purpose, secret=secrets.token_bytes(24))
        terms = _Terms(peer, purpose, handler, expires_s, self._clock() + expires_s, uses)
        self._open[_name(ticket.secret)] = terms
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Good for nothing from now on; streams it opened go on."""
        name = _name(ticket.secret)
        if name in self._open:
            self._end(name, "was withdrawn")

    def redeem(self, secret: bytes, purpose: str, node: str) -> Any:
        """What the ticket was made for; one use less. Raises StreamRefused, which tells why only to the peer
        the ticket is for: to others each ticket is one that does not exist."""
        self._sweep()
        name = _name(secret)
        terms = self._open.get(name) or self._ended.get(name)
        if terms is None:
            raise self._refused(node, "it is not known here (forged, or from before a restart)", "")
        if not terms.is_for(node):
            raise self._refused(node, f"it is {terms.peer}'s, for {terms.purpose}", "")
        if terms.why_ended:
            raise self._refused(node, f"for {terms.purpose}, {terms.why_ended}", terms.why_ended)
        if purpose != terms.purpose:
            why = f"is for {terms.purpose}, not for {purpose[:64]}"
            raise self._refused(node, why, why)
        terms.uses -= 1
        if not terms.uses:
            self._end(name, "was used already")
        return terms.handler

    def _refused(self, node: str, why: str, told: str) -> StreamRefused:
        LOG.warning("%s: %s shows a ticket that is refused: %s", self._node, node, why)
        if told:
            return StreamRefused(f"{self._node}: {node}'s ticket {told}: ask for a new one")
        return StreamRefused(f"{self._node}: no such ticket for {node}: ask for a new one")

    def _end(self, name: bytes, why: str) -> None:
        terms = self._open.pop(name)
        terms.why_ended = why
        self._ended[name] = terms
        while len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def _sweep(self) -> None:
        now = self._clock()
        for name in [n for n, t in self._open.items() if now >= t.expires_at]:
            self._end(name, f"has expired after {self._open[name].expires_s:g} s")
        for name in [n for n, t in self._ended.items() if now >= t.expires_at + REMEMBER_S]:
            del self._ended[name]


def check_roles(node: str, certified: tuple[str, ...], wanted: tuple[Role, ...]) -> None:
    """Raises NotAllowed where a node has none of the roles wanted of it; none wanted: any member."""
    if wanted and Role.MEMBER not in wanted and not any(role in wanted for role in certified):
        has, needs = ", ".join(certified) or "none", " or ".join(wanted)
        raise NotAllowed(f"{node} (roles: {has}) is no {needs} by its certificate: no stream of it is taken")


def _name(secret: bytes) -> bytes:
    """Looked up by hash: how long a look-up takes tells nothing of the secrets here."""
    return hashlib.blake2b(secret, digest_size=16).digest()
