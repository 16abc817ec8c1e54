"""Casts for the agents here: those of one frame are read by one call of a decoder and run one after the other.

Most frames hold casts of one method. What the last frame of a topic held is tried first; a frame that is otherwise
(several methods, arguments that do not fit) is read cast by cast, so that one bad cast spoils no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from time import monotonic
from typing import Annotated, Any, Literal, cast

import gevent
import msgspec
from msgspec.structs import astuple

from nova0.mesh import offers as dispatch
from nova0.mesh import wire
from nova0.mesh.driven import Pool
from nova0.mesh.errors import NotAllowed, UnknownMethod, kind_of
from nova0.mesh.members import Caller
from nova0.mesh.offers import Offered, Offers
from nova0.metrics import BOUNDS_S

LOG = logging.getLogger(__name__)
MOST_GUESSES = 1024  # topics whose last method is remembered
SHORT_S = BOUNDS_S[0]


class Batch(msgspec.Struct, eq=False):
    """Casts of one frame. `offered`: whose they all are, with arguments read; None: each is looked at, they are Raw."""

    topic: str  # of the agent
    casts: Iterator[wire.Cast]  # those that have not begun
    usual: dispatch.Running  # of those that say nothing of their own; nothing takes a cast back, so all may share it
    member: tuple[str, ...]  # roles of a plain one
    offered: Offered | None


class Hearing:
    def __init__(self, offers: Offers, node: str) -> None:
        self._offers, self._node = offers, node
        self.running = 0  # casts that have begun, or will
        self._guesses: dict[bytes, tuple[Offered, Callable[[bytes], wire.Casts]]] = {}  # by topic as on the wire
        self._hub = gevent.get_hub()
        self._pool = Pool(self._work)

    def read(self, body: bytes) -> tuple[str, wire.Signal, Offered | None]:
        """(topic, signal, the method that its casts are of, with arguments read; None: they are Raw). Raises
        BadFrame."""
        name, _, rest = body.partition(b"\0")
        guess = self._guesses.get(name)
        if guess is not None:
            try:
                read = guess[1](rest)
                if True not in [cast.plain for cast in read.casts]:
                    return name.decode(), read, guess[0]
            except wire.BROKEN:
                LOG.debug("a frame is not like the last one of its topic")
            del self._guesses[name]
        topic, signal = wire.read_signal(body)
        if isinstance(signal, wire.Casts) and len(signal.casts) > 1:
            self._guess(name, topic, signal.casts)
        return topic, signal, None

    def run(
        self, topic: str, casts: list[wire.Cast], caller: Caller, member: tuple[str, ...], offered: Offered | None
    ) -> None:
        """For the agent of `topic`, which is here; `offered` as `read` said. Hub or greenlet."""
        if offered is not None:
            try:
                dispatch.authorise(offered, caller, self._node)
            except NotAllowed as error:
                for cast in casts:
                    self._failed(topic, cast, caller, error)
                return
        self.running += len(casts)
        self._pool.add(Batch(topic, iter(casts), dispatch.Running(caller, _nobody), member, offered))
        if gevent.getcurrent() is self._hub:
            self._pool.run_added()
        else:
            self._hub.loop.run_callback(self._pool.run_added)

    def _guess(self, name: bytes, topic: str, casts: list[wire.Cast]) -> None:
        method = casts[0].method
        if any(cast.method != method or cast.request_id or cast.context or cast.plain for cast in casts):
            return
        try:
            offered = self._offers.find(topic.partition("@")[0], method, "cast")
        except UnknownMethod:
            return
        if offered.positional and len(self._guesses) < MOST_GUESSES:
            self._guesses[name] = offered, _reader(method, offered.codec.shape)

    def _work(self, batch: Batch) -> None:
        cast = next(batch.casts, None)
        if cast is not None:
            self._pool.add_first(batch)  # where this one blocks, another greenlet goes on with the rest
            if batch.offered is None:
                self._work_each(batch, cast)
            else:
                token = dispatch.enter(batch.usual)
                try:
                    self._work_read(batch, batch.offered, cast)
                finally:
                    dispatch.leave(token)

    def _work_read(self, batch: Batch, offered: Offered, cast: wire.Cast | None) -> None:
        """What `dispatch.hear` does, written out, with one look at the clock between two casts: it is done tens of
        thousands of times a second."""
        casts, function, tally = batch.casts, offered.function, offered.tally
        buckets, ended = tally.buckets, monotonic()
        while cast is not None:
            started = ended
            try:
                function(*astuple(cast.arguments))  # type: ignore[arg-type]
                ended = monotonic()
                took = ended - started
                if took <= SHORT_S:
                    buckets[0] += 1
                    tally.sum_s += took
                else:
                    tally.took(took)
            except Exception as error:  # noqa: BLE001  (nobody waits for a cast)
                ended = monotonic()
                tally.failed(kind_of(error), ended - started)
                self._failed(batch.topic, cast, batch.usual.caller, error)
            finally:
                self.running -= 1
            cast = next(casts, None)

    def _work_each(self, batch: Batch, cast: wire.Cast | None) -> None:
        while cast is not None:
            running = batch.usual
            try:
                if cast.request_id or cast.context or cast.plain:
                    running = _own(batch, cast)
                offered = self._offers.find(batch.topic, cast.method, "cast")
                dispatch.authorise(offered, running.caller, self._node)
                dispatch.hear(offered, running, cast.arguments)
            except Exception as error:  # noqa: BLE001  (nobody waits for a cast)
                self._failed(batch.topic, cast, running.caller, error)
            finally:
                self.running -= 1
            cast = next(batch.casts, None)

    def _failed(self, topic: str, cast: wire.Cast, caller: Caller, error: Exception) -> None:
        LOG.warning("%s: cast %s.%s from %s failed: %s", self._node, topic, cast.method, caller.node, error)


def _own(batch: Batch, cast: wire.Cast) -> dispatch.Running:
    """For a cast that says something of its own."""
    usual = batch.usual.caller
    roles = batch.member if cast.plain else usual.roles
    about = Caller(node=usual.node, host=usual.host, roles=roles, request_id=cast.request_id, context=cast.context)
    return dispatch.Running(about, _nobody)


def _nobody(progress: Any) -> None:
    """Waits for a cast."""


@lru_cache(MOST_GUESSES)
def _reader(method: str, arguments: type[msgspec.Struct]) -> Callable[[bytes], wire.Casts]:
    """Reads casts that are all of this method and say nothing of their own, arguments and all. Other frames raise
    one of wire.BROKEN, but for plain casts."""
    nothing = Annotated[dict[str, Any], msgspec.Meta(max_length=0)]
    fields: list[Any] = [("method", Literal[method]), ("arguments", arguments), ("request_id", Literal[""], "")]
    fields += [("context", nothing, {}), ("plain", bool, False)]
    one = msgspec.defstruct("Cast", fields, array_like=True, gc=False)
    tag = wire.Casts.__struct_config__.tag
    casts = msgspec.defstruct("Casts", [("casts", list[one])], bases=(wire.Casts,), array_like=True, tag=tag)  # type: ignore[valid-type]
    return cast(Callable[[bytes], wire.Casts], msgspec.msgpack.Decoder(casts).decode)
