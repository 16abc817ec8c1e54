"""What a node does with tombstones: hear of them, pass them on, cut off those they name.

A new one goes to every peer at once, who passes it on; a difference in count or digest, at a greeting or
in a beat, makes two nodes show each other all they hold.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent

from nova0.mesh import wire
from nova0.mesh.answering import Answering
from nova0.mesh.casting import Casting
from nova0.mesh.certificate import Tombstone
from nova0.mesh.errors import JoinRefused, PutOut
from nova0.mesh.identity import Identity
from nova0.mesh.keys import key_name, key_text
from nova0.mesh.peer import Peer
from nova0.mesh.refusals import Refusals
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.streams.links import Links
from nova0.mesh.tombstones import put_out_text
from nova0.native import offload

LOG = logging.getLogger(__name__)
DIFFER_S = 1.0  # sets may differ for so long (a push is under way) before they are shown
SHOW_AGAIN_S = 60.0  # at most, between two tries with a peer that stays of another opinion
QUIET_S = 10.0  # not listened to, after tombstones that do not hold


class Home(Protocol):
    """What evicting needs of its node."""

    node: str
    settings: MeshSettings
    identity: Identity
    roster: Roster
    answering: Answering
    casting: Casting
    streams: Links
    refusals: Refusals

    def go_out(self, tombstone: Tombstone) -> None: ...


class Evicting:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._set = home.roster.tombstones
        self._differs: dict[str, tuple[float, float]] = {}  # node -> (when to show ours, pause after that)
        self._quiet: dict[str, float] = {}  # node -> until when
        self._at_work: set[str] = set()
        self._renewed = (0, 0)  # (tombstones, generation of signers) when they were last looked through

    def put_out(self, stones: list[bytes]) -> list[Tombstone]:
        """Said by somebody on this machine. The new ones, after they took effect here. Raises JoinRefused."""
        new, wrong = self._set.merge(stones)
        self._act(new)
        if wrong:
            raise JoinRefused(wrong)
        return new

    def compare(self, peer: Peer, hello: wire.Hello) -> wire.Stones | None:
        """At a greeting, before anything is served: None when our sets agree, else what it must see first."""
        mine = self._set.summary
        if peer.protocol < 2 or hello.tombs == mine:
            return None
        if hello.stones:
            self._merge(peer, hello.stones)
        if hello.met == mine.digest:
            return None  # each has seen all of the other
        return self._all(ask=True)

    def took(self, peer: Peer, said: wire.Stones, answer: Callable[[wire.Stones], Any]) -> None:
        """Over a link that is up (in the hub). One message of a peer at a time; the beats mend what is passed over."""
        if peer.node not in self._at_work:
            self._at_work.add(peer.node)
            gevent.spawn(self._take, peer, said, answer)

    def told(self, peer: Peer, said: wire.Stones) -> None:
        """In place of a Welcome."""
        self._merge(peer, said.stones)

    def told_put_out(self, peer: Peer, error: PutOut) -> None:
        """A door turned us away with a tombstone; it counts if it holds, whoever showed it."""
        stone = error.data.get("stone")
        if isinstance(stone, bytes):
            self._merge(peer, [stone])

    def beat(self, peer: Peer, theirs: wire.Tombs) -> None:
        """What a peer's beat says of its set (in the hub)."""
        if peer.protocol < 2 or theirs == self._set.summary:
            self._differs.pop(peer.node, None)
            return
        now = time.monotonic()
        due, pause = self._differs.setdefault(peer.node, (now + DIFFER_S, 2 * DIFFER_S))
        if now >= due:
            self._differs[peer.node] = now + pause, min(SHOW_AGAIN_S, 2 * pause)
            self._say(self._all(ask=True), [peer])

    def save(self) -> None:
        """Write what could not be written before; on a controller see to it that others believe what is held.
        Run now and then."""
        identity = self._home.identity
        held = len(self._set), identity.signers.generation
        try:
            if self._set.unsaved:
                offload(self._set.save)
            if held != self._renewed and identity.can_sign:
                self._set.renew(identity.signer())
            self._renewed = held
        except OSError as error:
            LOG.debug("%s: tombstones still not written: %s", self._home.node, error)

    def _take(self, peer: Peer, said: wire.Stones, answer: Callable[[wire.Stones], Any]) -> None:
        try:
            self._merge(peer, said.stones)
            if said.ask and said.tombs != self._set.summary:
                answer(self._all(ask=False))
        finally:
            self._at_work.discard(peer.node)

    def _merge(self, peer: Peer, stones: list[bytes]) -> None:
        """Forged ones cost a few signatures each ten seconds."""
        now = time.monotonic()
        if now < self._quiet.get(peer.node, 0.0):
            return
        new, wrong = self._set.merge(stones)
        if wrong:
            self._quiet = {node: until for node, until in self._quiet.items() if until > now}
            self._quiet[peer.node] = now + QUIET_S
            self._home.refusals.note(peer.card.address, f"{peer.node} shows a tombstone: {wrong}")
        self._act(new)

    def _act(self, new: list[Tombstone]) -> None:
        """They are on disk and count; now their effect. Does not block."""
        if not new:
            return
        home = self._home
        for tombstone in new[:8]:
            LOG.warning("%s: %s (key %s)", home.node, put_out_text(tombstone), key_name(tombstone.key))
        if len(new) > 8:
            LOG.warning("%s: and %d more: `nova0 evict --list`", home.node, len(new) - 8)
        others = list(home.roster.peers.values())
        went = home.roster.put_out()
        self._say(wire.Stones(self._set.summary, [self._set.stone(tombstone.key) for tombstone in new]), others)
        for peer in went:
            self._differs.pop(peer.node, None)
            if peer.link is not None:
                peer.link.put_out(peer.detail)
        users = {key_text(tombstone.key) for tombstone in new}  # also of a machine that has another key now
        home.casting.put_out(went, users)
        home.answering.put_out(went, users)
        home.streams.put_out(went, users)
        mine = self._set.of(home.identity.chain)
        if mine is not None:
            home.go_out(mine)

    def _say(self, message: wire.Stones, peers: list[Peer]) -> None:
        able = [peer for peer in peers if peer.protocol >= 2]
        self._home.answering.tell(message, [p for p in able if p.link is None or not p.link.say(message)])

    def _all(self, *, ask: bool) -> wire.Stones:
        return wire.Stones(self._set.summary, self._set.stones(), ask)
