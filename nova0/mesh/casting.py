"""Casts, beats and news: one XPUB that others subscribe to, a mouth at each controller's ear, and a SUB
for each publisher listened to (a connecting SUB cannot tell publishers apart).

Casts are numbered per publisher and topic; marks in the beats show what was lost.
"""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import Any, Protocol

import gevent
import msgspec
import zmq

from nova0.mesh import entitlement, wire
from nova0.mesh import offers as dispatch
from nova0.mesh.certificate import Certificate
from nova0.mesh.counts import Counts
from nova0.mesh.door import dial
from nova0.mesh.driven import FAREWELL_MS, Driven
from nova0.mesh.errors import Busy
from nova0.mesh.follow import Follower
from nova0.mesh.hearing import Hearing
from nova0.mesh.keys import CurvePair, key_text
from nova0.mesh.members import Caller, Status
from nova0.mesh.monitor import Lines
from nova0.mesh.offers import Offered, Offers
from nova0.mesh.peer import Peer
from nova0.mesh.refusals import Refusals
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.surface import Role
from nova0.mesh.wire import CHATTER
from nova0.mesh.zap import RPC, dial_curve, limit, peer_address, serve_curve, user_id
from nova0.metrics import Traffic

LOG = logging.getLogger(__name__)
TOGETHER = 128  # casts in one frame
BUDGET = 32  # frames of one publisher in one turn of the loop: each may hold many casts
LARGE_BYTES = 64 << 10  # of arguments in one frame, or one cast that has more
MARK_S = 10.0  # a topic's mark stays in the beats for so long after its last cast
MOST_MARKS = 256
IN_TURN = 8  # older marks in each beat
MOST_TOPICS = 4096  # cast on by this node, topic@host counted each
MOST_SIGNAL_BYTES = 1 << 20
MOST_CAST_BYTES = MOST_SIGNAL_BYTES - (64 << 10)  # its arguments


class Hearer(Protocol):
    """What casting needs of its node."""

    settings: MeshSettings
    pair: CurvePair
    roster: Roster
    offers: Offers
    counts: Counts
    refusals: Refusals

    @property
    def context(self) -> zmq.Context: ...

    def heard_chatter(self, peer: Peer, signal: wire.Signal) -> None: ...

    def heard_again(self, peer: Peer, number: int) -> None: ...

    followers: dict[str, list[Follower]]

    def lost_casts(self, topic: str, publisher: str) -> None: ...

    @property
    def casts_watched(self) -> bool: ...

    def roles(self) -> tuple[str, ...]: ...

    def cast_seen(self, topic: str, method: str, publisher: str, arguments: bytes) -> None: ...


class Mouth:
    """A PUB that speaks into one controller's ear; hears nothing, so it needs no place on the loop."""

    def __init__(self, socket: zmq.Socket[bytes], traffic: Traffic) -> None:
        self._socket, self._traffic = socket, traffic

    def publish(self, body: bytes) -> None:
        try:
            self._socket.send(body, zmq.NOBLOCK)
        except zmq.Again:
            LOG.debug("a signal is lost: its queue is full")  # the marks will show it
            return
        self._traffic.frames_out += 1
        self._traffic.bytes_out += len(body)

    def close(self, linger_ms: int = 0) -> None:
        self._socket.close(linger_ms)


class Spoken(msgspec.Struct, eq=False):
    """What this node casts on one topic."""

    topic: str  # as on the wire
    name: str  # of the agents it is for
    for_us: bool  # with or without @host, this machine is meant
    number: int = 0  # of the last cast
    at: float = 0.0  # when that was
    waiting: list[wire.Cast] = []  # the last of those, not sent yet
    size: int = 0  # of their arguments


class Known(msgspec.Struct, eq=False):
    """The last beats of one key, of which everything but the number has been taken in."""

    peer: Peer
    chain: Any  # the very proof it had then: another one, and all is looked at anew
    boot: int
    tombs: wire.Tombs
    head: bytes
    tails: list[bytes]  # the one with its card, and without


class Casting:
    def __init__(self, home: Hearer, pub: zmq.Socket[bytes], ear: zmq.Socket[bytes] | None, boot: int) -> None:
        self._home, self._boot = home, boot
        self._node = home.settings.node
        self._spoken: dict[str, Spoken] = {}  # by topic as on the wire
        self._unsent: list[Spoken] = []
        self._armed = self._busy = False
        self._said = 0  # casts in this turn of the loop
        self._turn = 0  # in telling old marks
        self._hearing = Hearing(home.offers, self._node)
        self._said_lost = 0.0
        self._hub = gevent.get_hub()
        self._pub = Driven(pub, self._subscription, framed=True, traffic=home.counts.casts)
        self._lines = Lines()  # of the XPUB and the ear
        self._known: dict[str, Known] = {}  # by User-Id
        self._ear_socket = ear
        self._ear = Driven(ear, self._overheard, framed=True, traffic=home.counts.casts) if ear is not None else None
        self._subs: dict[str, Driven] = {}
        self._mouths: dict[str, Mouth] = {}
        self._wanted: set[str] = set()  # topics as on the wire
        self.want(CHATTER)

    # sending

    def cast(
        self, topic: str, method: str, body: bytes, request_id: str, context: dict[str, Any], plain: bool = False
    ) -> None:
        """Publish one cast, also to the agent here; `topic` may be topic@host. The first of a turn of the loop
        leaves at once, unless the last turn had more than one; the others leave together. Raises Busy for one
        topic too many."""
        spoken = self._spoken.get(topic)
        if spoken is None:
            if len(self._spoken) >= MOST_TOPICS:
                raise Busy(f"{self._node}: it casts on {MOST_TOPICS} topics already, none is added")
            name, _, only = topic.partition("@")
            spoken = self._spoken[topic] = Spoken(topic, name, only in ("", self._home.settings.host))
        self._said += 1
        spoken.number += 1
        spoken.at = time.monotonic()
        waiting = spoken.waiting
        if not waiting:
            self._unsent.append(spoken)
        cast = wire.Cast(method, wire.Raw(body), request_id, context, plain)
        waiting.append(cast)
        spoken.size += len(body)
        if len(waiting) >= TOGETHER or spoken.size >= LARGE_BYTES:
            self._speak(spoken)
        elif not self._armed and not self._busy:
            self._speak(spoken)
            self._arm()
        elif not self._armed:
            self._arm()
        home = self._home
        ours = spoken.for_us and spoken.name in home.offers.agents
        if ours or home.casts_watched or topic in home.followers:
            signal = wire.Casts(self._node, self._boot, spoken.number, [cast])
            self.deliver(home.settings.host, home.roles(), topic, signal)

    def publish(self, topic: str, signal: wire.Signal) -> None:
        """After the casts said so far, whose numbers a beat tells."""
        self.flush()
        self._publish(wire.write_signal(topic, signal))

    def flush(self) -> None:
        for spoken in self._unsent[:]:
            self._speak(spoken)

    def _speak(self, spoken: Spoken) -> None:
        casts, spoken.waiting, spoken.size = spoken.waiting, [], 0
        self._unsent.remove(spoken)
        first = spoken.number - len(casts) + 1
        self._publish(wire.write_signal(spoken.topic, wire.Casts(self._node, self._boot, first, casts)))

    def _publish(self, body: bytes) -> None:
        self._pub.publish(body)
        for mouth in self._mouths.values():
            mouth.publish(body)

    def _arm(self) -> None:
        self._armed = True
        self._hub.loop.run_callback(self._turn_over)

    def _turn_over(self) -> None:
        self._armed, self._busy, self._said = False, self._said > 1, 0
        if not self._pub.closed:
            self.flush()

    def marks(self) -> dict[str, int]:
        """Of the topics cast on lately, and a few of the others in turn, so that a beat stays small."""
        oldest = time.monotonic() - MARK_S
        recent = [(s.topic, s.number) for s in self._spoken.values() if s.at > oldest][-MOST_MARKS:]
        if self._turn >= len(self._spoken):
            self._turn = 0
        others = [(s.topic, s.number) for s in islice(self._spoken.values(), self._turn, self._turn + IN_TURN)]
        self._turn += IN_TURN
        return dict(others + recent)

    def number(self, topic: str) -> int:
        """Of the last cast on it; 0 before the first."""
        self.flush()
        spoken = self._spoken.get(topic)
        return spoken.number if spoken is not None else 0

    def sent(self) -> dict[str, int]:
        """Casts since the start, by topic (topic@host too): their numbers count them."""
        self.flush()
        return {spoken.topic: spoken.number for spoken in self._spoken.values()}

    @property
    def running(self) -> int:
        """Casts that wait for their turn or run."""
        return self._hearing.running

    # links

    def join(self, peer: Peer) -> None:
        """Connect to a peer just greeted; earlier sockets to it are replaced (it may have forgotten us)."""
        self.part(peer.node)
        card, home = peer.card, self._home
        if card.ear_port:
            mouth = home.context.socket(zmq.PUB)
            self._prepare(mouth, card)
            dial(mouth, card.address, card.ear_port)
            self._mouths[peer.node] = Mouth(mouth, home.counts.casts)
        if self._ear is not None:
            return  # a controller has an ear; every node speaks into it
        sub = home.context.socket(zmq.SUB)
        self._prepare(sub, card)
        for topic in self._wanted:
            sub.setsockopt(zmq.SUBSCRIBE, topic.encode() + b"\0")
        dial(sub, card.address, card.pub_port)
        self._subs[peer.node] = Driven(
            sub, lambda to, body: self._take(peer, body), traffic=home.counts.casts, budget=BUDGET
        )
        self._renewed(peer.node)

    def rest(self, seconds: float) -> None:
        """Hear thousands of beats in turns this far apart; 0: each as it comes."""
        if self._ear is not None:
            self._ear.rest_s = seconds

    def part(self, node: str) -> None:
        for closing in (self._subs.pop(node, None), self._mouths.pop(node, None)):
            if closing is not None:
                closing.close()

    def put_out(self, peers: list[Peer], users: set[str]) -> None:
        """Nothing more goes to them and to those keys (as User-Ids), nothing is heard of them."""
        self._known.clear()
        for peer in peers:
            self.part(peer.node)
        for user in users | {key_text(peer.card.key) for peer in peers}:
            self._lines.cut(user)

    def touched(self) -> None:
        """The bound sockets were used past this object."""
        self._pub.touched()
        if self._ear is not None:
            self._ear.touched()

    def want(self, topic: str) -> None:
        """Hear this topic (as on the wire) from every publisher joined, now and later."""
        if topic in self._wanted:
            return
        self._wanted.add(topic)
        self._known.clear()  # their marks are looked at again
        prefix = topic.encode() + b"\0"
        if self._ear_socket is not None:
            self._ear_socket.setsockopt(zmq.SUBSCRIBE, prefix)
            assert self._ear is not None
            self._ear.touched()
        for sub in self._subs.values():
            sub.socket.setsockopt(zmq.SUBSCRIBE, prefix)
            sub.touched()

    def close(self) -> None:
        self.flush()
        for ear in (*self._subs.values(), self._ear):
            if ear is not None:
                ear.close()  # a subscription that nobody took is not worth waiting for
        for node, mouth in self._mouths.items():
            peer = self._home.roster.peers.get(node)
            gone = peer is None or peer.status in (Status.DOWN, Status.LEFT)
            mouth.close(0 if gone else FAREWELL_MS)
        self._pub.close(FAREWELL_MS)
        self._subs.clear()
        self._mouths.clear()

    def _prepare(self, socket: zmq.Socket[bytes], card: wire.Card) -> None:
        dial_curve(socket, self._home.pair, card.key)
        limit(socket, most_bytes=MOST_SIGNAL_BYTES, handshake_s=self._home.settings.handshake_s)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 3000)

    # receiving (in the hub)

    def _subscription(self, _: bytes, frame: zmq.Frame) -> None:
        """XPUB_MANUAL: a key gets only the topics its certificate allows."""
        body = frame.bytes
        user = user_id(frame)
        self._lines.note(user, frame)
        if body[:1] not in (b"\x00", b"\x01"):
            self._home.refusals.note(peer_address(frame), "sends a publisher something else than subscriptions")
            self._lines.cut(user)
            self._cut_waiting()
            return
        certificate = self._home.roster.certificate_of(user)
        if body[:1] == b"\x00":
            self._pub.socket.setsockopt(zmq.UNSUBSCRIBE, body[1:])
        elif certificate is None:  # put out meanwhile
            self._lines.cut(user)
        elif body[:1] == b"\x01" and _may_hear(certificate, body[1:]):
            self._pub.socket.setsockopt(zmq.SUBSCRIBE, body[1:])

    def _cut_waiting(self) -> None:
        """After something else than a subscription libzmq takes those that wait for the next connection's each,
        until none does: they are dropped, and who sent them dials and subscribes anew."""
        socket = self._pub.socket
        while socket.poll(0):
            frame = socket.recv(zmq.NOBLOCK, copy=False)
            self._lines.note(user_id(frame), frame)
            self._lines.cut(user_id(frame))

    def _overheard(self, _: bytes, frame: zmq.Frame) -> None:
        """At the ear many speak; ZAP says which key, the roster whose it is."""
        body, user = frame.bytes, user_id(frame)
        known = self._known.get(user)
        number = -1 if known is None else self._alike(known, body)
        if known is not None and number >= 0:
            self._home.heard_again(known.peer, number)
        else:
            self._take(None, body, frame, user)

    def _alike(self, known: Known, body: bytes) -> int:
        """The number of a beat that says what the last ones did, if nothing that it would be compared with has
        changed here either; else -1."""
        peer = known.peer
        if (
            peer.status is not Status.UP
            or peer.chain is not known.chain
            or peer.boot != known.boot
            or self._home.roster.tombs is not known.tombs
            or self._home.followers
        ):
            return -1
        return wire.number_if_alike(body, known.head, known.tails)

    def _remember(self, user: str, peer: Peer, topic: str, body: bytes, beat: wire.Beat) -> None:
        """Not of a controller, which says something new each time, nor of this machine, which is kept a link to."""
        tombs = self._home.roster.tombs
        if peer.is_controller or peer.card.host == self._home.settings.host:
            return
        if beat.boot != peer.boot or beat.tombs != tombs or peer.status is not Status.UP:
            return
        parts = wire.around_number(topic, body, beat)
        if parts is None:
            return
        head, tail = parts
        known = self._known.get(user)
        if known is None or known.head != head or known.chain is not peer.chain or known.tombs is not tombs:
            if known is None and len(self._known) >= self._home.settings.peers:
                self._known.clear()
            known = self._known[user] = Known(peer, peer.chain, peer.boot, tombs, head, [])
        known.tails = [*known.tails[-1:], tail]

    def _take(self, peer: Peer | None, body: bytes, frame: zmq.Frame | None = None, user: str = "") -> None:
        try:
            topic, signal, offered = self._read(body)
        except wire.BadFrame as error:
            LOG.debug("%s: not a signal: %s", self._node, error)
            return
        if frame is not None:
            peer = self._home.roster.peers.get(signal.node)
            if peer is None or peer.chain is None or key_text(peer.card.key) != user:
                if self._home.roster.certificate_of(user) is None:
                    self._lines.note(user, frame)
                    self._lines.cut(user)
                return  # not greeted yet, put out, or somebody speaks in another's name
        if peer is None or signal.node != peer.node or peer.chain is None:
            return
        if isinstance(signal, wire.Casts):
            if signal.boot == peer.boot:
                self._home.roster.heard(peer, signal.boot)
                self._cast(peer, topic, signal, offered)
        else:
            if isinstance(signal, wire.Beat) and signal.boot == peer.boot:
                self._compare(peer, signal)
            self._home.heard_chatter(peer, signal)
            if user and isinstance(signal, wire.Beat):
                self._remember(user, peer, topic, body, signal)

    def _read(self, body: bytes) -> tuple[str, wire.Signal, Offered | None]:
        """Who watches or follows wants the arguments as they came."""
        home = self._home
        followed = home.followers and body.partition(b"\0")[0].decode(errors="replace") in home.followers
        if home.casts_watched or followed:
            return *wire.read_signal(body), None
        return self._hearing.read(body)

    def _cast(self, peer: Peer, topic: str, signal: wire.Casts, offered: Offered | None) -> None:
        if not self._home.roster.hears(peer, topic):
            return
        first, end = signal.number, signal.number + len(signal.casts) - 1
        last = peer.numbers.get(topic)
        if (last is not None and end <= last) or not signal.casts:
            return
        if last is not None and first <= last:
            signal.casts, signal.number = signal.casts[last + 1 - first :], last + 1
        peer.numbers[topic] = end
        if last is not None and first > last + 1:
            self._home.lost_casts(topic, peer.node)
        self.deliver(peer.card.host, peer.roles, topic, signal, peer.near, offered)

    def greeted(self, peer: Peer, marks: dict[str, int]) -> None:
        """The way its casts come is new, and it says how far they are: what is missing was lost with the old
        way. What it cast before it was first met here is nobody's loss."""
        for topic, mark in marks.items():
            last = peer.numbers.get(topic)
            if topic in self._wanted and (last is None or mark > last) and self._home.roster.hears(peer, topic):
                peer.numbers[topic] = mark
                if last is not None:
                    self._home.lost_casts(topic, peer.node)
        self._renewed(peer.node)

    def _renewed(self, node: str) -> None:
        for followers in self._home.followers.values():
            for follower in followers:
                follower.renewed(node)

    def _compare(self, peer: Peer, beat: wire.Beat) -> None:
        """Marks above what came here: something was lost on the way."""
        first = peer.beat < 0
        for topic, followers in self._home.followers.items():
            for follower in followers:
                follower.published(peer.node, beat.boot, beat.marks.get(topic, 0))
        for topic, mark in beat.marks.items():
            if topic not in self._wanted or not self._home.roster.hears(peer, topic):
                continue
            last = peer.numbers.get(topic)
            if last is None or mark > last:
                peer.numbers[topic] = mark
                if last is not None or not first:
                    self._home.lost_casts(topic, peer.node)

    def deliver(
        self,
        host: str,
        roles: tuple[str, ...],
        topic: str,
        signal: wire.Casts,
        near: str | None = None,
        offered: Offered | None = None,
    ) -> None:
        """Hand casts to the agent here, if there is one. Also for this node's own casts. `offered` as `Hearing.read`
        said. Hub or greenlet."""
        home, node, casts = self._home, signal.node, signal.casts
        if home.casts_watched:
            for cast in casts:
                home.cast_seen(topic, cast.method, node, bytes(cast.arguments))
        name, _, only = topic.partition("@")
        settings = home.settings
        near = host if near is None else near
        certified = dispatch.roles_seen(roles, near, settings.host)
        member = dispatch.roles_seen((str(Role.MEMBER),), near, settings.host)
        for follower in home.followers.get(topic, ()):
            for number, cast in enumerate(casts, signal.number):
                allowed = member if cast.plain else certified
                follower.heard(node, signal.boot, number, allowed, cast.method, bytes(cast.arguments))
        if name not in home.offers.agents or only not in ("", settings.host):
            return
        room = settings.casts_running - self.running
        if room < len(casts):
            if time.monotonic() - self._said_lost > 10:
                self._said_lost = time.monotonic()
                LOG.warning("%s: %d casts are at work; some on %s are lost", self._node, self.running, topic)
            home.counts.casts_dropped += len(casts) - room
            home.lost_casts(topic, node)
            casts = casts[:room]
        caller = Caller(node=node, host=host, roles=certified, request_id="")
        self._hearing.run(name, casts, caller, member, offered)


def sockets(home: Hearer, *, ear: bool) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes] | None]:
    """The bound sockets, closed to unknown keys, not yet bound."""
    made: list[zmq.Socket[bytes]] = []
    for kind in (zmq.XPUB, zmq.SUB) if ear else (zmq.XPUB,):
        socket = home.context.socket(kind)
        serve_curve(socket, home.pair, RPC)
        limit(socket, most_bytes=MOST_SIGNAL_BYTES, handshake_s=home.settings.handshake_s)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
        made.append(socket)
    return made[0], (made[1] if ear else None)


def _may_hear(certificate: Certificate, prefix: bytes) -> bool:
    topic = prefix.rstrip(b"\0").decode(errors="replace")
    if not prefix.endswith(b"\0"):
        return False  # an open prefix would hear every topic
    return topic == CHATTER or entitlement.may_hear(certificate, topic)
