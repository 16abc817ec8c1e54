"""Who this node listens to, what it says of itself each second, and what it makes of what it hears.

Controllers listen to all; a host to the controllers, its own machine and a few ring neighbours, so
links grow with N and not N². Of the rest a host knows what the controllers tell.
"""

from __future__ import annotations

import logging
import random
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Protocol

import gevent
import msgspec

from nova0.mesh import addresses, buffers, wire
from nova0.mesh.answering import Answering
from nova0.mesh.calling import Calling
from nova0.mesh.casting import Casting
from nova0.mesh.door import Door
from nova0.mesh.errors import MeshError
from nova0.mesh.evicting import Evicting
from nova0.mesh.finding import Finding
from nova0.mesh.link import Link
from nova0.mesh.liveness import Judge, Verdict
from nova0.mesh.members import Status
from nova0.mesh.mesh_api import MeshAPI
from nova0.mesh.offers import Offers
from nova0.mesh.peer import Peer
from nova0.mesh.rekeying import Rekeying
from nova0.mesh.ring import interest, place
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.stores import Stores
from nova0.mesh.zap import ZapHandler
from nova0.native import offload

LOG = logging.getLogger(__name__)
TICK_S = 0.2
CARD_EVERY = 10  # beats
PULL_S = 2.0  # a digest of members may differ for so long before they are asked for
IDLE_S = 60
MOST_IDLE = 256  # links that rest: of more, those unused longest are closed sooner; each holds four descriptors
SAVE_AGAIN = 100  # ticks until the disk is tried again that refused
LOST_S = 5  # a link dialled only to look for a lost peer is given up after so long
LOOKED_FOR = 10  # lost peers a controller of many dials in a second
WITNESSES = 3  # others asked of a suspect
PROBED = 50  # suspects dialled at once
MOST_INTRODUCED = 64  # members told in a Welcome, if there are no more; else SOME
SOME = 16  # of many; the rest is asked for
NEWS = 500  # members told in one message
SETTLE_S = 15.0  # a restarted controller of many waits so long for those it remembers before it speaks of them
REST_S = 0.05  # between two looks at the beats of very many
FRESH_S = 1.5  # a witness that heard the suspect this recently keeps it from going down


class Home(Protocol):
    """What watching needs of its node."""

    settings: MeshSettings
    host: str
    node: str
    boot: int
    serial: int
    roster: Roster
    offers: Offers
    stores: Stores
    answering: Answering
    casting: Casting
    calling: Calling
    evicting: Evicting
    rekeying: Rekeying
    door: Door
    finding: Finding
    zap: ZapHandler

    @property
    def is_controller(self) -> bool: ...

    def card(self) -> wire.Card: ...

    def seen(self) -> list[wire.Seen]: ...

    def link(self, peer: Peer) -> Link[Peer]: ...

    def said_goodbye(self, peer: Peer, boot: int) -> None: ...


class Watching:
    def __init__(self, node: Home) -> None:
        self._node = node
        s = node.settings
        self._judge = Judge(s.beat_s * s.missed_beats, s.probe_s)
        self._number = 0
        self._nonce = 0
        self._news: set[str] = set()
        self._claims: dict[str, dict[str, wire.Seen]] = {}  # controller -> node -> what it says
        self._differs: dict[str, float] = {}  # controller -> since when its digest is not ours
        self._digest: tuple[int, bytes] = (-1, b"")
        self._stale = False
        self._idle: dict[str, int] = {}  # node -> seconds its link was not needed
        self._loops: list[gevent.Greenlet] = []
        self._save_from = 0  # tick of the chores; later after the disk refused
        self._beat_wanted = self._frugal = False
        self._pulls: dict[str, float] = {}  # controller -> how much longer this node waits than others
        self._theirs: dict[str, bytes] = {}  # controller -> digest over its claims here, until they change
        self._remembered: dict[str, tuple[int, int]] | None = None  # until a controller of many has settled
        self._settle_by = 0.0
        self._probing = 0  # suspects dialled in this tick
        self._linked: list[str] | None = None  # peers this node has links to, in this tick
        self._ring: list[str] = []  # all names learned, by `place`
        self._controllers: dict[str, None] = {}
        self._lost: list[str] = []  # still to be looked for in this round

    @property
    def _many(self) -> bool:
        """A controller of so many that it hears them in turns, and waits for them after a restart."""
        return self._node.is_controller and len(self._node.roster.peers) > self._node.settings.many

    @property
    def _too_many_links(self) -> bool:
        """A controller that keeps no links of its own to all: each costs it 90 KiB and four descriptors."""
        return self._node.is_controller and len(self._node.roster.peers) > self._node.settings.links_kept

    def start(self) -> None:
        node = self._node
        for peer in node.roster.peers.values():
            self._learned(peer)
        self._news.clear()
        node.roster.learned.append(self._learned)
        node.roster.changed.append(self._changed)
        node.roster.told.append(lambda peer, old: self._news.add(peer.node))
        if self._many:
            self._remembered = {p.node: (p.card.boot, p.card.serial) for p in node.roster.peers.values()}
            self._settle_by = time.monotonic() + SETTLE_S
        node.finding.write_card()
        node.finding.siblings()
        self._choose()
        loops = (self._beats, self._ticks, self._chores, node.finding.seeds)
        self._loops = [gevent.spawn(self._go_on, loop) for loop in loops]

    def stop(self) -> None:
        gevent.killall(self._loops, block=False)
        for peer in self._node.roster.peers.values():
            peer.watched = False

    def _go_on(self, loop: Callable[[], None]) -> None:
        """A loop goes on, whatever one turn of it met: no descriptor left, a listener's error."""
        while True:
            try:
                loop()
                return
            except Exception:
                LOG.exception("%s: a turn of %s failed", self._node.node, loop.__name__)
                gevent.sleep(1)

    # what this node says

    def beat(self, *, with_card: bool = False) -> None:
        node = self._node
        self._number += 1
        card = node.card() if with_card or self._number % CARD_EVERY == 1 else None
        signal = wire.Beat(
            node.node, node.boot, self._number, node.serial, node.answering.running, node.casting.marks(),
            node.roster.tombs, self._own_digest(), card, node.settings.commit_mark(),
        )  # fmt: skip
        node.casting.publish(wire.CHATTER, signal)

    def choose_anew(self) -> None:
        """Whom this node listens to may have changed."""
        self._stale = True

    def announce(self) -> None:
        """The card changed."""
        self._node.finding.write_card()
        self._stale = True
        self.beat(with_card=True)

    def beat_soon(self) -> None:
        """Whoever was just greeted hears of us without waiting for the next second."""
        self._beat_wanted = True

    def _beats(self) -> None:
        pause = self._node.settings.beat_s
        due = time.monotonic()
        while True:
            self.beat()
            self._frugal = self._too_many_links
            self._node.casting.rest(REST_S if self._many else 0.0)
            due = max(due + pause, time.monotonic())
            gevent.sleep(due - time.monotonic())

    def _own_digest(self) -> bytes:
        node = self._node
        if not node.is_controller or self._remembered is not None:
            return b""
        version = node.roster.version * 1000 + node.serial
        if self._digest[0] != version:
            self._digest = (version, digest(node.seen()))
        return self._digest[1]

    def _tell_news(self) -> None:
        node = self._node
        if self._remembered is not None:
            return
        if self._news and node.is_controller:
            peers = [node.roster.peers[n] for n in self._news if n in node.roster.peers]
            seen = [node.roster.seen_of(p) for p in peers if p.listed]
            for at in range(0, len(seen), NEWS):
                node.casting.publish(wire.CHATTER, wire.Told(node.node, seen[at : at + NEWS]))
        self._news.clear()

    def _settle(self) -> None:
        """After a restart among many: say nothing of them until most are back, for what others remember of
        what we said before still holds; then tell only what differs from it."""
        known = self._remembered
        if known is None:
            return
        peers = self._node.roster.peers.values()
        if time.monotonic() < self._settle_by and any(p.status is Status.UNKNOWN for p in peers if p.listed):
            return
        alike = (p for p in peers if known.get(p.node) == (p.card.boot, p.card.serial))
        self._news = {p.node for p in peers if p.listed} - {p.node for p in alike if p.status is Status.UP}
        self._remembered = None

    def introduction(self) -> list[wire.Seen]:
        """Members told to a peer that greets: all of a few; of many the controllers and some others to know.
        It asks for the rest when it finds that its digest differs."""
        node = self._node
        if len(node.roster.peers) < MOST_INTRODUCED:
            return node.seen()
        chosen = [*self._controllers, *random.sample(self._ring, min(len(self._ring), SOME))]
        peers = [node.roster.peers.get(name) for name in dict.fromkeys(chosen)]
        known = [node.roster.seen_of(p) for p in peers if p is not None and p.listed]
        return [wire.Seen(node.card(), str(Status.UP), 0.0), *known][:SOME]

    # what it hears

    def heard_again(self, peer: Peer, number: int) -> None:
        """A beat of one who is up, with nothing in it but its number that its last ones did not say."""
        peer.heard_at, peer.beat = time.monotonic(), number
        if not self._frugal:
            self._reach(peer)

    def heard(self, peer: Peer, signal: wire.Signal) -> None:
        node = self._node
        if isinstance(signal, wire.Beat):
            if signal.boot != peer.boot:
                if signal.boot > peer.boot and peer.link is not None and not peer.link.up:
                    peer.link.hurry()
                node.roster.twin_beats(peer, signal.boot)
                return
            node.roster.heard(peer, signal.boot)
            peer.load, peer.beat = signal.load, signal.number
            if signal.card is not None:
                node.roster.recard(peer, signal.card)
            self._reach(peer)
            node.evicting.beat(peer, signal.tombs)
            if peer.is_controller and signal.commit_mark:
                node.stores.marked(peer.node, signal.boot, signal.commit_mark)
            if peer.is_controller and signal.members:
                self._compare(peer, signal.members)
        elif isinstance(signal, wire.Left):
            node.said_goodbye(peer, signal.boot)
        elif isinstance(signal, wire.Told):
            self.told(peer, signal.members, whole=False)

    def told(self, by: Peer, members: list[wire.Seen], *, whole: bool = True) -> None:
        """A proven member says who there is. Cards are hints; of a status only a controller's word counts,
        and only where this node does not hear the peer itself."""
        node = self._node
        claims: dict[str, wire.Seen] = {}  # of a host: not kept, nothing is compared with them
        if by.is_controller:
            claims = self._claims.setdefault(by.node, claims)
            self._theirs.pop(by.node, None)
        if whole:
            claims.clear()
        for seen in members[: wire.MAX_MEMBERS]:
            claims[seen.card.node] = seen
            if seen.quarantine and by.is_controller and node.roster.admits(seen.card.key):
                node.roster.quarantine(seen.card.key, seen.quarantine)
            card = seen.card
            if "%" in card.address:
                card = msgspec.structs.replace(card, address=addresses.seen_from_here(card.address, by.card.address))
            peer = node.roster.hint(card, listed=by.is_controller)
            if peer is None or not by.is_controller or seen.card.boot < peer.card.boot:
                continue
            try:
                status = Status(seen.status)
            except ValueError:
                continue
            if status is Status.UNKNOWN or peer.node == by.node:
                continue
            if not peer.watched or (peer.status is Status.UNKNOWN and status in (Status.DOWN, Status.LEFT)):
                peer.claimed_by = by.node
                if seen.age_s is not None:
                    peer.heard_at = time.monotonic() - seen.age_s
                node.roster.become(peer, status, "")

    def _compare(self, by: Peer, theirs: bytes) -> None:
        claims = self._claims.get(by.node, {})
        mine = self._theirs.get(by.node)
        if mine is None:
            mine = self._theirs[by.node] = digest(list(claims.values()))
        if claims and mine == theirs:
            self._differs.pop(by.node, None)
            now = time.monotonic()
            for peer in self._node.roster.peers.values():
                if not peer.watched and peer.claimed_by == by.node and peer.status is Status.UP:
                    peer.heard_at = now  # said again by this beat
            return
        if by.node not in self._differs:
            self._differs[by.node] = time.monotonic()
            self._pulls[by.node] = PULL_S + random.uniform(0, len(self._node.roster.peers) / 200)  # noqa: S311  (spread)
        waited = time.monotonic() - self._differs[by.node]
        if waited > self._pulls[by.node] and by.link is not None and by.link.up:
            self._differs[by.node] = time.monotonic()
            gevent.spawn(self._pull, by)

    def _pull(self, by: Peer) -> None:
        from nova0.mesh.codec import codecs_of

        codec = codecs_of(MeshAPI)["cards"]
        try:
            body = self._node.calling.ask(
                MeshAPI.topic, None, "cards", codec.pack_arguments((), {}), patience=codec.row.timeout, node=by.node
            )
            self.told(by, codec.unpack_result(body))
        except MeshError as error:
            LOG.debug("%s: members of %s not fetched: %s", self._node.node, by.node, error)

    # liveness

    def cut(self, peer: Peer, why: str) -> None:
        if peer.watched and peer.status is Status.UP:
            self._apply(self._judge.suspect(peer, time.monotonic(), why))

    def caller_cut(self, peer: Peer) -> None:
        """Its connection to here broke."""
        if peer.status is Status.UP:
            peer.cut_at = time.monotonic()
            self._judge.look_at(peer)

    def greeted(self, peer: Peer) -> None:
        peer.cut_at = None
        self._reach(peer)

    def ponged(self, peer: Peer, pong: wire.Pong) -> None:
        """A witness answered about a suspect (a pong of its own is life by itself)."""
        suspect = self._node.roster.peers.get(pong.node)
        if suspect is None or suspect.status is not Status.SUSPECT or pong.age_s is None:
            return
        if pong.age_s < FRESH_S:
            suspect.suspect_at = time.monotonic()
            suspect.detail = f"heard by {peer.node}, not from here"

    def _ticks(self) -> None:
        while True:
            gevent.sleep(TICK_S)
            self._probing, self._linked = 0, None
            for verdict in self._judge.tick(time.monotonic(), self._node.roster.peers.values()):
                self._apply(verdict)

    def _apply(self, verdict: Verdict) -> None:
        if verdict.status is not None:
            self._node.roster.become(verdict.peer, verdict.status, verdict.detail)
        if verdict.probe:
            self._probe(verdict.peer)

    def _probe(self, peer: Peer) -> None:
        self._nonce += 1
        self._say(peer, wire.Ping(self._nonce))
        if peer.link is None:
            self._probing += 1
        if self._probing <= PROBED and not self._node.link(peer).up:
            self._node.link(peer).hurry()
        asked = 0
        for other in self._witnesses(peer):
            asked += self._say(other, wire.Ping(self._nonce, peer.node))
            if asked == WITNESSES:
                break

    def _say(self, peer: Peer, message: wire.Message) -> bool:
        """Over our link, else over the one it dialled to here."""
        return (peer.link is not None and peer.link.say(message)) or self._node.answering.say(peer, message)

    def _witnesses(self, suspect: Peer) -> Iterator[Peer]:
        """Who may have heard it: its neighbours on the ring first, for they listen to it; then who is linked."""
        peers = self._node.roster.peers
        at = bisect_left(self._ring, place(suspect.node), key=place)
        near = [self._ring[(at + step) % len(self._ring)] for step in (1, -1, 2, -2, 3, -3)]
        if self._linked is None:
            self._linked = [p.node for p in peers.values() if p.link is not None and p.link.up]
        for name in dict.fromkeys((*near, *self._linked)):
            other = peers.get(name)
            if other is not None and other is not suspect and other.status is Status.UP:
                yield other

    # whom it listens to

    def _learned(self, peer: Peer) -> None:
        self._frugal = self._too_many_links
        self._news.add(peer.node)
        self._stale = True
        if peer.is_controller:
            self._controllers[peer.node] = None
        at = bisect_left(self._ring, place(peer.node), key=place)
        if at == len(self._ring) or self._ring[at] != peer.node:
            self._ring.insert(at, peer.node)

    def _changed(self, peer: Peer, old: Status) -> None:
        if not self._node.is_controller:  # the ring leads past the dead
            self._stale = True

    def _keeps(self, peer: Peer) -> bool:
        """Is a link to this one kept up though nobody calls?"""
        return peer.watched and (not self._frugal or peer.is_controller or peer.card.host == self._node.host)

    def _reach(self, peer: Peer) -> None:
        if self._keeps(peer):
            link = self._node.link(peer)
            if not link.up:
                link.hurry()

    def _choose(self) -> None:
        node = self._node
        self._stale = False
        wanted = interest(
            node.node,
            node.is_controller,
            node.offers.hears_from(),
            list(node.roster.peers.values()),
            node.settings.ring,
        )
        for peer in list(node.roster.peers.values()):
            if peer.node in wanted:
                if not peer.watched:
                    peer.watched = True
                    self._judge.look_at(peer)
                    if peer.link is not None and peer.link.up:
                        node.casting.join(peer)
                    else:
                        self._reach(peer)
            elif peer.watched:
                peer.watched = False
                node.casting.part(peer.node)
                if peer.link is not None and not peer.link.pending:
                    peer.link.stop()

    def _chores(self) -> None:
        ticks = 0
        while True:
            gevent.sleep(0.1)
            ticks += 1
            if self._stale:
                self._choose()
            self._tell_news()
            self._node.rekeying.look()
            if self._node.zap.sweep():
                offload(buffers.give_back)
            if self._beat_wanted:
                self._beat_wanted = False
                self.beat()
            if ticks % 10 == 0:
                self._settle()
                self._node.roster.calm_down()
                self._node.finding.siblings()
                self._rest_idle()
                if self._frugal and self._remembered is None:
                    self._look_for_lost()
                self._node.door.sweep()
                self._node.evicting.save()
                if self._node.roster.dirty and ticks >= self._save_from:
                    self._save(ticks)
                if self._node.stores.due:
                    offload(self._node.stores.save)

    def _save(self, ticks: int) -> None:
        try:
            offload(self._node.roster.save)
        except OSError as error:  # of use after a restart only: this node goes on without
            self._save_from = ticks + SAVE_AGAIN
            LOG.warning("%s: what is known of others is not on disk: %s", self._node.node, error)

    def _rest_idle(self) -> None:
        """Links opened for a call and not used since are closed again."""
        idle: list[tuple[int, Peer]] = []
        for peer in self._node.roster.peers.values():
            link = peer.link
            if link is None:
                continue
            if self._keeps(peer) or link.pending or not link.wanted:
                self._idle.pop(peer.node, None)
            else:
                self._idle[peer.node] = self._idle.get(peer.node, 0) + 1
                if self._idle[peer.node] >= (IDLE_S if link.up else LOST_S):
                    link.rest()
                elif link.up and self._idle[peer.node] > 1:  # what ends a call may still be said within a second
                    idle.append((self._idle[peer.node], peer))
        if len(idle) > MOST_IDLE:
            idle.sort(key=lambda one: -one[0])
            for _, peer in idle[: len(idle) - MOST_IDLE]:
                if peer.link is not None:
                    peer.link.rest()

    def _look_for_lost(self) -> None:
        """Who is not here and does not come by itself (it may have lost our address) is dialled in turn."""
        peers = self._node.roster.peers
        if not self._lost:
            gone = (Status.UNKNOWN, Status.DOWN)
            self._lost = [p.node for p in peers.values() if p.watched and p.status in gone]
        for name in self._lost[:LOOKED_FOR]:
            peer = peers.get(name)
            if peer is not None and peer.status is not Status.UP:
                self._node.link(peer).hurry()
        del self._lost[:LOOKED_FOR]


def digest(members: list[wire.Seen]) -> bytes:
    """Over who there is and in which state, not over ages."""
    rows = sorted((s.card.node, s.card.boot, s.card.serial, s.status) for s in members)
    return blake2b(repr(rows).encode(), digest_size=8).digest()
