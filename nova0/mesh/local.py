"""The bus inside one process: no sockets, no keys, the same promises. For tests and single programs.

Arguments and results go through MessagePack as on the wire; roles are those given to `LocalNet.bus`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult

import nova0
from nova0 import trace
from nova0.mesh import entitlement
from nova0.mesh import offers as dispatch
from nova0.mesh.base_bus import BaseBus
from nova0.mesh.casting import MOST_CAST_BYTES
from nova0.mesh.certificate import FORMAT, Certificate, role_topics
from nova0.mesh.codec import MethodCodec, fits, wire_form
from nova0.mesh.errors import BadArguments, Busy, CallTimeout, Cancelled, NotAllowed, Unreachable, from_wire
from nova0.mesh.follow import Follower, Snapshot
from nova0.mesh.members import Caller, Member, Status
from nova0.mesh.streams.service import Service
from nova0.mesh.streams.stream import Handler, Stream, pair
from nova0.mesh.streams.tickets import Ticket, check_roles
from nova0.mesh.stub import Stub
from nova0.mesh.surface import Role, Surface
from nova0.mesh.wire import made_id

LOG = logging.getLogger(__name__)
T = TypeVar("T")
RECORDS = 10_000  # answers kept for at-most-once until they are acknowledged


class LocalNet:
    """What several LocalBus objects share: who is there."""

    def __init__(self, *, timers: bool = True) -> None:
        self.buses: dict[str, LocalBus] = {}
        self.timers = timers

    def bus(
        self,
        host: str = "lab1",
        process: str = "host",
        roles: tuple[str, ...] = ("host",),
        topics: tuple[str, ...] = (),
    ) -> LocalBus:
        """A new bus, not started. Node names are unique: an earlier one of that name is replaced. `topics`: those a
        certificate would give it besides those of its roles."""
        made = LocalBus(self, host, process, roles, topics)
        self.buses[made.node] = made
        return made

    def kill(self, bus: LocalBus) -> None:
        """As kill -9 would: no goodbye; its calls in flight time out, others see it down."""
        bus._end(Status.DOWN, "killed")


class _Work:
    __slots__ = ("done", "hash", "on_progress", "running", "timer")

    def __init__(self, hash_: bytes, caller: Caller, total_s: float, *, named: bool, repeatable: bool) -> None:
        self.hash, self.done = hash_, AsyncResult()
        self.on_progress: list[Callable[[Any], None]] = []
        end = time.monotonic() + total_s
        self.running = dispatch.Running(caller, self._progress, end, named=named, may_be_ended=repeatable)
        self.timer = gevent.spawn_later(total_s, self._overdue)

    def join(self, total_s: float) -> None:
        self.running.deadline = max(self.running.deadline or 0, time.monotonic() + total_s)

    def _progress(self, value: Any) -> None:
        for heard in self.on_progress:
            heard(value)

    def _overdue(self) -> None:
        while not self.done.ready():
            if self.running.overdue(time.monotonic()):
                self.running.take_back("its time is up", expired=True)
                return
            gevent.sleep(0.5)


class LocalBus(BaseBus):
    """See `mesh.bus.Bus` for what is promised."""

    def __init__(
        self, net: LocalNet, host: str, process: str, roles: tuple[str, ...], topics: tuple[str, ...] = ()
    ) -> None:
        named = role_topics(roles, topics)
        self.certificate = Certificate(FORMAT, b"", b"", host, roles, named, b"", 1, b"")  # nobody signed it
        self.net, self.host, self.node = net, host, f"{host}/{process}"
        self.roles = roles
        self.status, self.detail = Status.UNKNOWN, ""
        self.offers = dispatch.Offers(self.node)
        self._heard: list[Callable[[Member, Status], None]] = []
        self._gap_heard: list[Callable[[str, str], None]] = []
        self._work: OrderedDict[tuple[str, str], _Work] = OrderedDict()  # (caller, its request id)
        self._made = 0
        self._waiting: dict[str, list[AsyncResult]] = {}  # our own callers by request id
        self._in_flight: set[gevent.Greenlet] = set()
        self._numbers: dict[str, int] = {}  # topic -> number of our last cast on it
        self._followers: list[Follower] = []
        self.streams = Service(self.node)

    def offer(self, agent: Surface) -> None:
        self.offers.check(agent, self.certificate)
        self.offers.add(agent)

    def start(self) -> None:
        if self.status is not Status.UP:
            self._become(Status.UP)
            if self.net.timers:
                self.offers.start_timers()

    def stop(self) -> None:
        if self.status is Status.UP:
            for follower in list(self._followers):
                follower.stop()
            gevent.joinall(list(self._in_flight), timeout=5)
            self._end(Status.LEFT, "said goodbye")

    def members(self) -> list[Member]:
        return [bus._member() for bus in self.net.buses.values() if bus.status is not Status.UNKNOWN]

    def on_member(self, heard: Callable[[Member, Status], None]) -> None:
        self._heard.append(heard)

    def on_gap(self, heard: Callable[[str, str], None]) -> None:
        """Never happens by itself here; a test calls `gap` to see how its subscriber takes it."""
        self._gap_heard.append(heard)

    def gap(self, topic: str, publisher: str) -> None:
        for heard in self._gap_heard:
            heard(topic, publisher)

    def snapshot(self, surface: type[Surface], value: T, host: str | None = None) -> Snapshot[T]:
        topic = f"{surface.topic}@{host}" if host else surface.topic
        return Snapshot(publisher=self.node, boot=1, number=self._numbers.get(topic, 0), value=value)

    def follow(
        self,
        surface: type[Surface],
        fetch: Callable[[], Snapshot[Any]],
        on_snapshot: Callable[[Any], None],
        on_update: Callable[[str, dict[str, Any]], None],
        host: str | None = None,
    ) -> Follower:
        topic = f"{surface.topic}@{host}" if host else surface.topic
        if not entitlement.may_hear(self.certificate, topic):
            says = entitlement.says(self.certificate)
            raise NotAllowed(f"{self.node}: its certificate ({says}) does not let it hear casts on {topic!r}")

        def fetched() -> Snapshot[Any]:
            snapshot = fetch()
            known = self.net.buses.get(snapshot.publisher)
            if known is None or not entitlement.may_answer(known.certificate, surface.topic):
                raise Unreachable(f"{snapshot.publisher}: its certificate does not let it answer {surface.topic!r}")
            return snapshot

        follower = Follower(surface, topic, fetched, on_snapshot, on_update, self._followers.remove)
        self._followers.append(follower)
        follower.start()
        return follower

    def acknowledge(self, request_ids: list[str]) -> None:
        for bus in self.net.buses.values():
            for request_id in request_ids:
                work = bus._work.get((self.node, request_id))
                if work is not None and work.done.ready():
                    del bus._work[self.node, request_id]

    def cancel(self, request_ids: list[str]) -> None:
        for bus in self.net.buses.values():
            for request_id in request_ids:
                work = bus._work.get((self.node, request_id))
                if work is not None and not work.done.ready():
                    work.running.take_back(f"{self.node} waits for it no more")
        for request_id in request_ids:
            for waiting in self._waiting.get(request_id, ()):
                waiting.set((False, wire_form(Cancelled(f"request {request_id} was taken back"))))

    def hosts_put_out(self) -> dict[str, tuple[str, float]]:
        return {}

    def store_doubt(self) -> str:
        return ""

    def offer_stream(
        self, purpose: str, handler: Handler, *, peer: str | None = None, expires_s: float = 60.0, uses: int = 1
    ) -> Ticket:
        return self.streams.offer(purpose, handler, peer, expires_s, uses)

    def withdraw_stream(self, ticket: Ticket) -> None:
        self.streams.tickets.withdraw(ticket)

    def open_stream(
        self, ticket: Ticket, *, timeout_s: float = 10.0, of: str = "", roles: tuple[Role, ...] = ()
    ) -> Stream:
        ticket.check_of(of)
        other = self.net.buses.get(ticket.node)
        if self.status is not Status.UP or other is None or other.status is not Status.UP:
            raise Unreachable(f"{ticket.node}: no stream: {other.status if other else 'no such node'}")
        check_roles(other.node, other.roles, roles)
        self.streams.check_room()
        other.streams.check_room("" if Role.CONTROLLER in self.roles else self.host)
        handler = other.streams.tickets.redeem(ticket.secret, ticket.purpose, self.node)

        def gone(stream: Stream) -> None:
            self.streams.gone(stream)
            other.streams.gone(stream)

        mine, theirs = pair(self.node, other.node, ticket.purpose, gone)
        self.streams.add(mine)
        other.streams.add(theirs)
        other.streams.serve(theirs, handler)
        return mine

    def _member(self) -> Member:
        return Member(
            node=self.node,
            host=self.host,
            roles=self.roles,
            topics=self.offers.topics,
            address="local:0",
            version=nova0.__version__,
            status=self.status,
            beat_age_s=0.0 if self.status is Status.UP else None,
            load=len(self._in_flight),
            detail=self.detail,
        )

    def _become(self, status: Status, detail: str = "") -> None:
        old, self.status, self.detail = self.status, status, detail
        me = self._member()
        for bus in self.net.buses.values():
            if bus is not self:
                for heard in bus._heard:
                    heard(me, old)

    def _end(self, status: Status, detail: str) -> None:
        self.offers.stop_timers()
        for bus in self.net.buses.values():
            if bus is not self and bus.streams.open:
                bus.streams.cut(lambda stream: stream.peer == self.node, f"{self.node} is {status}: {detail}")
        self.streams.close()
        gevent.killall(list(self._in_flight), block=False)
        self._become(status, detail)
        for work in self._work.values():
            if not work.done.ready():
                work.done.set((False, wire_form(CallTimeout(f"{self.node}: {detail} while working"))))

    def _target(self, topic: str, host: str | None) -> LocalBus:
        said = [b for b in self.net.buses.values() if topic in b.offers.agents and host in (None, b.host)]
        known = [b for b in said if entitlement.may_answer(b.certificate, topic)]
        up = [b for b in known if b.status is Status.UP]
        if not up:
            where = f"{topic}@{host}" if host else topic
            why = f"{known[0].node} is {known[0].status}" if known else "no such agent"
            if said and not known:
                says = entitlement.says(said[0].certificate)
                why = f"{said[0].node} offers it, which its certificate ({says}) does not allow"
            raise Unreachable(f"{where}: {why}; see `nova0 agents`")
        random.shuffle(up)  # equals share the work
        return min(up, key=lambda bus: len(bus._in_flight))

    def _begun(self, stub: Stub, repeatable: bool) -> LocalBus | None:
        """Of a call to a topic under an id used before: the bus that began it. Raises CallTimeout if that is gone."""
        key = self.node, stub.request_id
        if stub.request_id is None or stub.host is not None or repeatable:
            return None
        begun = next((bus for bus in self.net.buses.values() if key in bus._work), None)
        if begun is not None and begun.status is not Status.UP:
            raise CallTimeout(f"{begun.node} may have begun it when it was asked before, and is {begun.status}")
        return begun

    def _send_call(self, stub: Stub, codec: MethodCodec, body: bytes) -> Any:
        if self.status is not Status.UP:
            raise Unreachable(f"{self.node}: not started")
        name = f"{stub.topic}.{codec.row.name}"
        fits(body, name)
        target = self._begun(stub, codec.row.repeatable) or self._target(stub.topic, stub.host)
        total_s = codec.row.timeout.total_s if stub.timeout_s is None else stub.timeout_s
        inherited = dispatch.time_left()
        if inherited is not None:
            total_s = min(total_s, inherited)
            if total_s <= 0:
                raise CallTimeout(f"{name}: not started, the call it is made for has no time left")
        named = stub.request_id is not None
        self._made += 1
        request_id = stub.request_id or made_id(self.node, self._made)
        caller = Caller(
            node=self.node,
            host=self.host,
            roles=dispatch.roles_seen(self.roles, self.host, target.host),
            request_id=request_id,
            context=trace.onward(stub.context),
        )
        work = target._take(stub.topic, codec.row.name, caller, body, stub.on_progress, total_s, named=named)
        answer: AsyncResult = AsyncResult()
        work.done.rawlink(lambda done: answer.ready() or answer.set(done.value))
        waiting = self._waiting.setdefault(request_id, [])
        waiting.append(answer)
        try:
            answer.wait(total_s)
        finally:
            waiting.remove(answer)
            if not waiting:
                del self._waiting[request_id]
            if not named:
                target._work.pop((self.node, request_id), None)
                if not work.done.ready():
                    work.running.take_back(f"{self.node} waits for it no more")
        if not answer.ready():
            raise CallTimeout(f"{target.node}: no answer to {codec.row.name} within {total_s} s")
        good, outcome = answer.get()
        if not good:
            raise from_wire(outcome)
        result = codec.unpack_result(outcome)
        if type(result) is Snapshot:
            result.check(target.node)
        return result

    def _take(
        self,
        topic: str,
        method: str,
        caller: Caller,
        body: bytes,
        on_progress: Callable[[Any], None] | None,
        total_s: float,
        *,
        named: bool,
    ) -> _Work:
        offered = self.offers.find(topic, method, "call")
        dispatch.authorise(offered, caller, self.node)
        hash_ = hashlib.blake2b(f"{topic}\0{method}\0".encode() + body, digest_size=8).digest()
        key = (caller.node, caller.request_id)
        work = self._work.get(key)
        again = work is not None
        if work is not None:
            if work.hash != hash_:
                why = f"{self.node}: request id {caller.request_id} was used with other arguments"
                raise BadArguments(why, used=True)
            work.join(total_s)
        else:
            if len(self._work) >= RECORDS:
                raise Busy(f"{self.node}: {RECORDS} answers wait for their callers to acknowledge them")
            work = self._work[key] = _Work(hash_, caller, total_s, named=named, repeatable=offered.row.repeatable)
        if on_progress is not None:
            work.on_progress.append(on_progress)
        if not again:
            greenlet = gevent.spawn(self._run, offered, body, work)
            self._in_flight.add(greenlet)
        return work

    def _run(self, offered: dispatch.Offered, body: bytes, work: _Work) -> None:
        try:
            outcome: tuple[bool, Any] = (True, dispatch.run(offered, work.running, body))
        except Exception as error:  # noqa: BLE001  (carried to the caller)
            outcome = (False, wire_form(error))
        finally:
            self._in_flight.discard(gevent.getcurrent())
            work.timer.kill(block=False)
            if offered.row.repeatable:  # no record: the next ask runs it again
                self._work.pop((work.running.caller.node, work.running.caller.request_id), None)
        if not work.done.ready():
            work.done.set(outcome)

    def _send_cast(self, stub: Stub, codec: MethodCodec, body: bytes) -> None:
        if self.status is not Status.UP:
            raise Unreachable(f"{self.node}: not started")
        fits(body, f"cast {stub.topic}.{codec.row.name}", MOST_CAST_BYTES)
        topic = f"{stub.topic}@{stub.host}" if stub.host else stub.topic
        number = self._numbers[topic] = self._numbers.get(topic, 0) + 1
        if not entitlement.may_cast(self.certificate, stub.topic, neighbour=True):
            return
        for bus in list(self.net.buses.values()):
            for follower in bus._followers:
                if follower.topic == topic and bus.status is Status.UP:
                    roles = dispatch.roles_seen(self.roles, self.host, bus.host)
                    follower.heard(self.node, 1, number, roles, codec.row.name, body)
            if bus.status is not Status.UP or stub.topic not in bus.offers.agents or stub.host not in (None, bus.host):
                continue
            caller = Caller(
                node=self.node,
                host=self.host,
                roles=dispatch.roles_seen(self.roles, self.host, bus.host),
                request_id=uuid.uuid4().hex,
                context=trace.onward(stub.context),
            )
            gevent.spawn(bus._hear, stub.topic, codec.row.name, caller, body)

    def _hear(self, topic: str, method: str, caller: Caller, body: bytes) -> None:
        started = time.monotonic()
        try:
            offered = self.offers.find(topic, method, "cast")
            dispatch.authorise(offered, caller, self.node)
            dispatch.run(offered, dispatch.Running(caller, lambda value: None), body)
        except Exception as error:  # noqa: BLE001  (nobody waits for a cast)
            LOG.warning("%s: cast %s.%s from %s failed: %s", self.node, topic, method, caller.node, error)
        LOG.debug("cast %s.%s heard in %.3f s", topic, method, time.monotonic() - started)
