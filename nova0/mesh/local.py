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
from typing import Any, TypeVar, cast

import gevent
from gevent.event import AsyncResult

import nova0
from nova0.mesh import offers as dispatch
from nova0.mesh.bus import Caller, Member, Status
from nova0.mesh.codec import MethodCodec, wire_form
from nova0.mesh.errors import BadArguments, CallTimeout, Unreachable, from_wire
from nova0.mesh.streams.service import Service
from nova0.mesh.streams.stream import Handler, Stream, pair
from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.stub import Stub, stub_class
from nova0.mesh.surface import Surface

LOG = logging.getLogger(__name__)
S = TypeVar("S", bound=Surface)
RECORDS = 10_000  # answers kept for at-most-once; the oldest acknowledged or answered go first


class LocalNet:
    """What several LocalBus objects share: who is there."""

    def __init__(self, *, timers: bool = True) -> None:
        self.buses: dict[str, LocalBus] = {}
        self.timers = timers

    def bus(self, host: str = "lab1", process: str = "host", roles: tuple[str, ...] = ("host",)) -> LocalBus:
        """A new bus, not started. Node names are unique: an earlier one of that name is replaced."""
        made = LocalBus(self, host, process, roles)
        self.buses[made.node] = made
        return made

    def kill(self, bus: LocalBus) -> None:
        """As kill -9 would: no goodbye; its calls in flight time out, others see it down."""
        bus._end(Status.DOWN, "killed")


class _Work:
    __slots__ = ("done", "hash", "on_progress")

    def __init__(self, hash_: bytes) -> None:
        self.hash, self.done = hash_, AsyncResult()
        self.on_progress: list[Callable[[Any], None]] = []


class LocalBus:
    """See `mesh.bus.Bus` for what is promised."""

    def __init__(self, net: LocalNet, host: str, process: str, roles: tuple[str, ...]) -> None:
        self.net, self.host, self.node = net, host, f"{host}/{process}"
        self.roles = roles
        self.status, self.detail = Status.UNKNOWN, ""
        self.offers = dispatch.Offers(self.node)
        self._heard: list[Callable[[Member, Status], None]] = []
        self._gap_heard: list[Callable[[str, str], None]] = []
        self._work: OrderedDict[str, _Work] = OrderedDict()
        self._in_flight: set[gevent.Greenlet] = set()
        self.streams = Service(self.node)

    def offer(self, agent: Surface) -> None:
        self.offers.add(agent)

    def start(self) -> None:
        if self.status is not Status.UP:
            self._become(Status.UP)
            if self.net.timers:
                self.offers.start_timers()

    def stop(self) -> None:
        if self.status is Status.UP:
            gevent.joinall(list(self._in_flight), timeout=5)
            self._end(Status.LEFT, "said goodbye")

    def stub(
        self,
        surface: type[S],
        host: str | None = None,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        context: dict[str, Any] | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> S:
        made = stub_class(surface)(self, surface.topic, host, request_id, timeout_s, context, on_progress)
        return cast(S, made)

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

    def acknowledge(self, request_ids: list[str]) -> None:
        for bus in self.net.buses.values():
            for request_id in request_ids:
                bus._work.pop(request_id, None)

    def caller(self) -> Caller:
        return dispatch.running().caller

    def progress(self, value: Any) -> None:
        dispatch.running().progress(value)

    def offer_stream(
        self, purpose: str, handler: Handler, *, peer: str | None = None, expires_s: float = 60.0, uses: int = 1
    ) -> Ticket:
        return self.streams.offer(purpose, handler, peer, expires_s, uses)

    def withdraw_stream(self, ticket: Ticket) -> None:
        self.streams.tickets.withdraw(ticket)

    def open_stream(self, ticket: Ticket, *, timeout_s: float = 10.0) -> Stream:
        other = self.net.buses.get(ticket.node)
        if self.status is not Status.UP or other is None or other.status is not Status.UP:
            raise Unreachable(f"{ticket.node}: no stream: {other.status if other else 'no such node'}")
        for bus in (self, other):
            bus.streams.check_room()
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
            if bus is not self:
                bus.streams.cut(lambda stream: stream.peer == self.node, f"{self.node} is {status}: {detail}")
        self.streams.close()
        gevent.killall(list(self._in_flight), block=False)
        self._become(status, detail)
        for work in self._work.values():
            if not work.done.ready():
                work.done.set((False, wire_form(CallTimeout(f"{self.node}: {detail} while working"))))

    def _target(self, topic: str, host: str | None) -> LocalBus:
        known = [b for b in self.net.buses.values() if topic in b.offers.agents and host in (None, b.host)]
        up = [b for b in known if b.status is Status.UP]
        if not up:
            where = f"{topic}@{host}" if host else topic
            why = f"{known[0].node} is {known[0].status}" if known else "no such agent"
            raise Unreachable(f"{where}: {why}; see `nova0 agents`")
        random.shuffle(up)  # equals share the work
        return min(up, key=lambda bus: len(bus._in_flight))

    def _send_call(self, stub: Stub, codec: MethodCodec, body: bytes) -> Any:
        if self.status is not Status.UP:
            raise Unreachable(f"{self.node}: not started")
        target = self._target(stub.topic, stub.host)
        total_s = codec.row.timeout.total_s if stub.timeout_s is None else stub.timeout_s
        request_id = stub.request_id or uuid.uuid4().hex
        caller = Caller(
            node=self.node,
            host=self.host,
            roles=dispatch.roles_seen(self.roles, self.host, target.host),
            request_id=request_id,
            context=stub.context,
        )
        work = target._take(stub.topic, codec.row.name, caller, body, stub.on_progress)
        try:
            good, answer = work.done.get(timeout=total_s)
        except gevent.Timeout:
            raise CallTimeout(f"{target.node}: no answer to {codec.row.name} within {total_s} s") from None
        if stub.request_id is None:
            target._work.pop(request_id, None)
        if not good:
            raise from_wire(answer)
        return codec.unpack_result(answer)

    def _take(
        self, topic: str, method: str, caller: Caller, body: bytes, on_progress: Callable[[Any], None] | None
    ) -> _Work:
        offered = self.offers.find(topic, method, "call")
        dispatch.authorise(offered, caller, self.node)
        hash_ = hashlib.blake2b(f"{topic}\0{method}\0".encode() + body, digest_size=8).digest()
        work = self._work.get(caller.request_id)
        again = work is not None and not (offered.row.repeatable and work.done.ready())
        if work is not None and again:
            if work.hash != hash_:
                raise BadArguments(f"{self.node}: request id {caller.request_id} was used with other arguments")
        else:
            work = self._work[caller.request_id] = _Work(hash_)
            while len(self._work) > RECORDS:
                self._work.popitem(last=False)
        if on_progress is not None:
            work.on_progress.append(on_progress)
        if not again:
            greenlet = gevent.spawn(self._run, offered, caller, body, work)
            self._in_flight.add(greenlet)
        return work

    def _run(self, offered: dispatch.Offered, caller: Caller, body: bytes, work: _Work) -> None:
        def progress(value: Any) -> None:
            for heard in work.on_progress:
                heard(value)

        try:
            outcome: tuple[bool, Any] = (True, dispatch.run(offered, caller, body, progress))
        except Exception as error:  # noqa: BLE001  (carried to the caller)
            outcome = (False, wire_form(error))
        finally:
            self._in_flight.discard(gevent.getcurrent())
        if not work.done.ready():
            work.done.set(outcome)

    def _send_cast(self, stub: Stub, codec: MethodCodec, body: bytes) -> None:
        if self.status is not Status.UP:
            raise Unreachable(f"{self.node}: not started")
        for bus in list(self.net.buses.values()):
            if bus.status is not Status.UP or stub.topic not in bus.offers.agents or stub.host not in (None, bus.host):
                continue
            caller = Caller(
                node=self.node,
                host=self.host,
                roles=dispatch.roles_seen(self.roles, self.host, bus.host),
                request_id=uuid.uuid4().hex,
                context=stub.context,
            )
            gevent.spawn(bus._hear, stub.topic, codec.row.name, caller, body)

    def _hear(self, topic: str, method: str, caller: Caller, body: bytes) -> None:
        started = time.monotonic()
        try:
            offered = self.offers.find(topic, method, "cast")
            dispatch.authorise(offered, caller, self.node)
            dispatch.run(offered, caller, body, lambda value: None)
        except Exception as error:  # noqa: BLE001  (nobody waits for a cast)
            LOG.warning("%s: cast %s.%s from %s failed: %s", self.node, topic, method, caller.node, error)
        LOG.debug("cast %s.%s heard in %.3f s", topic, method, time.monotonic() - started)
