"""The callee's side: greet, check who speaks, run, answer. Owns the RPC ROUTER.

Identity is ZAP's User-Id on each message; a routing id only says where an answer goes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import gevent
import msgspec
import zmq

from nova0.crashpoints import crash_point
from nova0.mesh import offers as dispatch
from nova0.mesh import wire
from nova0.mesh.codec import decode, encode, wire_form
from nova0.mesh.counts import Counts
from nova0.mesh.driven import FAREWELL_MS, Driven, Pool
from nova0.mesh.errors import BadArguments, Busy, CallTimeout, JoinRefused, MeshError, StoreDoubted, Unreachable
from nova0.mesh.journal import Journal
from nova0.mesh.keys import CurvePair, key_bytes, key_text
from nova0.mesh.members import Caller
from nova0.mesh.monitor import Lines
from nova0.mesh.offers import Offered, Offers
from nova0.mesh.operators import Operators
from nova0.mesh.peer import Peer
from nova0.mesh.refusals import Refusals
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.surface import Role
from nova0.mesh.zap import peer_address, source, user_id

LOG = logging.getLogger(__name__)
LAST_WORD_S = 0.2  # the tombstone may be read by the one it concerns, then its connections are cut
WORKING_S = 1.0  # pause between "still working" messages


class Greeter(Protocol):
    """What answering needs of its node."""

    settings: MeshSettings
    pair: CurvePair
    roster: Roster
    offers: Offers
    operators: Operators
    counts: Counts

    def greet(self, key: bytes, address: str, hello: wire.Hello) -> tuple[Peer, wire.Welcome | wire.Stones]: ...

    def took_stones(self, peer: Peer, said: wire.Stones, answer: Callable[[wire.Stones], object]) -> None: ...

    def ping_age(self, node: str) -> float | None: ...

    def store_doubt(self, of: str = "") -> str: ...

    def said_goodbye(self, peer: Peer, boot: int) -> None: ...

    def ponged(self, peer: Peer, pong: wire.Pong) -> None: ...

    def caller_cut(self, peer: Peer) -> None: ...


class Reply(Protocol):
    """Where an answer goes."""

    def answer(self, good: bool, body: bytes) -> None:
        """`body` is the encoded result, or the error's travelling form, encoded."""

    def progress(self, value: msgspec.Raw) -> None: ...


class RemoteReply(msgspec.Struct, eq=False):
    put: Callable[[Any, bytes], None]
    route: bytes
    number: int

    def answer(self, good: bool, body: bytes) -> None:
        if good:
            self.put(wire.Answer(self.number, msgspec.Raw(body)), self.route)
        else:
            self.put(wire.Failure(self.number, decode(body)), self.route)

    def progress(self, value: msgspec.Raw) -> None:
        self.put(wire.Progress(self.number, value), self.route)


class Job(msgspec.Struct, eq=False):
    """One request at work; `replies` are those who wait for its end."""

    call: wire.Call  # the first of those who asked
    replies: list[Reply]
    running: dispatch.Running
    since: float

    def join(self, reply: Reply, call: wire.Call) -> None:
        self.replies.append(reply)
        self.running.deadline = max(self.running.deadline or 0, time.monotonic() + call.ms_left / 1000)


def _hash(call: wire.Call) -> bytes:
    """Of what is asked for."""
    about = f"{call.topic}\0{call.method}\0".encode() + bytes(call.arguments)
    return hashlib.blake2b(about, digest_size=8).digest()


def _progress(replies: list[Reply], value: Any) -> None:
    body = msgspec.Raw(encode(value))
    for waiting in replies:
        waiting.progress(body)


class Answering:
    def __init__(self, home: Greeter, socket: zmq.Socket[bytes], journal: Journal, refusals: Refusals) -> None:
        self._home, self._journal, self._refusals = home, journal, refusals
        self._here = home.settings.node
        self._routes: dict[bytes, tuple[str, Peer]] = {}  # routing id -> (User-Id at its Hello, peer)
        self._route_of: dict[str, bytes] = {}
        self._connections: dict[int, tuple[int, bytes]] = {}  # descriptor -> (inode, routing id)
        self._jobs: dict[tuple[str, str], Job] = {}  # (caller, its request id)
        self.running = 0
        self._running_of: dict[str, int] = {}  # host -> those of its callers
        self.leaving = self._shut = False
        self._pool = Pool(self._work)
        self._driven = Driven(socket, self._heard, routed=True, queue=home.settings.queue, traffic=home.counts.calls)
        self._lines = Lines()
        self._beating = gevent.spawn(self._keep_alive)

    def drain(self, timeout_s: float) -> None:
        """Take nothing new; wait until what runs has ended, or the time is up."""
        self.leaving = True
        end = time.monotonic() + timeout_s
        while self._jobs and time.monotonic() < end:
            gevent.sleep(0.02)

    def say(self, peer: Peer, message: Any) -> bool:
        """Send over the connection that the peer dialled to here; False where there is none."""
        route = self._route_of.get(peer.node)
        if route is None:
            return False
        self._put(message, route)
        return True

    def gone(self, descriptor: int, inode: int) -> None:
        """A connection to the RPC socket is cut."""
        greeted, route = self._connections.get(descriptor, (0, b""))
        if not route or (inode and greeted and inode != greeted):
            return
        del self._connections[descriptor]
        _, peer = self._routes.pop(route, ("", None))
        if peer is not None and self._route_of.get(peer.node) == route:
            del self._route_of[peer.node]
            peer.connected = False
            self._home.caller_cut(peer)

    def queued(self) -> int:
        return self._driven.queued()

    def farewell(self, goodbye: wire.Goodbye) -> None:
        for route in list(self._routes):
            self._put(goodbye, route)

    def tell(self, message: Any, peers: Iterable[Peer]) -> None:
        """Say something to those who greeted here."""
        for peer in peers:
            route = self._route_of.get(peer.node)
            if route is not None:
                self._put(message, route)

    def put_out(self, peers: list[Peer], users: set[str]) -> None:
        """They are served no more from now on; the connections go once they could read why."""
        users = users | {key_text(peer.card.key) for peer in peers}
        for route, (user, peer) in list(self._routes.items()):
            if user in users:
                del self._routes[route]
                if self._route_of.get(peer.node) == route:
                    del self._route_of[peer.node]
        gevent.spawn_later(LAST_WORD_S, lambda: [self._lines.cut(user) for user in users])

    @property
    def greeted(self) -> set[str]:
        """Nodes that have a connection to here."""
        return set(self._route_of)

    def touched(self) -> None:
        """The socket was used past this object."""
        self._driven.touched()

    def shut(self) -> None:
        """This node itself was put out: nobody is served."""
        self.leaving = self._shut = True
        self._routes.clear()
        self._route_of.clear()

    def close(self) -> None:
        self._beating.kill(block=False)
        self._driven.close(FAREWELL_MS)

    # messages (in the hub)

    def _heard(self, route: bytes, frame: zmq.Frame) -> None:
        user = user_id(frame)
        if route not in self._routes:  # a greeting, or one who was put out and is to be cut
            if self._shut:
                return
            self._lines.note(user, frame)
            if not self._home.roster.admits(key_bytes(user)):
                self._lines.cut(user)
                return
        try:
            messages = wire.read_frame(frame.buffer)
        except wire.BadFrame as error:
            self._refusals.note(peer_address(frame), f"garbage in a frame: {error}")
            return
        peer, pool = self._speaker(route, user), self._pool
        for message in messages:
            if peer is not None and type(message) is wire.Call:
                pool.add(self._call, route, peer, message)
                continue
            pool.run_added()  # in the order in which they came
            if isinstance(message, wire.Hello):
                pool.run(self._greet, route, user, peer_address(frame), message, source(frame))
                peer = self._speaker(route, user)
            elif peer is None:
                self._put(wire.Refused(wire_form(Unreachable(f"{self._here}: say hello first"))), route)
                return
            else:
                self._take(route, peer, message)
                peer = self._speaker(route, user)  # it may have been put out by this
        pool.run_added()

    def _speaker(self, route: bytes, user: str) -> Peer | None:
        """Who speaks on that connection; None before its greeting, and when its key has been put out."""
        known = self._routes.get(route)
        if known is None or known[0] != user or not self._home.roster.admits(known[1].card.key):
            return None
        self._home.roster.heard(known[1], known[1].boot)
        return known[1]

    def _take(self, route: bytes, peer: Peer, message: wire.Message) -> None:
        if isinstance(message, wire.Ping):
            age = 0.0 if not message.node else self._home.ping_age(message.node)
            self._put(wire.Pong(message.nonce, message.node, age), route)
        elif isinstance(message, wire.Acknowledge):
            self._journal.drop(peer.node, message.request_ids)
            self._journal.mark(peer.node, message.start, message.below)
            self.take_back(peer.node, message.taken_back)
        elif isinstance(message, wire.Stones):
            self._home.took_stones(peer, message, lambda said: self._put(said, route))
        elif isinstance(message, wire.Goodbye):
            self._home.said_goodbye(peer, message.boot)
        elif isinstance(message, wire.Pong):
            self._home.ponged(peer, message)

    def _greet(self, route: bytes, user: str, address: str, hello: wire.Hello, descriptor: int) -> None:
        try:
            key = hello.card.key
            if key_text(key) != user:
                raise JoinRefused(f"{hello.card.node}: greets with another key than it speaks with")
            peer, welcome = self._home.greet(key, address, hello)
        except MeshError as error:
            self._refusals.note(address, error.message)
            self._put(wire.Refused(wire_form(error)), route)
            return
        if isinstance(welcome, wire.Stones):  # nothing is served before our tombstones agree
            self._put(welcome, route)
            return
        earlier = self._route_of.get(peer.node)
        if earlier is not None:
            self._routes.pop(earlier, None)
        self._routes[route] = (user, peer)
        self._route_of[peer.node] = route
        self._connections[descriptor] = (_inode(descriptor), route)
        peer.connected = True
        self._put(welcome, route)

    def _put(self, message: Any, route: bytes) -> None:
        try:
            self._driven.put(message, route)
        except Busy as full:
            LOG.warning("%s: an answer is dropped, its caller will ask again: %s", self._here, full)

    def _answer(self, message: Any, route: bytes) -> None:
        if route in self._routes:  # else it greeted anew and asks again, or was put out
            self._put(message, route)

    # calls

    def _call(self, route: bytes, peer: Peer, call: wire.Call) -> None:
        if self.leaving or self._is_full(peer):
            key = peer.node, call.request_id
            if key not in self._jobs and key not in self._journal:  # a copy of what was begun is not refused as new
                if self.leaving:
                    self._fail(route, call.id, Unreachable(f"{self._here} is stopping: not started"))
                else:
                    busy = f"{self._here}: {self.running} calls are at work; ask again later"
                    self._fail(route, call.id, Busy(busy))
                return
        if route not in self._routes:  # put out meanwhile
            return
        self.execute(self.caller_of(peer, call), call, RemoteReply(self._answer, route, call.id))

    def _is_full(self, peer: Peer) -> bool:
        """A host holds no more places than it leaves free, so that no few of them take all. Controllers take what
        there is."""
        free = self._home.settings.calls_running - self.running
        return free <= 0 or (not peer.is_certified_controller and self._running_of.get(peer.card.host, 0) >= free)

    def caller_of(self, peer: Peer, call: wire.Call) -> Caller:
        roles: tuple[str, ...] = (str(Role.MEMBER),) if call.plain else peer.roles
        caller = Caller(
            node=peer.node,
            host=peer.card.host,
            roles=dispatch.roles_seen(roles, peer.near, self._home.settings.host),
            request_id=call.request_id,
            context=call.context,
        )
        return dispatch.lent(caller, call.lent, peer.roles) if call.lent else caller

    def _work(self, function: Callable[..., None], *args: Any) -> None:
        function(*args)

    def execute(self, caller: Caller, call: wire.Call, reply: Reply) -> None:
        """Run, join or repeat one request in the current greenlet; `reply` is answered once."""
        now = time.monotonic()
        try:
            offered = self._home.offers.find(call.topic, call.method, "call")
            if call.proof:
                caller = self._home.operators.admit(caller, call)
            dispatch.authorise(offered, caller, self._here)
            if len(call.request_id) > wire.MAX_REQUEST_ID:
                raise BadArguments(f"{self._here}: a request id has at most {wire.MAX_REQUEST_ID} characters")
            doubt = self._home.store_doubt(caller.node) if offered.row.destructive else ""
            if doubt:
                raise StoreDoubted(f"{self._here}: {call.method} refused: {doubt}")
            key = (caller.node, call.request_id)
            job = self._jobs.get(key)
            if job is not None:
                if _hash(call) != _hash(job.call):
                    why = f"{self._here}: request id {call.request_id} was used with other arguments"
                    raise BadArguments(why, used=True)
                job.join(reply, call)
                return
            if call.ms_left <= 0:
                raise CallTimeout(f"{self._here}: {call.method} came without time left: not started")
        except MeshError as error:
            self._home.counts.refuse(error)
            reply.answer(False, encode(wire_form(error)))
            return
        repeatable, replies = offered.row.repeatable, [reply]
        running = dispatch.Running(
            caller, partial(_progress, replies), now + call.ms_left / 1000, call.request_id[:1] != "~", repeatable
        )
        job = self._jobs[key] = Job(call, replies, running, now)
        self.running += 1
        host, of_host = caller.host, self._running_of
        of_host[host] = of_host.get(host, 0) + 1
        try:
            good, body = self._run(offered, job) if repeatable else self._once(offered, job)
        finally:
            self.running -= 1
            if of_host[host] == 1:
                del of_host[host]
            else:
                of_host[host] -= 1
            del self._jobs[key]
        crash_point("mesh.answer.before")
        for waiting in replies:
            waiting.answer(good, body)
        crash_point("mesh.answer.after")

    def take_back(self, caller: str, request_ids: list[str]) -> None:
        """Its caller waits for these no more."""
        for request_id in request_ids:
            job = self._jobs.get((caller, request_id))
            if job is not None:
                job.running.take_back(f"{caller} waits for it no more")

    def _run(self, offered: Offered, job: Job) -> tuple[bool, bytes]:
        try:
            return True, dispatch.run(offered, job.running, job.call.arguments, lax=job.call.lax)
        except (Exception, gevent.Timeout) as failure:  # noqa: BLE001  (carried to the caller)
            return False, encode(wire_form(failure))

    def _once(self, offered: Offered, job: Job) -> tuple[bool, bytes]:
        """By the journal: run it, or repeat what was answered."""
        call, caller = job.call, job.running.caller.node
        try:
            record, fresh = self._journal.begin(caller, call.request_id, _hash(call), f"{call.topic}.{call.method}")
            if not fresh:
                return record.done.get()
            good, body = self._run(offered, job)
            self._journal.finish(record, good, body)
            return good, body
        except Exception as error:  # noqa: BLE001  (the journal's own: Busy, other arguments, a full disk)
            return False, encode(wire_form(error))

    def _fail(self, route: bytes, number: int, error: MeshError) -> None:
        self._home.counts.refuse(error)
        self._put(wire.Failure(number, wire_form(error)), route)

    def _keep_alive(self) -> None:
        """Long work keeps its callers patient, as long as this loop turns."""
        while True:
            gevent.sleep(WORKING_S)
            waiting: dict[bytes, list[int]] = {}
            now = time.monotonic()
            for job in self._jobs.values():
                if now - job.since > WORKING_S:
                    for reply in job.replies:
                        if isinstance(reply, RemoteReply):
                            waiting.setdefault(reply.route, []).append(reply.number)
                if job.running.overdue(now):
                    job.running.take_back("its time is up", expired=True)
            for route, numbers in waiting.items():
                self._put(wire.Working(numbers), route)


def _inode(descriptor: int) -> int:
    """What an open descriptor is now; 0: nothing."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0
