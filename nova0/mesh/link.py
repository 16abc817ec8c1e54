"""Our way to one peer: a DEALER that is dialled, greeted, and dialled again when it breaks.

Every connection is a fresh socket that begins with Hello; what had no answer is asked again under the
same request id. libzmq's own reconnecting is off: it would go on with a key that was put out.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sized
from typing import Any, Generic, Protocol, TypeVar

import gevent
import msgspec
import zmq
from gevent.event import AsyncResult, Event
from gevent.hub import Waiter

from nova0.mesh import wire
from nova0.mesh.certificate import Chain
from nova0.mesh.counts import Counts
from nova0.mesh.door import AskCert, AskHello, Knock, dial
from nova0.mesh.driven import FAREWELL_MS, Driven
from nova0.mesh.errors import (
    Busy,
    CallTimeout,
    Incompatible,
    JoinRefused,
    MeshError,
    OutcomeUnknown,
    PutOut,
    Unreachable,
    from_wire,
)
from nova0.mesh.keys import CurvePair
from nova0.mesh.monitor import Dialled
from nova0.mesh.settings import MeshSettings
from nova0.mesh.zap import dial_curve, limit

LOG = logging.getLogger(__name__)

BEATS_S = 1.0  # between ZMTP heartbeats of a link
LARGE_BEATS_S = 0.0  # none in a large cluster: they cost a controller as much as beats, and the kernel looks, too


class Pending(msgspec.Struct, eq=False):
    """One call of ours without an answer yet."""

    message: wire.Call
    waiter: Waiter  # of (good, body)
    on_progress: Callable[[Any], None] | None
    silence_s: float
    deadline: float
    started_at: float
    heard_at: float
    sent: bool = False

    def end(self, good: bool, body: Any) -> None:
        """Hub only."""
        self.waiter.switch((good, body))


class Addressee(Protocol):
    """What a link needs of the peer that it leads to."""

    card: wire.Card
    hint: wire.Card | None
    chain: Chain | None
    boot: int

    @property
    def node(self) -> str: ...


P = TypeVar("P", bound=Addressee)
P_contra = TypeVar("P_contra", bound=Addressee, contravariant=True)


class Known(Protocol[P_contra]):
    """What a link needs of the roster."""

    @property
    def peers(self) -> Sized: ...

    def prove(self, chain: Chain, card: wire.Card, key: bytes, address: str = "") -> object: ...

    def heard(self, peer: P_contra, boot: int | None = None) -> None: ...

    def not_asked(self, peer: P_contra, topic: str) -> str: ...


class Home(Protocol[P_contra]):
    """What a link needs of its node."""

    settings: MeshSettings
    pair: CurvePair
    counts: Counts

    @property
    def roster(self) -> Known[P_contra]: ...

    @property
    def context(self) -> zmq.Context: ...

    def chain(self, roots_known: int = 0) -> Chain: ...

    def card(self) -> wire.Card: ...

    def hello(self, met: bytes | None = None) -> wire.Hello: ...

    def told_stones(self, peer: P_contra, said: wire.Stones) -> None: ...

    def took_stones(self, peer: P_contra, said: wire.Stones, answer: Callable[[wire.Stones], object]) -> None: ...

    def told_put_out(self, peer: P_contra, error: PutOut) -> None: ...

    def welcomed(self, peer: P_contra, welcome: wire.Welcome) -> None: ...

    def link_cut(self, peer: P_contra, why: str) -> None: ...

    def ponged(self, peer: P_contra, pong: wire.Pong) -> None: ...

    def ping_age(self, node: str) -> float | None: ...

    def said_goodbye(self, peer: P_contra, boot: int) -> None: ...


class Link(Generic[P]):
    def __init__(self, home: Home[P], peer: P) -> None:
        self._home, self.peer = home, peer
        self.pending: dict[int, Pending] = {}
        self.up = self.closed = False
        self.trouble = "not dialled yet"
        self.fatal: MeshError | None = None  # a refusal that dialling again will not change
        self._been_up = self._reached = False
        self.greeted: list[Callable[[], None]] = []
        self._number = 0
        self._driven: Driven | None = None
        self._watch: Dialled | None = None
        self._state: AsyncResult = AsyncResult()
        self._cut = Event()
        self._bell = Event()
        self._locked_out = False
        self._turned_away = 0  # handshakes in turn
        self._hurried = self._renewing = False
        self._told = ""  # of its last refusal
        self._keeper: gevent.Greenlet | None = None

    @property
    def wanted(self) -> bool:
        """Up, or being dialled; not resting."""
        return self._keeper is not None

    @property
    def reached(self) -> bool:
        """The last dial met a machine that takes the connection, whether or not its process answers."""
        return self._reached if self._watch is None else self._watch.reached

    def ensure(self) -> None:
        """Be up, now or as soon as the peer can be reached."""
        if self._keeper is None and not self.closed:
            self._keeper = gevent.spawn(self._keep)

    def hurry(self) -> None:
        """There is reason to believe that it can be reached now."""
        self._hurried = True
        self._bell.set()
        self.ensure()

    def renew(self) -> None:
        """Dial anew under the keys as they are now; what is unanswered is asked again under its id."""
        if self.up:
            self._renewing = True
            self._hurried = True
            self._cut.set()
        elif self._keeper is not None:
            self.hurry()

    def wait_up(self, most_s: float) -> None:
        """Until it is greeted, or so long. Raises the error of a refusal that dialling again will not change."""
        end = time.monotonic() + most_s
        while not self.up and time.monotonic() < end:
            if self.fatal is not None:
                raise self.fatal
            self.ensure()
            gevent.sleep(0.005)

    def close(self) -> None:
        """For good; who waits for an answer is told that there will be none."""
        self.closed = True
        self.stop()
        loop = gevent.get_hub().loop
        for pending in list(self.pending.values()):
            loop.run_callback(pending.end, False, CallTimeout(f"{self.peer.node}: this node stopped"))
        self.pending.clear()

    def put_out(self, why: str) -> None:
        """The peer is no member any more. What was sent may have run there: nobody will know."""
        self.closed = True
        loop = gevent.get_hub().loop
        for pending in list(self.pending.values()):
            error: MeshError
            if pending.sent:
                error = OutcomeUnknown(f"{why}, while it worked on {pending.message.method}: look at the thing itself")
            else:
                error = Unreachable(f"{why}; not started")
            loop.run_callback(pending.end, False, error)
        self.pending.clear()
        self.stop()

    def stop(self) -> None:
        """Until something needs it again."""
        if self._keeper is not None:
            self._keeper.kill(block=False)
            self._keeper = None
        self._drop("stopped", linger_ms=FAREWELL_MS if self.up else 0)  # else nobody is there to hear it

    def rest(self) -> None:
        """Stop because nobody uses it: it is not cut, and nobody is to be missed for that."""
        self._renewing = self.up
        self.stop()

    def queued(self) -> int:
        """Frames that wait because the peer does not read."""
        return self._driven.queued() if self._driven is not None else 0

    def say(self, message: Any) -> bool:
        """Send what needs no answer; False where the link is not up or the peer too slow."""
        if not self.up or self._driven is None:
            return False
        try:
            self._driven.put(message)
        except Busy:
            return False
        return True

    def call(self, pending: Pending) -> None:
        """Send now or when up. Raises Busy over the bound."""
        if len(self.pending) >= self._home.settings.calls_waiting:
            raise Busy(f"{self.peer.node}: {len(self.pending)} calls wait for it already; ask again later")
        self._number += 1
        pending.message.id = self._number
        self.pending[self._number] = pending
        if self.up:
            try:
                self._send(pending, pending.started_at)
            except Busy:
                del self.pending[self._number]
                raise
        else:
            self.ensure()

    def forget(self, pending: Pending) -> None:
        self.pending.pop(pending.message.id, None)

    def _send(self, pending: Pending, now: float) -> None:
        pending.message.ms_left = max(0, int((pending.deadline - now) * 1000))
        assert self._driven is not None
        self._driven.put(pending.message)
        pending.sent = True

    def _not_sent(self, pending: Pending, why: str) -> None:
        self.forget(pending)
        error = OutcomeUnknown(f"{why}, after it was asked") if pending.sent else Unreachable(why)
        gevent.get_hub().loop.run_callback(pending.end, False, error)

    # the life of the connection

    def _keep(self) -> None:
        shortest, longest = self._home.settings.reconnect_s
        pause = shortest
        attempt = 0
        while not self.closed:
            self._hurried = False
            try:
                self._dial(attempt)
                pause, attempt = shortest, 0
                self._cut.wait()
            except MeshError as error:
                self.trouble = error.message
                if isinstance(error, Incompatible) and (self.fatal is None or str(self.fatal) != str(error)):
                    LOG.error("%s refuses us: %s", self.peer.node, error.message)
                self.fatal = error if isinstance(error, Incompatible) else None
                if isinstance(error, JoinRefused) and error.message != self._told:
                    self._told = error.message
                    LOG.error("%s refuses us: %s", self.peer.node, error.message)
                if isinstance(error, JoinRefused):  # a proof does not hold any more: show and see the present ones
                    self._locked_out = True
                if isinstance(error, PutOut):
                    self._home.told_put_out(self.peer, error)
            except zmq.ZMQError as error:
                self.trouble = f"{self.peer.node}: cannot be dialled: {error} (is the limit on open files too low?)"
                LOG.warning("%s", self.trouble)
            except Exception:  # a link goes on, whatever one dial met
                LOG.exception("dialling %s failed", self.peer.node)
            attempt += 1
            self._drop(self.trouble)
            if not self._hurried:
                self._bell.clear()
                self._bell.wait(random.uniform(pause / 2, pause))  # noqa: S311  (spread, not secrecy)
            self._bell.clear()
            pause = min(longest, pause * 2)

    def _dial(self, attempt: int) -> None:
        """Up, or an error saying why not."""
        home, peer = self._home, self.peer
        if self.closed:
            raise Unreachable("this node is stopping")
        card = peer.hint if peer.hint is not None and attempt % 2 else peer.card
        if peer.chain is None or self._locked_out or card is peer.hint:
            card = self._knock(card)
            self._locked_out = False
        self._state, self._cut = AsyncResult(), Event()
        socket = home.context.socket(zmq.DEALER)
        dial_curve(socket, home.pair, card.key)
        large = len(home.roster.peers) > home.settings.many
        beats_s = LARGE_BEATS_S if large else BEATS_S
        limit(socket, most_bytes=wire.MAX_FRAME_BYTES, handshake_s=home.settings.handshake_s, beats_s=beats_s)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.SNDHWM, home.settings.queue)
        self._watch = Dialled(home.context, socket, self._broken)
        self._driven = Driven(socket, self._heard, queue=home.settings.queue, traffic=home.counts.calls)
        dial(socket, card.address, card.rpc_port)
        self._driven.put(home.hello())
        with gevent.Timeout(
            home.settings.handshake_s + 1,
            Unreachable(f"{peer.node}: no greeting from {card.address}:{card.rpc_port}"),
        ):
            while isinstance(welcome := self._state.get(), wire.Stones):  # our sets of tombstones differ
                self._state = AsyncResult()
                home.told_stones(peer, welcome)
                self._driven.put(home.hello(welcome.tombs.digest))
        self.up, self.trouble, self.fatal = True, "", None
        self._turned_away = 0
        home.counts.links_up += 1
        home.counts.reconnects += self._been_up
        self._been_up = True
        home.welcomed(peer, welcome)
        for pending in list(self.pending.values()):
            if why := home.roster.not_asked(peer, pending.message.topic):  # it had not proved itself when it was chosen
                self._not_sent(pending, why)
            else:
                self._send(pending, time.monotonic())
        for greeted in self.greeted:
            greeted()

    def _knock(self, card: wire.Card) -> wire.Card:
        """Prove ourselves at the peer's door, and it to us. Its card as it is now."""
        home = self._home
        with Knock(home.context, home.pair, card.address, card.door_port, card.key, home.settings.handshake_s) as knock:
            try:
                shown = knock.ask(AskCert())
            finally:
                self._reached = knock.reached
            if shown.card.node != card.node:
                raise JoinRefused(f"{card.address}:{card.door_port}: expected {card.node}, found {shown.card.node}")
            home.roster.prove(shown.chain, shown.card, card.key, card.address)
            knock.ask(AskHello(home.chain(len(shown.chain.roots)), home.card()))
        return self.peer.card

    def _drop(self, why: str, linger_ms: int = 0) -> None:
        was_up, self.up = self.up, False
        if self._watch is not None:
            self._reached = self._watch.reached
            self._watch.close()
            self._watch = None
        if self._driven is not None:
            self._driven.close(linger_ms)
            self._driven = None
        if was_up:
            if not self._renewing:
                self._home.counts.links_cut += 1
                self._home.link_cut(self.peer, why)
            self._renewing = False

    def _broken(self, why: str, locked_out: bool) -> None:
        self.trouble = f"{self.peer.node}: {why}"
        self._turned_away = self._turned_away + 1 if locked_out else 0
        self._locked_out = self._locked_out or self._turned_away > 1  # once may be chance: a peer among thousands
        self._cut.set()  # also when it was greeted in this very turn, and the greenlet that dials does not know yet
        if not self.up and not self._state.ready():
            self._state.set_exception(Unreachable(self.trouble))

    # what comes over it (in the hub)

    def _heard(self, _: bytes, body: bytes) -> None:
        try:
            messages = wire.read_frame(body)
        except wire.BadFrame as error:
            LOG.warning("%s: not a frame: %s", self.peer.node, error)
            return
        if self.up:
            self._home.roster.heard(self.peer, self.peer.boot)
        for message in messages:
            self._take(message)

    def _take(self, message: wire.Message) -> None:
        pending: Pending | None
        if type(message) is wire.Answer:
            pending = self.pending.pop(message.id, None)
            if pending is not None:
                pending.waiter.switch((True, message.result))
        elif isinstance(message, wire.Failure):
            pending = self.pending.pop(message.id, None)
            if pending is not None:
                pending.end(False, message.error)
        elif isinstance(message, wire.Working):
            now = time.monotonic()
            for number in message.ids:
                pending = self.pending.get(number)
                if pending is not None:
                    pending.heard_at = now
        elif isinstance(message, wire.Progress):
            pending = self.pending.get(message.id)
            if pending is not None:
                pending.heard_at = time.monotonic()
                self._tell(pending, message.value)
        elif isinstance(message, wire.Pong):
            self._home.ponged(self.peer, message)
        elif isinstance(message, wire.Ping):  # the other side has no link of its own
            self.say(wire.Pong(message.nonce, message.node, self._home.ping_age(message.node) if message.node else 0.0))
        elif isinstance(message, wire.Goodbye):
            self._home.said_goodbye(self.peer, message.boot)
        elif isinstance(message, wire.Stones) and self.up:
            self._home.took_stones(self.peer, message, self.say)
        elif isinstance(message, wire.Welcome | wire.Stones):
            if not self._state.ready():
                self._state.set(message)
        elif isinstance(message, wire.Refused):
            error = from_wire(message.error)
            if not self._state.ready():
                self._state.set_exception(error if isinstance(error, MeshError) else Unreachable(str(error)))
            else:  # it has forgotten us: greet again
                self._broken("asks for a new greeting", False)

    def _tell(self, pending: Pending, value: msgspec.Raw) -> None:
        if pending.on_progress is not None:
            try:
                pending.on_progress(msgspec.msgpack.decode(value))
            except Exception:  # the caller's own function; the call goes on
                LOG.exception("on_progress of %s failed", pending.message.method)
