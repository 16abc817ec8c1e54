"""The caller's side: which node, how long to wait, and when nothing more will come."""

from __future__ import annotations

import random
import secrets
import time
from typing import Any, Protocol

import gevent
import msgspec
from gevent.event import AsyncResult
from gevent.hub import Waiter

from nova0 import trace
from nova0.mesh import offers as dispatch
from nova0.mesh import wire
from nova0.mesh.answering import Answering
from nova0.mesh.codec import MethodCodec, decode, encode, fits, wire_form
from nova0.mesh.counts import Counts
from nova0.mesh.errors import (
    BadArguments,
    Busy,
    CallTimeout,
    Cancelled,
    MeshError,
    Unreachable,
    from_wire,
    kind_of,
)
from nova0.mesh.follow import Snapshot
from nova0.mesh.journal import Journal
from nova0.mesh.link import Link, Pending
from nova0.mesh.members import Caller, Status
from nova0.mesh.offers import Offers
from nova0.mesh.peer import Peer, wrong_text
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.stub import Stub
from nova0.mesh.surface import Role, Timeout

SWEEP_S = 0.1  # how fine time-outs are
MOST_OWED = 10_000  # acknowledgements kept for one node
MOST_NAMED = 50_000  # ids given by the application of which we know whom we asked
MOST_WRONG_NAMED = 3  # wrong servers named in one error
BUSY_S = 0.2  # until the only one who answers a topic is asked again
MOST_KNOWN = 1000  # pairs of topic and host whose members are remembered between calls
DIAL_S = 4.0  # a call whose link does not come up within this was not started


class Origin(Protocol):
    """What calling needs of its node."""

    settings: MeshSettings
    roster: Roster
    offers: Offers
    counts: Counts
    answering: Answering
    journal: Journal

    def link(self, peer: Peer) -> Link[Peer]: ...

    def roles(self) -> tuple[str, ...]: ...


class Calling:
    def __init__(self, home: Origin) -> None:
        self._home = home
        self._node = home.settings.node
        self._start = secrets.token_hex(4)
        self._made = 0  # ids made since
        self._open: dict[int, str] = {}  # number of an id made -> node that may be asked for it; "": any
        self._acknowledged: dict[str, list[str]] = {}
        self._taken_back: dict[str, list[str]] = {}
        self._asked: dict[Link, Peer] = {}  # links that calls may wait for
        self._targets: dict[str, set[str]] = {}  # request id -> nodes, for ids given by the caller
        self._local: dict[str, list[_LocalReply]] = {}  # those at work here, the same
        self._known_by: dict[tuple[str, str | None], list[Peer]] = {}
        self._known_at = -1
        self._timer = gevent.get_hub().loop.timer(SWEEP_S, repeat=SWEEP_S)
        self._timer.start(self._sweep)

    def close(self) -> None:
        self._timer.stop()
        self._timer.close()

    def call(self, stub: Stub, codec: MethodCodec, body: bytes) -> Any:
        """As `Bus.stub` promises."""
        row = codec.row
        said_by: list[str] = []
        answer = self.ask(
            stub.topic,
            stub.host,
            row.name,
            body,
            row.timeout,
            total_s=stub.timeout_s,
            request_id=stub.request_id,
            context=stub.context,
            on_progress=stub.on_progress,
            acknowledge=not row.repeatable and stub.request_id is None,
            once=not row.repeatable,
            said_by=said_by,
        )
        result = codec.unpack_result(answer)
        if type(result) is Snapshot:
            result.check(said_by[0])
        return result

    def ask(
        self,
        topic: str,
        host: str | None,
        method: str,
        arguments: bytes,
        patience: Timeout,
        *,
        total_s: float | None = None,
        request_id: str | None = None,
        context: dict[str, Any] | None = None,
        on_progress: Any = None,
        acknowledge: bool = False,
        once: bool = True,
        node: str | None = None,
        lax: bool = False,
        plain: bool = False,
        lent: tuple[str, ...] = (),
        proof: bytes = b"",
        said_by: list[str] | None = None,
    ) -> msgspec.Raw | bytes:
        """The encoded result. `node` names one process; else the topic, at `host` if given. `lax`, `plain` and
        `lent` as in wire.Call. Who answered is added to `said_by`. Counted; each call is a span of its own of the
        trace it belongs to."""
        context = trace.onward(context)
        tally, started = self._home.counts.asking(topic, method), time.monotonic()
        named = request_id is not None
        number = 0
        asked: list[str] = []  # nodes that may have started it
        answered = False
        try:
            fits(arguments, method)
            total = patience.total_s if total_s is None else total_s
            inherited = dispatch.time_left()
            if inherited is not None and inherited < total:
                total = inherited
                if total <= 0:
                    raise CallTimeout(f"{topic}.{method}: not started, the call it is made for has no time left")
            end = started + total
            if request_id is None:
                number = self._made = self._made + 1
                request_id = wire.made_id(self._start, number)
            elif request_id.startswith("~") or len(request_id) > wire.MAX_REQUEST_ID:
                raise BadArguments(
                    f"a request id has at most {wire.MAX_REQUEST_ID} characters and does not begin with ~"
                )
            message = wire.Call(
                0, request_id, topic, method, msgspec.Raw(arguments), 0, context, lax, plain, lent, proof
            )
            begun = self._begun(request_id) if named and once and host is None and node is None else None
            tried: tuple[str, ...] = ()
            now = started
            while True:
                try:
                    target = self.choose(topic, host, begun or node, tried)
                except Unreachable as gone:
                    raise _nobody_knows(begun, topic, method, gone) if begun else gone from None
                name = self._node if target is None else target.node
                if name in tried:  # there is no other, and it was busy a moment ago
                    gevent.sleep(random.uniform(BUSY_S / 2, BUSY_S))  # noqa: S311  (spread, not secrecy)
                    now = time.monotonic()
                if named:
                    self._remember(request_id, name)
                elif acknowledge:
                    self._open[number] = name if host or node else ""
                try:
                    if target is None:
                        asked.append(name)
                        good, answer = self._here(message, max(0.0, end - now), on_progress, plain)
                    else:
                        good, answer = self._there(target, message, patience.silence_s, now, end, on_progress, asked)
                except CallTimeout:
                    raise CallTimeout(f"{name}: no answer to {topic}.{method} within the time allowed") from None
                if good:
                    if said_by is not None:
                        said_by.append(name)
                    answered = True
                    tally.took(time.monotonic() - started)
                    return answer
                error, now = from_wire(answer), time.monotonic()
                if begun and isinstance(error, Unreachable):
                    raise _nobody_knows(begun, topic, method, error)
                if isinstance(error, Busy | Unreachable) and not (begun or host or node) and now < end:
                    # it says itself that it has not started: another member may, under the same id
                    tried += (name,)
                    if name in asked:
                        asked.remove(name)
                    self._targets.get(request_id, set()).discard(name)
                    try:
                        self.choose(topic, host, node, tried)
                        continue
                    except Unreachable:
                        raise error from None
                answered = True
                raise error
        except BaseException as error:
            tally.failed(kind_of(error), time.monotonic() - started)
            raise
        finally:
            if not named and (acknowledge or not answered):
                self._open.pop(number, None)
                for name in asked:
                    assert request_id is not None
                    if not answered:  # nobody can ask for it again: whoever works on it may leave off
                        self._take_back(name, request_id)
                    if acknowledge:
                        self._owe(name, request_id)

    def _begun(self, request_id: str) -> str | None:
        """The node that may have begun this request when it was asked for before: nobody else may."""
        return next(iter(self._targets.get(request_id, ())), None)

    def acknowledge(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            for node in self._targets.pop(request_id, ()):
                self._owe(node, request_id)

    def cancel(self, request_ids: list[str]) -> None:
        """As `Bus.cancel`. Who waits here is told at once, who works there as soon as the link allows."""
        loop = gevent.get_hub().loop
        for request_id in request_ids:
            why = Cancelled(f"request {request_id} was taken back")
            for local in self._local.get(request_id, ()):
                local.done.set((False, encode(wire_form(why))))
            for node in self._targets.get(request_id, ()):
                self._take_back(node, request_id)
                peer = self._home.roster.peers.get(node)
                if peer is not None and peer.link is not None:
                    for pending in list(peer.link.pending.values()):
                        if pending.message.request_id == request_id:
                            peer.link.forget(pending)
                            loop.run_callback(pending.end, False, why)

    def _owe(self, node: str, request_id: str) -> None:
        """To be acknowledged at the next sweep; what a long-gone node would have to hear is forgotten."""
        if node == self._node:
            self._home.journal.drop(node, [request_id])
            return
        owed = self._acknowledged.setdefault(node, [])
        owed.append(request_id)
        del owed[:-MOST_OWED]

    def _take_back(self, node: str, request_id: str) -> None:
        """Now, or at a sweep once the link is up again."""
        if node == self._node:
            self._home.answering.take_back(node, [request_id])
            return
        peer = self._home.roster.peers.get(node)
        said = wire.Acknowledge([], taken_back=[request_id])
        if peer is None or peer.link is None or not peer.link.say(said):
            waiting = self._taken_back.setdefault(node, [])
            waiting.append(request_id)
            del waiting[:-MOST_OWED]

    def load_of(self, peer: Peer) -> int:
        """What it said of itself, or what we alone have given it since."""
        return max(peer.load, len(peer.link.pending) if peer.link is not None else 0)

    def _remember(self, request_id: str, node: str) -> None:
        if len(self._targets) > MOST_NAMED:
            self._targets.pop(next(iter(self._targets)))
        self._targets.setdefault(request_id, set()).add(node)

    def target(self, topic: str, host: str | None, node: str | None = None) -> str:
        """The node a call would go to now. Raises Unreachable."""
        peer = self.choose(topic, host, node)
        return self._node if peer is None else peer.node

    def choose(self, topic: str, host: str | None, node: str | None = None, tried: tuple[str, ...] = ()) -> Peer | None:
        """The peer, or None for this node. One that has proved itself is certified to answer the topic; of another
        that is looked at before anything is sent to it (`Link`). Raises Unreachable."""
        home = self._home
        if node is not None:
            if node == self._node:
                return None
            peer = home.roster.peers.get(node)
            if peer is None:
                self._not_put_out(node, None)
                raise Unreachable(f"{node}: no such node is known here; see `nova0 agents`")
            if why := home.roster.not_asked(peer, topic):
                raise Unreachable(why)
            return _alive(peer)
        here = topic in home.offers.agents or topic == dispatch.MESH
        if here and host in (None, home.settings.host) and self._node not in tried and not home.answering.leaving:
            if host is not None:
                return None
            candidates: list[Peer | None] = [None]
        else:
            candidates = []
        known = self._known(topic, host)
        if len(known) == 1 and known[0].status is Status.UP and not candidates and not tried:
            return known[0]
        candidates += [p for p in known if p.status is Status.UP and p.node not in tried]
        if candidates:
            random.shuffle(candidates)  # equals share the work evenly
            return min(candidates, key=lambda p: home.answering.running if p is None else self.load_of(p))
        maybe = [p for p in known if p.status in (Status.SUSPECT, Status.UNKNOWN) and p.node not in tried]
        if maybe:
            return maybe[0]
        where = f"{topic}@{host}" if host else topic
        if known:
            return _alive(known[0], where)
        self._not_put_out(None, host)
        wrong = [p for p in home.roster.peers.values() if topic in p.wrong and host in (None, p.card.host)]
        said = "; ".join(f"{p.node} {wrong_text(p)}" for p in wrong[:MOST_WRONG_NAMED])
        raise Unreachable(f"{where}: no such agent is known here{': ' if said else '; see `nova0 agents`'}{said}")

    def _not_put_out(self, node: str | None, host: str | None) -> None:
        for gone in self._home.roster.gone.values():
            if node == gone.node or (host is not None and host == gone.card.host):
                raise Unreachable(f"{node or host}: {gone.detail}")

    def _known(self, topic: str, host: str | None) -> list[Peer]:
        """Who answers to that; looked up anew when the roster has changed. Whose proof does not hold any more, and
        whom nobody but an announcement tells of, only where there is no other."""
        roster = self._home.roster
        if roster.version != self._known_at:
            self._known_at = roster.version
            self._known_by.clear()
        known = self._known_by.get((topic, host))
        if known is None:
            if len(self._known_by) >= MOST_KNOWN:  # names may come from a person's command line
                self._known_by.clear()
            found = [
                p
                for p in (roster.peers.values() if host is None else roster.peers.of_host(host))
                if (topic in p.card.topics or topic == dispatch.MESH)
                and (host is not None or p.card.key not in roster.quarantined)
            ]
            sure = [p for p in found if p.listed and (p.chain is not None or p.certificate is None)]
            known = self._known_by[topic, host] = sorted(sure or found, key=lambda p: p.chain is None)
        return known

    def _there(
        self,
        peer: Peer,
        message: wire.Call,
        silence_s: float,
        now: float,
        end: float,
        on_progress: Any,
        asked: list[str],
    ) -> tuple[bool, Any]:
        link = self._home.link(peer)
        pending = Pending(message, Waiter(), on_progress, max(0.0, min(silence_s, end - now)), end, now, now)
        self._asked[link] = peer
        try:
            link.call(pending)
            good, body = pending.waiter.get()
        finally:
            link.forget(pending)
            if pending.sent:
                asked.append(peer.node)
        if good:
            return good, body
        if isinstance(body, MeshError):
            if isinstance(body, CallTimeout):
                raise body
            return False, wire_form(body)
        return good, body

    def _here(self, message: wire.Call, total_s: float, on_progress: Any, plain: bool) -> tuple[bool, Any]:
        settings = self._home.settings
        roles = (str(Role.MEMBER),) if plain else self._home.roles()
        caller = Caller(
            node=self._node,
            host=settings.host,
            roles=dispatch.roles_seen(roles, settings.host, settings.host),
            request_id=message.request_id,
            context=message.context,
        )
        if message.lent:
            caller = dispatch.lent(caller, message.lent, self._home.roles())
        message.ms_left = int(total_s * 1000)
        reply = _LocalReply(on_progress)
        waiting = self._local.setdefault(message.request_id, [])
        waiting.append(reply)
        gevent.spawn(self._home.answering.execute, caller, message, reply)
        try:
            reply.done.wait(total_s)
        finally:
            waiting.remove(reply)
            if not waiting:
                self._local.pop(message.request_id, None)
        if not reply.done.ready():
            raise CallTimeout(self._node)
        good, body = reply.done.get()
        return good, body if good else decode(body)

    def _sweep(self) -> None:
        """Ten times a second, in the hub: end what waits in vain, pass on acknowledgements."""
        now = time.monotonic()
        lowest: dict[str, int] = {}
        if self._acknowledged or self._taken_back:
            for number, node in self._open.items():  # in the order of their numbers
                lowest.setdefault(node, number)
        for link, peer in list(self._asked.items()):
            for pending in list(link.pending.values()):
                end = _verdict(peer, link, pending, now)
                if end is not None:
                    link.forget(pending)
                    pending.end(False, end)
            if not link.pending:
                del self._asked[link]
        for node in {*self._acknowledged, *self._taken_back}:
            known = self._home.roster.peers.get(node)
            if known is None or known.link is None:
                continue
            waiting, taken_back = self._acknowledged.get(node, []), self._taken_back.get(node, [])
            below = min(lowest.get(node, self._made + 1), lowest.get("", self._made + 1))
            if known.link.say(wire.Acknowledge(waiting, self._start, below, taken_back)):
                self._acknowledged.pop(node, None)
                self._taken_back.pop(node, None)


def _nobody_knows(node: str, topic: str, method: str, why: MeshError) -> CallTimeout:
    return CallTimeout(
        f"{node} may have begun {topic}.{method} when it was asked before, and cannot be asked now: {why.message}. "
        "Ask again when it is back, or look at the thing itself"
    )


class _LocalReply:
    def __init__(self, on_progress: Any) -> None:
        self.done: AsyncResult = AsyncResult()
        self._on_progress = on_progress

    def answer(self, good: bool, body: bytes) -> None:
        if not self.done.ready():
            self.done.set((good, body))

    def progress(self, value: msgspec.Raw) -> None:
        if self._on_progress is not None:
            self._on_progress(decode(value))


def _verdict(peer: Peer, link: Link[Peer], pending: Pending, now: float) -> MeshError | None:
    if now >= pending.deadline:
        return CallTimeout(peer.node) if pending.sent else Unreachable(f"{peer.node}: {link.trouble}; not started")
    if not pending.sent:
        if link.fatal is not None:
            return link.fatal
        if peer.status in (Status.DOWN, Status.LEFT) or now - pending.started_at > DIAL_S:
            return Unreachable(f"{peer.node} is {peer.status}: {peer.detail or link.trouble}; not started")
    elif now - pending.heard_at > pending.silence_s:
        return CallTimeout(peer.node)
    return None


def _alive(peer: Peer, where: str = "") -> Peer:
    if peer.status in (Status.DOWN, Status.LEFT):
        raise Unreachable(f"{where or peer.node}: {peer.node} is {peer.status}: {peer.detail or 'said goodbye'}")
    return peer
