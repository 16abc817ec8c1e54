"""Streams over sockets: one ROUTER for those who come, a DEALER for each stream opened from here.

A stream has a connection of its own, on an I/O thread that calls do not use, so a full or slow stream
delays no call. Who may speak was settled at the greeting of the link; here the key must be the same.
"""

from __future__ import annotations

import logging
from typing import Protocol

import gevent
import zmq
from gevent.event import AsyncResult

from nova0.mesh import wire
from nova0.mesh.codec import wire_form
from nova0.mesh.counts import Counts
from nova0.mesh.door import dial
from nova0.mesh.driven import Driven
from nova0.mesh.errors import Incompatible, MeshError, StreamBroken, StreamRefused, Unreachable, from_wire
from nova0.mesh.keys import CurvePair, key_text
from nova0.mesh.link import Link
from nova0.mesh.members import Status
from nova0.mesh.monitor import Dialled, Gate, Lines
from nova0.mesh.peer import Peer
from nova0.mesh.refusals import Refusals
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.streams.flow import CHUNK, LARGEST, OVERHEAD
from nova0.mesh.streams.service import Service
from nova0.mesh.streams.stream import Handler, Stream, pair
from nova0.mesh.streams.tickets import Ticket, check_roles
from nova0.mesh.surface import Role
from nova0.mesh.zap import STREAM_THREAD, dial_curve, limit, peer_address, user_id

LOG = logging.getLogger(__name__)
MOST_BYTES = CHUNK + 4096  # of one frame
LAST_WORDS_MS = 30_000  # a closed connection keeps what a slow network has not taken yet
PAUSE_S = 0.1  # between two attempts to open one stream
READ_AT_ONCE = 16  # messages per turn: four megabytes, then others run


class Home(Protocol):
    """What streams need of their node."""

    settings: MeshSettings
    node: str
    boot: int
    pair: CurvePair
    roster: Roster
    counts: Counts

    @property
    def context(self) -> zmq.Context: ...

    def link(self, peer: Peer) -> Link[Peer]: ...


def prepare(socket: zmq.Socket[bytes], handshake_s: float) -> None:
    """Credit bounds what lies in these queues; a mark reached by honest peers would stop the heartbeats."""
    limit(socket, most_bytes=MOST_BYTES, handshake_s=handshake_s, beats_s=1, thread=STREAM_THREAD)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 2 * LARGEST // OVERHEAD)


class Links:
    def __init__(self, home: Home, router: zmq.Socket[bytes], refusals: Refusals) -> None:
        self._home, self._refusals = home, refusals
        self.service = Service(home.node, home.settings.streams)
        self._routes: dict[bytes, _Accepted] = {}
        self._descriptors: dict[int, _Accepted] = {}
        self._lines = Lines()
        self._gate = Gate(home.context, router, refusals, gone=self._hung_up)
        self._driven = Driven(router, self._heard, routed=True, budget=READ_AT_ONCE, traffic=home.counts.streams)

    def close(self) -> None:
        self.service.close()
        self._gate.close()
        self._driven.close(1000)

    def touched(self) -> None:
        """The socket was used past this object."""
        self._driven.touched()

    def peer_changed(self, peer: Peer) -> None:
        """Its status is another: with one that is down or has left, nothing is open any more."""
        if peer.status in (Status.DOWN, Status.LEFT):
            self.cut(peer.node, f"{peer.node} is {peer.status}{': ' if peer.detail else ''}{peer.detail}")

    def put_out(self, peers: list[Peer], users: set[str]) -> None:
        """Their streams ended when they left; cut what connections they, or those keys, still hold."""
        for user in users | {key_text(peer.card.key) for peer in peers}:
            self._lines.cut(user)

    def cut(self, node: str, why: str) -> None:
        """End every stream with that node, and its connections."""
        self.service.cut(lambda stream: stream.peer == node, why)

    # opened from here

    def open(self, ticket: Ticket, timeout_s: float, roles: tuple[Role, ...] = ()) -> Stream:
        """As `Bus.open_stream`."""
        self.service.check_room()
        home = self._home
        if ticket.node == home.node:
            check_roles(home.node, home.roster.own_roles, roles)
            return self._open_here(ticket)
        peer = home.roster.peers.get(ticket.node)
        if peer is None:
            raise Unreachable(f"{ticket.node}: no such node is known here; see `nova0 agents`")
        try:
            with gevent.Timeout(timeout_s):
                while True:
                    _alive(peer)
                    link = home.link(peer)
                    if not link.up:
                        link.wait_up(PAUSE_S)
                        continue
                    certified = peer.certificate.roles if peer.certificate is not None else ()
                    check_roles(peer.node, certified, roles)
                    try:
                        return self._dial(peer, ticket)
                    except Unreachable as error:
                        LOG.info("%s: %s", home.node, error)
                        gevent.sleep(PAUSE_S)
        except gevent.Timeout:
            why = peer.detail or (peer.link.trouble if peer.link is not None else "") or "no answer"
            raise Unreachable(f"{ticket.node}: no stream within {timeout_s:g} s: {why}") from None

    def _dial(self, peer: Peer, ticket: Ticket) -> Stream:
        home = self._home
        if not peer.card.stream_port:
            raise Incompatible(f"{peer.node} (nova0 {peer.card.version}) opens no streams: upgrade nova0 there")
        dialled = _Opening(home, peer, ticket.purpose, self.service)
        try:
            dialled.send_open(ticket, home)
            dialled.answered.get()
        except BaseException:
            dialled.drop(False)
            raise
        return dialled.stream

    def _open_here(self, ticket: Ticket) -> Stream:
        handler = self.service.tickets.redeem(ticket.secret, ticket.purpose, self._home.node)
        mine, theirs = pair(self._home.node, self._home.node, ticket.purpose, self.service.gone)
        for stream in (mine, theirs):
            self.service.add(stream)
        self.service.serve(theirs, handler)
        return mine

    # opened by others (in the hub)

    def _heard(self, route: bytes, frame: zmq.Frame) -> None:
        accepted = self._routes.get(route)
        user = user_id(frame)
        if accepted is None:
            self._lines.note(user, frame)
        try:
            message = wire.read_streamed(frame.buffer)
        except wire.BadFrame as error:
            self._refusals.note(peer_address(frame), f"garbage in a stream: {error}")
            if accepted is not None:
                accepted.stream.broken(StreamBroken(f"{accepted.stream}: not a message of this protocol"))
            return
        if accepted is None:
            if isinstance(message, wire.Open):
                self._open(route, user, frame, message)
            return  # a late word on a stream that is over
        if accepted.user != user or not self._home.roster.admits(accepted.key):
            accepted.stream.broken(StreamBroken(f"{accepted.stream}: its key is no member's any more"))
        else:
            accepted.stream.heard(message)

    def _open(self, route: bytes, user: str, frame: zmq.Frame, ask: wire.Open) -> None:
        try:
            peer, handler = self._admit(user, ask)
        except MeshError as error:
            self._refusals.note(peer_address(frame), error.message)
            self._put(route, wire.Broken(wire_form(error)))
            return
        self._gate.catch_up()  # what an earlier connection of this descriptor did is over
        accepted = _Accepted(self, route, user, peer, ask.purpose, int(frame.get(zmq.SRCFD)))
        self._routes[route] = self._descriptors[accepted.descriptor] = accepted
        stream = accepted.stream
        self.service.add(stream)
        try:
            stream.opened(ask.window)
        except ValueError as error:
            stream.close(StreamBroken(f"{self._home.node}: {error}"))
            return
        self._put(route, wire.Opened(stream.window))
        self.service.serve(stream, handler)

    def _admit(self, user: str, ask: wire.Open) -> tuple[Peer, Handler]:
        here, peer = self._home.node, self._home.roster.peers.get(ask.node)
        if peer is None or peer.chain is None or key_text(peer.card.key) != user or peer.boot != ask.boot:
            raise StreamRefused(f"{here}: {ask.node} opens a stream before it greets")
        if not self._home.roster.admits(peer.card.key):
            raise StreamRefused(f"{here}: {ask.node} is no member any more")
        self.service.check_room("" if peer.is_certified_controller else peer.card.host)
        return peer, self.service.tickets.redeem(ask.secret, ask.purpose, ask.node)

    def _put(self, route: bytes, message: wire.Streamed) -> None:
        self._driven.post(wire.encode(message), route)

    def _hung_up(self, descriptor: int, inode: int) -> None:
        accepted = self._descriptors.pop(descriptor, None)
        if accepted is not None and not accepted.stream.closed:
            self._driven.drain()  # its last words may lie here unread
            accepted.stream.broken(StreamBroken(f"{accepted.stream}: link cut"))


def _alive(peer: Peer) -> None:
    if peer.status in (Status.DOWN, Status.LEFT):
        raise Unreachable(f"{peer.node} is {peer.status}: {peer.detail or 'said goodbye'}: no stream")


class _Accepted:
    """The offering side's carrier: one route of the ROUTER."""

    def __init__(self, links: Links, route: bytes, user: str, peer: Peer, purpose: str, descriptor: int) -> None:
        self._links, self._route, self.user, self.key, self.descriptor = links, route, user, peer.card.key, descriptor
        self.stream = Stream(self, links.service.node, peer.node, purpose, links.service.gone)

    def put(self, message: wire.Streamed) -> None:
        self._links._put(self._route, message)

    def drop(self, last_words: bool) -> None:
        self._links._routes.pop(self._route, None)


class _Opening:
    """The opening side's carrier: a DEALER of its own."""

    def __init__(self, home: Home, peer: Peer, purpose: str, service: Service) -> None:
        self.answered: AsyncResult = AsyncResult()
        self._peer, self._service, self._dropped = peer, service, False
        self.stream = Stream(self, home.node, peer.node, purpose, service.gone)
        socket = home.context.socket(zmq.DEALER)
        dial_curve(socket, home.pair, peer.card.key)
        prepare(socket, home.settings.handshake_s)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._watch = Dialled(home.context, socket, self._cut)
        self._driven = Driven(socket, self._heard, framed=True, budget=READ_AT_ONCE, traffic=home.counts.streams)
        dial(socket, peer.card.address, peer.card.stream_port)

    def send_open(self, ticket: Ticket, home: Home) -> None:
        self.put(wire.Open(home.node, home.boot, ticket.purpose, ticket.secret, self.stream.window))

    def put(self, message: wire.Streamed) -> None:
        self._driven.post(wire.encode(message))

    def drop(self, last_words: bool) -> None:
        if not self._dropped:
            self._dropped = True
            self._watch.close()
            self._driven.close(LAST_WORDS_MS if last_words else 0)

    def _heard(self, _: bytes, frame: zmq.Frame) -> None:
        try:
            message = wire.read_streamed(frame.buffer)
        except wire.BadFrame as error:
            LOG.warning("%s: not a message of a stream: %s", self._peer.node, error)
            return
        if self.answered.ready():
            self.stream.heard(message)
        elif isinstance(message, wire.Opened):
            try:
                self.stream.opened(message.window)
            except ValueError as error:
                self.answered.set_exception(StreamBroken(f"{self.stream}: {error}"))
                return
            self._service.add(self.stream)
            self.answered.set(None)
        elif isinstance(message, wire.Broken):
            told = from_wire(message.error)
            self.answered.set_exception(told if isinstance(told, MeshError) else StreamRefused(str(told)))

    def _cut(self, why: str, locked_out: bool) -> None:
        self._driven.drain()  # its last words may lie here unread
        if not self.answered.ready():
            self.answered.set_exception(Unreachable(f"{self._peer.node}: stream {self.stream.purpose}: {why}"))
        elif not self.stream.closed:
            self.stream.broken(StreamBroken(f"{self.stream}: {why}"))
