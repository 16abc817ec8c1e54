"""A stream as its two users see it, and the pair of them inside one process.

Sending and reading block only their own greenlet. What moves the bytes is a `Carrier`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import gevent
from gevent.event import Event
from gevent.lock import RLock

from nova0.mesh import wire
from nova0.mesh.codec import wire_form
from nova0.mesh.errors import MeshError, StreamBroken, from_wire
from nova0.mesh.streams.flow import Body, BrokenRules, Flow

PATIENCE_S = 60.0  # of `finish`, with a peer that neither reads nor ends

Handler = Callable[["Stream"], None]


class Carrier(Protocol):
    """What takes one end's messages to the other. Neither method blocks."""

    def put(self, message: wire.Streamed) -> None: ...

    def drop(self, last_words: bool) -> None:
        """Nothing more will be put; with `last_words` what was put still leaves. Called once."""


class Stream:
    """Bytes both ways, in order. How they were cut into messages is not kept.

    As a context manager: leaving it in order is `finish`, by an error `close(error)`."""

    def __init__(self, carrier: Carrier, here: str, peer: str, purpose: str, gone: Callable[[Stream], None]) -> None:
        self.here, self.peer, self.purpose = here, peer, purpose  # nodes, as certified
        self.bytes_in = self.bytes_out = 0
        self.error: MeshError | None = None  # why it broke
        self._carrier, self._gone = carrier, gone
        self._flow = Flow()
        self._released = False
        self._in_turn = RLock()  # one greenlet's bytes are not mixed with another's
        self._moved = Event()  # anything came: credit, bytes, an end
        self._steps = 0

    @property
    def host(self) -> str:
        return self.peer.partition("/")[0]

    @property
    def closed(self) -> bool:
        return self._released

    # for its user

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Returns when all of it is on its way; waits while the other side does not read. Raises StreamBroken,
        or the error the other side closed with. ValueError after `end`."""
        left = memoryview(data).cast("B")
        with self._in_turn:
            while left:
                if self.error is not None:
                    raise self.error
                if self._flow.sent_end:
                    raise ValueError(f"{self}: nothing can be sent after end()")
                size = self._flow.may_send(len(left))
                if not size:
                    self._wait()
                    continue
                self._flow.sending(size)
                self.bytes_out += size
                self._carrier.put(wire.Data(left[:size]))
                left = left[size:]

    def recv(self) -> bytes:
        """Some bytes, at least one; b"" when the other side has ended. What came before a break is given
        first, then the break is raised: StreamBroken, or the error the other side closed with."""
        return bytes(self.recv_view())

    def recv_view(self) -> Body:
        """As `recv`, without a copy: memory of the message it came in."""
        flow = self._flow
        while not flow.waiting:
            if flow.heard_end:
                return b""
            if self.error is not None:
                raise self.error
            self._wait()
        body, grant = flow.take()
        if grant and self.error is None:
            self._carrier.put(wire.Grant(grant))
        return body

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.recv():
            yield piece

    def end(self) -> None:
        """Nothing more will be sent; the other side may go on. Doing it twice is doing it once."""
        with self._in_turn:
            if self.error is None and not self._flow.sent_end:
                self._flow.end()
                self._carrier.put(wire.End())
                self._release_if_over()

    def finish(self, patience_s: float = PATIENCE_S) -> None:
        """`end`, then wait until the other side has ended as well; bytes that still come are thrown away.
        Raises what `send` does, and StreamBroken when the other side does nothing for `patience_s`."""
        try:
            self.end()
            while True:
                steps = self._steps
                with gevent.Timeout(patience_s, False):
                    while self.recv_view():
                        pass
                    return
                if steps == self._steps:
                    raise StreamBroken(f"{self}: the other side has not ended within {patience_s:g} s")
        except BaseException as error:
            self.close(error)
            raise

    def close(self, error: BaseException | None = None) -> None:
        """Now, whatever is under way. Unless both sides have ended, the other side gets `error` (its own
        class where it is a registered one), or StreamBroken."""
        if self._released:
            return
        told = error if isinstance(error, Exception) else StreamBroken(f"{self.here} closed the stream {self.purpose}")
        self._carrier.put(wire.Broken(wire_form(told)))
        self._break(StreamBroken(f"{self}: closed here"), True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.finish()
        else:
            self.close(error)

    def __repr__(self) -> str:
        return f"stream {self.purpose} with {self.peer}"

    def _wait(self) -> None:
        self._moved.clear()
        self._moved.wait()

    # for its carrier (in the hub)

    def opened(self, window: int) -> None:
        self._flow.opened(window)
        self._step()

    @property
    def window(self) -> int:
        return self._flow.window

    def heard(self, message: wire.Streamed) -> None:
        if self._released:
            return
        try:
            if isinstance(message, wire.Data):
                self._flow.arrived(message.body)
                self.bytes_in += len(message.body)
            elif isinstance(message, wire.Grant):
                self._flow.granted(message.size)
            elif isinstance(message, wire.End):
                self._flow.heard()
                self._release_if_over()
            elif isinstance(message, wire.Broken):
                told = from_wire(message.error)
                self.broken(told if isinstance(told, MeshError) else StreamBroken(f"{self}: {told}"))
        except BrokenRules as error:
            self._carrier.put(wire.Broken(wire_form(StreamBroken(f"{self.here}: broke the rules: {error}"))))
            self._break(StreamBroken(f"{self}: the other side broke the rules: {error}"), True)
        self._step()

    def broken(self, error: MeshError) -> None:
        """The other side can't be reached any more, or has said that it is over."""
        if not self._released:
            self._break(error, False)

    def _break(self, error: MeshError, last_words: bool) -> None:
        self.error = error
        self._release(last_words)
        self._step()

    def _step(self) -> None:
        self._steps += 1
        self._moved.set()

    def _release_if_over(self) -> None:
        if self._flow.over and not self._released:
            self._release(True)

    def _release(self, last_words: bool) -> None:
        self._released = True
        self._carrier.drop(last_words)
        self._gone(self)


class _Memory:
    """Carries between two ends of one process: in order, in a later turn of the loop."""

    def __init__(self) -> None:
        self.other: Stream | None = None
        self._loop = gevent.get_hub().loop

    def put(self, message: wire.Streamed) -> None:
        if isinstance(message, wire.Data):
            message = wire.Data(memoryview(bytes(message.body)))  # the sender may use its buffer again
        self._loop.run_callback(self._deliver, message)

    def drop(self, last_words: bool) -> None:
        self._loop.run_callback(self._cut)

    def _deliver(self, message: wire.Streamed) -> None:
        if self.other is not None and not self.other.closed:
            self.other.heard(message)

    def _cut(self) -> None:
        self.other = None


def pair(one: str, two: str, purpose: str, gone: Callable[[Stream], None]) -> tuple[Stream, Stream]:
    """Both ends of a stream between node `one` and node `two`, both open: (one's, two's)."""
    there, back = _Memory(), _Memory()
    first, second = Stream(there, one, two, purpose, gone), Stream(back, two, one, purpose, gone)
    there.other, back.other = second, first
    first.opened(second.window)
    second.opened(first.window)
    return first, second
