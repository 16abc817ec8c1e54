"""One process of the mesh: puts the parts together and is the `Bus` an application sees.

What a part decides is in its own file; here is only who hears what from whom. See DESIGN.md.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gevent
import msgspec
import zmq

import nova0
from nova0 import trace
from nova0.mesh import addresses, buffers, casting, entitlement, identity, keys, machine, rekeying, telemetry, wire
from nova0.mesh import offers as dispatch
from nova0.mesh.answering import Answering
from nova0.mesh.asking import Asking
from nova0.mesh.base_bus import BaseBus
from nova0.mesh.calling import Calling
from nova0.mesh.certificate import Chain, Tombstone, machine_of
from nova0.mesh.codec import MethodCodec, codecs_of, fits
from nova0.mesh.counts import Counts
from nova0.mesh.door import Door
from nova0.mesh.errors import Incompatible, JoinRefused, NotAllowed, PutOut, Unreachable
from nova0.mesh.evicting import Evicting
from nova0.mesh.finding import Finding
from nova0.mesh.follow import Follower, Snapshot
from nova0.mesh.gatekeeper import Gatekeeper
from nova0.mesh.greeting import Greeting
from nova0.mesh.journal import Journal
from nova0.mesh.link import Link
from nova0.mesh.listeners import Listeners
from nova0.mesh.local_socket import LocalSocket
from nova0.mesh.members import Member, Status
from nova0.mesh.mesh_agent import MeshAgent
from nova0.mesh.mesh_api import MeshAPI
from nova0.mesh.monitor import Gate
from nova0.mesh.operators import Operators
from nova0.mesh.orders import Orders
from nova0.mesh.peer import Peer
from nova0.mesh.refusals import Refusals
from nova0.mesh.roster import Roster
from nova0.mesh.rotation import Rotation
from nova0.mesh.scraped import Scraped
from nova0.mesh.settings import MeshSettings
from nova0.mesh.stalls import Stalls
from nova0.mesh.stores import Stores
from nova0.mesh.streams import links
from nova0.mesh.streams.stream import Handler, Stream
from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.stub import Stub
from nova0.mesh.surface import Role, Surface
from nova0.mesh.tokens import FileTokenBook, TokenBook
from nova0.mesh.tombstones import COME_BACK, put_out_text, refuse_if_out
from nova0.mesh.watching import Watching
from nova0.mesh.zap import RPC, ZapHandler, limit, serve_curve

if TYPE_CHECKING:
    from nova0.mesh.discovery import Discovery

LOG = logging.getLogger(__name__)
ZERO_COPY_RECV = 10  # of zmq_ctx_set, without a name in pyzmq. Off: small messages leave most of a buffer untouched
T = TypeVar("T")


class Node(BaseBus):
    """`Node(settings)`; `offer`, `start`, `stub` ...; `stop`. Raises JoinRefused on a machine that is in
    no cluster, Busy when a port is taken."""

    # made by `start`
    zap: ZapHandler
    door: Door
    _listeners: Listeners
    journal: Journal
    streams: links.Links
    answering: Answering
    casting: casting.Casting
    calling: Calling
    finding: Finding
    watching: Watching
    evicting: Evicting
    greeting: Greeting

    def __init__(self, settings: MeshSettings, *, tokens: TokenBook | None = None) -> None:
        self.settings, self.host, self.node = settings, settings.host, settings.node
        state_dir = Path(settings.state_dir)
        self.identity = identity.load(state_dir)
        if self.identity.certificate.host != settings.host:
            raise Incompatible(
                f"{state_dir}: this machine joined as {self.identity.certificate.host}, not {settings.host}: "
                "use that name, or empty the folder and join again"
            )
        self.pair = self.identity.pair
        self.boot = 0
        self.counts = Counts()
        self.asking = Asking(self)
        self.offers = dispatch.Offers(self.node)
        self.refusals = Refusals(self.node)
        self.stalls = Stalls(self.node, settings.stall_ms, self.counts.stalled)
        self.roster = Roster(self.identity, self.node, settings.peers)
        refuse_if_out(self.identity)
        self.stores = Stores(self.identity, settings.process)
        self.tokens: TokenBook = tokens or FileTokenBook(state_dir)
        self.gatekeeper = Gatekeeper(self)
        self.operators = Operators(self.identity, self.roster.tombstones, self.node)
        self.address = ""
        self.out = ""  # why this machine was put out of the cluster, if it was
        self.serial = 0  # grows with each change of the card
        self._birth = secrets.randbits(48)
        self._ports = [0, 0, 0, 0, 0]  # as Listeners.ports, once they are bound
        self._member_heard: list[Callable[[Member, Status], None]] = []
        self._gap_heard: list[Callable[[str, str], None]] = []
        self._cast_heard: list[Callable[[str, str, str, bytes], None]] = []
        self.followers: dict[str, list[Follower]] = {}
        self._running = self._open = False
        self._discovery: Discovery | None = None
        self._local = LocalSocket(self) if settings.socket_path else None
        self._scraped = (
            Scraped(settings.metrics_listen, partial(telemetry.families, self)) if settings.metrics_listen else None
        )
        self.rekeying = rekeying.Rekeying(self)
        self.rotation = Rotation(self)
        self.orders = Orders(self)
        self.offers.add(MeshAgent(self))
        self.roster.changed.append(self._changed)
        self.roster.told.append(self._told)

    # what an application sees (mesh.bus.Bus)

    def offer(self, agent: Surface) -> None:
        self.offers.check(agent, self.identity.certificate)
        self.offers.add(agent)
        if self._running:
            self._hear(type(agent).topic)
            self.serial += 1
            self.watching.announce()

    def start(self) -> None:
        """Bind, remember, find the others. Returns when this node can be called; peers appear by and by."""
        if self._running:
            return
        buffers.keep()
        self._lock = keys.only_one(Path(self.settings.state_dir), self.settings.process)
        wanted = self.rekeying.wanted
        try:
            machine.check(self.settings, moved=wanted)
        except JoinRefused:
            self._lock.close()
            raise
        step = rekeying.AHEAD if wanted else 1
        self.boot = keys.next_boot(Path(self.settings.state_dir), self.settings.process, step)
        self.roster.load()  # thousands take a while: nobody is let in to wait for it
        self._context = zmq.Context(io_threads=2)  # zap.CALL_THREAD, zap.STREAM_THREAD
        self._open = True
        self._context.set(zmq.MAX_SOCKETS, 65_000)
        with contextlib.suppress(zmq.ZMQError):  # an older libzmq lacks it
            self._context.set(ZERO_COPY_RECV, 0)
        _raise_descriptors()
        self.address = addresses.own_address(self.settings)
        try:
            self._bind()
        except BaseException:
            for part in reversed(self._opened):  # watchers must go before their sockets
                part.close()
            self._open = False
            self._context.destroy(0)
            self._lock.close()
            raise
        self._running = True
        for topic in self.offers.topics:
            self._hear(topic)
        for topic, followers in self.followers.items():
            self.casting.want(topic)
            for follower in followers:
                follower.start()
        self.watching.start()
        self.stalls.start()
        self.rekeying.start()
        if self.settings.mdns:
            self._discover()
        if self._local is not None:
            self._local.start()
        if self._scraped is not None:
            self._scraped.start()
        self.offers.start_timers()
        LOG.info(
            "%s: up at %s, start %d, rpc %d, door %d",
            self.node,
            self.address,
            self.boot,
            self._ports[0],
            self._ports[3],
        )

    def stop(self) -> None:
        if not self._running:
            return
        self.offers.stop_timers()
        for follower in [f for followers in self.followers.values() for f in followers]:
            follower.stop()
        self.answering.drain(self.settings.goodbye_s)
        if self._local is not None:
            self._local.stop()
        if self._scraped is not None:
            self._scraped.stop()
        self.watching.stop()
        self.rekeying.stop()
        if self._discovery is not None:
            self._discovery.stop()
        self.stalls.stop()
        self._running = False
        self.answering.farewell(wire.Goodbye(self.node, self.boot))
        self.casting.publish(wire.CHATTER, wire.Left(self.node, self.boot))
        for peer in self.roster.peers.values():
            if peer.link is not None:
                peer.link.say(wire.Goodbye(self.node, self.boot))
        gevent.sleep(0.02)  # one turn, so that queued frames are with libzmq
        self._open = False
        self.calling.close()
        for peer in self.roster.peers.values():
            if peer.link is not None:
                peer.link.close()
        self.streams.close()
        self._rpc_gate.close()
        for part in (self.door, self.answering, self.casting, self.zap):
            part.close()
        self.journal.close()
        self.roster.save()
        self.stores.save(now=True)
        with gevent.Timeout(2, False):  # frames under way; the rest is not worth waiting for
            gevent.get_hub().threadpool.apply(self._context.term)
        self._lock.close()

    def members(self) -> list[Member]:
        return [self._me(), *map(self._with_doubt, self.roster.members())]

    def _with_doubt(self, member: Member) -> Member:
        """A controller on whose word this node destroys nothing is shown so here, too, not by that controller only."""
        doubt = self.stores.doubt(member.node)
        if not doubt:
            return member
        detail = f"{member.detail} {self.node} destroys nothing for it: {doubt}".strip()
        return msgspec.structs.replace(member, detail=detail)

    def on_member(self, heard: Callable[[Member, Status], None]) -> None:
        self._member_heard.append(heard)

    def on_gap(self, heard: Callable[[str, str], None]) -> None:
        self._gap_heard.append(heard)

    def on_cast(self, heard: Callable[[str, str, str, bytes], None]) -> None:
        """`heard(topic, method, publisher, encoded arguments)` for every cast that comes here; for `watch`."""
        self._cast_heard.append(heard)

    def acknowledge(self, request_ids: list[str]) -> None:
        self.calling.acknowledge(request_ids)

    def cancel(self, request_ids: list[str]) -> None:
        self.calling.cancel(request_ids)

    def hosts_put_out(self) -> dict[str, tuple[str, float]]:
        return self.roster.hosts_put_out()

    def store_doubt(self, of: str = "") -> str:
        return self.stores.doubt(of)

    def snapshot(self, surface: type[Surface], value: T, host: str | None = None) -> Snapshot[T]:
        topic = f"{surface.topic}@{host}" if host else surface.topic
        return Snapshot(publisher=self.node, boot=self.boot, number=self.casting.number(topic), value=value)

    def follow(
        self,
        surface: type[Surface],
        fetch: Callable[[], Snapshot[Any]],
        on_snapshot: Callable[[Any], None],
        on_update: Callable[[str, dict[str, Any]], None],
        host: str | None = None,
    ) -> Follower:
        topic = f"{surface.topic}@{host}" if host else surface.topic
        if not entitlement.may_hear(self.identity.certificate, topic):
            says = entitlement.says(self.identity.certificate)
            raise NotAllowed(f"{self.node}: its certificate ({says}) does not let it hear casts on {topic!r}")

        def fetched() -> Snapshot[Any]:
            snapshot = fetch()
            if snapshot.publisher != self.node:
                self.calling.choose(surface.topic, None, snapshot.publisher)  # is it certified to have that state?
            return snapshot

        follower = Follower(surface, topic, fetched, on_snapshot, on_update, self._unfollow)
        self.followers.setdefault(topic, []).append(follower)
        self.offers.listen(surface)
        if self._running:
            self.casting.want(topic)
            self.watching.choose_anew()
            follower.start()
        return follower

    def _unfollow(self, follower: Follower) -> None:
        self.followers[follower.topic].remove(follower)

    def offer_stream(
        self, purpose: str, handler: Handler, *, peer: str | None = None, expires_s: float = 60.0, uses: int = 1
    ) -> Ticket:
        if not self._running:
            raise Unreachable(f"{self.node}: not started")
        return self.streams.service.offer(purpose, handler, peer, expires_s, uses)

    def withdraw_stream(self, ticket: Ticket) -> None:
        self.streams.service.tickets.withdraw(ticket)

    def open_stream(
        self, ticket: Ticket, *, timeout_s: float = 10.0, of: str = "", roles: tuple[Role, ...] = ()
    ) -> Stream:
        if not self._running:
            raise Unreachable(f"{self.node}: not started")
        ticket.check_of(of)
        return self.streams.open(ticket, timeout_s, roles)

    @property
    def context(self) -> zmq.Context:
        """Where sockets are made. Raises Unreachable once this node stops: a socket made on a context
        that ends takes the whole process with it."""
        if not self._open:
            raise Unreachable(f"{self.node}: not running")
        return self._context

    @property
    def cluster_id(self) -> str:
        """The root's public key, hex: what tells two clusters apart."""
        return self.identity.cluster.hex()

    @property
    def door_port(self) -> int:
        """Where newcomers knock; 0 before `start`."""
        return self._ports[3]

    def behind_its_machine(self) -> bool:
        """Of a user's agent: its machine has another certificate than the one it was vouched for with."""
        mine = machine_of(self.identity.chain)
        return bool(self.identity.certificate.process) and any(
            peer.card.host == self.host
            and peer.status is Status.UP
            and peer.chain is not None
            and not peer.is_users
            and peer.chain.certificate != self.identity.chain.certificate
            and machine_of(peer.chain).serial >= mine.serial
            for peer in self.roster.peers.values()
        )

    # what the parts ask of their node

    def roles(self) -> tuple[str, ...]:
        return tuple(r for r in self.settings.roles if r in self.identity.certificate.roles)

    @property
    def is_controller(self) -> bool:
        return "controller" in self.roles()

    def chain(self, roots_known: int = 0) -> Chain:
        return self.identity.chain_to(roots_known)

    def card(self) -> wire.Card:
        rpc, pub, ear, door, stream = self._ports
        topics = tuple(dict.fromkeys((*self.settings.topics, *self.offers.topics)))
        return wire.Card(
            self.node, self.roles(), topics, self.address, rpc, door, pub, ear,
            self.pair.public, nova0.__version__, self.boot, self.serial, self.settings.speaks, stream, self._birth,
        )  # fmt: skip

    def hello(self, met: bytes | None = None) -> wire.Hello:
        return self.greeting.hello(met)

    def greet(self, key: bytes, address: str, hello: wire.Hello) -> tuple[Peer, wire.Welcome | wire.Stones]:
        return self.greeting.greet(key, address, hello)

    def welcomed(self, peer: Peer, welcome: wire.Welcome) -> None:
        if not self._running:
            raise Unreachable(f"{self.node}: stopping")
        self.greeting.welcomed(peer, welcome)

    def link(self, peer: Peer) -> Link[Peer]:
        if self.out:
            raise Unreachable(self.out)
        if peer.link is None:
            if not self._running:  # a socket on a context that ends would take the process with it
                raise Unreachable(f"{self.node}: not running")
            peer.link = Link(self, peer)
        return peer.link

    def ask(self, peer: Peer, method: str, **arguments: Any) -> Any:
        """One method of the topic `mesh`, of that very node."""
        codec = codecs_of(MeshAPI)[method]
        body = self.calling.ask(
            MeshAPI.topic,
            None,
            method,
            codec.pack_arguments((), arguments),
            patience=codec.row.timeout,
            node=peer.node,
        )
        return codec.unpack_result(body)

    # another key for this machine (mesh.rekeying)

    def listen_anew(self) -> list[int]:
        """New ports at which the present key listens, beside the ones there are. Returns those before."""
        self.finding.look_again()  # other processes' cards may hold under this key that did not before
        before = self._listeners.move(self.pair)
        self._ports_changed()
        self._touched()
        if self._discovery is not None:
            gevent.spawn(self._discover_anew, self._discovery)
        return before

    def close_listeners(self, before: list[int]) -> None:
        """Those for the key before, with their connections."""
        changed = self._listeners.close(before)
        self._touched()
        if changed:
            self._ports_changed()

    def _ports_changed(self) -> None:
        self.serial += 1
        self.watching.announce()

    def _touched(self) -> None:
        """The sockets were used past those who drive them."""
        for part in (self.answering, self.casting, self.streams):
            part.touched()

    def _discover_anew(self, before: Discovery) -> None:
        before.stop()
        if self._running and self._discovery is before:
            self._discover()

    def took_stones(self, peer: Peer, said: wire.Stones, answer: Callable[[wire.Stones], Any]) -> None:
        self.evicting.took(peer, said, answer)

    def told_stones(self, peer: Peer, said: wire.Stones) -> None:
        self.evicting.told(peer, said)

    def told_put_out(self, peer: Peer, error: PutOut) -> None:
        self.evicting.told_put_out(peer, error)

    def go_out(self, tombstone: Tombstone) -> None:
        """This machine was put out: it serves nobody and asks nobody, and says why to whoever asks here."""
        self.rekeying.look()  # another process of this machine may have changed the key
        if self.out or self.roster.tombstones.of(self.identity.chain) is None:
            return
        self.out = f"{put_out_text(tombstone)}. {COME_BACK}"
        LOG.error("%s: %s", self.node, self.out)
        self.answering.shut()
        self.watching.stop()
        if self._discovery is not None:
            self._discovery.stop()
            self._discovery = None
        for peer in self.roster.peers.values():
            if peer.link is not None:
                peer.link.put_out(self.out)
            self.streams.cut(peer.node, self.out)
            self.roster.become(peer, Status.UNKNOWN, "this machine was put out")
        self.casting.put_out(list(self.roster.peers.values()), set())

    def link_cut(self, peer: Peer, why: str) -> None:
        if self._running:
            self.watching.cut(peer, why)

    def caller_cut(self, peer: Peer) -> None:
        if self._running:
            self.watching.caller_cut(peer)

    def ponged(self, peer: Peer, pong: wire.Pong) -> None:
        self.watching.ponged(peer, pong)

    def ping_age(self, node: str) -> float | None:
        peer = self.roster.peers.get(node)
        return peer.age_s() if peer is not None and peer.watched else None

    def said_goodbye(self, peer: Peer, boot: int) -> None:
        if boot == peer.boot:
            peer.left_boot = boot
            self.roster.become(peer, Status.LEFT, "said goodbye")

    def heard_chatter(self, peer: Peer, signal: wire.Signal) -> None:
        self.watching.heard(peer, signal)

    def heard_again(self, peer: Peer, number: int) -> None:
        self.watching.heard_again(peer, number)

    def lost_casts(self, topic: str, publisher: str) -> None:
        self.counts.gaps += 1
        for heard in self._gap_heard:
            _shielded(heard, topic, publisher)

    def cast_seen(self, topic: str, method: str, publisher: str, arguments: bytes) -> None:
        for heard in self._cast_heard:
            _shielded(heard, topic, method, publisher, arguments)

    @property
    def casts_watched(self) -> bool:
        return bool(self._cast_heard)

    def seen(self) -> list[wire.Seen]:
        return [wire.Seen(self.card(), str(Status.UP), 0.0), *self.roster.seen()]

    def admits(self, key: bytes) -> bool:
        return self.roster.admits(key)

    def _send_call(self, stub: Stub, codec: MethodCodec, body: bytes) -> Any:
        if not self._running:
            raise Unreachable(f"{self.node}: not started")
        return self.calling.call(stub, codec, body)

    def _send_cast(self, stub: Stub, codec: MethodCodec, body: bytes) -> None:
        topic = f"{stub.topic}@{stub.host}" if stub.host else stub.topic
        self.publish_cast(topic, codec.row.name, body, stub.request_id, stub.context)

    def publish_cast(
        self,
        topic: str,
        method: str,
        body: bytes,
        request_id: str | None = None,
        context: dict[str, Any] | None = None,
        *,
        plain: bool = False,
    ) -> None:
        """Cast to `topic` or `topic@host`, those of this node included."""
        if not self._running:
            raise Unreachable(f"{self.node}: not started")
        fits(body, f"cast {topic}.{method}", casting.MOST_CAST_BYTES)
        self.casting.cast(topic, method, body, request_id or "", trace.onward(context), plain)

    def _discover(self) -> None:
        from nova0.mesh.discovery import Discovery  # 60 ms of imports, only where mDNS is wanted

        self._discovery = Discovery(self)
        self._discovery.start()

    def _hear(self, topic: str) -> None:
        self.casting.want(topic)
        self.casting.want(f"{topic}@{self.host}")

    def _changed(self, peer: Peer, old: Status) -> None:
        if self._running:
            self.streams.peer_changed(peer)

    def _told(self, peer: Peer, old: Status) -> None:
        member = self.roster.member(peer)
        for heard in self._member_heard:
            _shielded(heard, member, old)

    def _me(self) -> Member:
        card = self.card()
        return Member(
            node=self.node,
            host=self.host,
            roles=card.roles,
            topics=card.topics,
            address=f"{card.address}:{card.rpc_port}",
            version=card.version,
            status=Status.UP if self._running else Status.LEFT,
            beat_age_s=0.0,
            load=self.answering.running if self._running else 0,
            quarantine=(held := self.roster.quarantined.get(self.pair.public, "")),
            detail=f"in quarantine: {held}" if held else "",
            protocol=card.speaks[1],
        )

    def _bind(self) -> None:
        s, state_dir = self.settings, Path(self.settings.state_dir)
        self.zap = ZapHandler(self.context, self.roster.admits, self.refusals)  # before any server socket
        self._opened: list[ZapHandler | Door | Gate | links.Links] = [self.zap]
        rpc = self.context.socket(zmq.ROUTER)
        serve_curve(rpc, self.pair, RPC)
        limit(rpc, most_bytes=wire.MAX_FRAME_BYTES, handshake_s=s.handshake_s)
        rpc.setsockopt(zmq.ROUTER_MANDATORY, 1)
        rpc.setsockopt(zmq.SNDHWM, s.queue)
        pub, ear = casting.sockets(self, ear=self.is_controller)
        stream = self.context.socket(zmq.ROUTER)
        serve_curve(stream, self.pair, RPC)
        links.prepare(stream, s.handshake_s)
        stream.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._listeners = Listeners(s, rpc, pub, ear, stream, self._open_door)
        self._ports = self._listeners.ports
        self._rpc_gate = Gate(self.context, rpc, self.refusals, gone=lambda *which: self.answering.gone(*which))
        self._opened.append(self._rpc_gate)
        self.streams = links.Links(self, stream, self.refusals)
        self._opened.append(self.streams)
        self.journal = Journal(state_dir / f"journal.{s.process}", self.node)
        self.answering = Answering(self, rpc, self.journal, self.refusals)
        self.casting = casting.Casting(self, pub, ear, self.boot)
        self.calling = Calling(self)
        self.finding = Finding(self)
        self.watching = Watching(self)
        self.evicting = Evicting(self)
        self.greeting = Greeting(self)

    def _open_door(self, port: int) -> Door:
        s = self.settings
        self.door = Door(self.context, self.pair, s.listen, port, self.gatekeeper, self.refusals, s.handshake_s)
        self._opened.append(self.door)
        return self.door


def _raise_descriptors() -> None:
    """As many files as the machine allows this process: a controller needs three for each agent."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _shielded(heard: Callable[..., None], *args: Any) -> None:
    try:
        heard(*args)
    except Exception:  # one listener never stops the node
        LOG.exception("a listener failed; time %.3f", time.monotonic())
