"""A plain ZeroMQ socket on the gevent loop: no green socket, no poller, no spawn per message.

One `loop.io` watcher per socket. What is put while the socket is being read leaves when it has been
read, else the first message of a turn leaves at once and the rest together. ZMQ_FD is edge-triggered
and any use of the socket may swallow the edge, so EVENTS is what is asked, after every use.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import zmq
from greenlet import getcurrent, greenlet
from zmq.backend import Socket as Plain  # without the comforts that cost as much as the sending itself

from nova0.mesh.errors import Busy
from nova0.mesh.wire import encode
from nova0.metrics import Traffic

LOG = logging.getLogger(__name__)
BUDGET = 256  # frames per turn, then others run
TOGETHER = 16  # messages in one frame: while the peer works on these, we go on with the next
LARGE_BYTES = 256 << 10  # a frame of several messages may be so large, else each goes alone
FAREWELL_MS = 1000  # last words of a closing socket may wait so long for a busy machine
AFTER_ERROR_S = 0.1  # not at once: the same error may come again
RETRY_S = 0.005  # a ROUTER says "writable" while one of its peers is not: ask again by the clock
Heard = Callable[[bytes, Any], None]
_send, _receive, _get = Plain.send, Plain.recv, Plain.get
NOBLOCK, MORE, EVENTS, READABLE, WRITABLE = (  # plain numbers: an enum's `|` and `&` cost a microsecond
    int(constant) for constant in (zmq.NOBLOCK, zmq.SNDMORE, zmq.EVENTS, zmq.POLLIN, zmq.POLLOUT)
)


class Driven:
    """Owns one socket: `heard(routing id or b"", what came)` runs in the hub and must not block. What came is
    bytes, or for a socket with `framed` a zmq.Frame, which knows who sent it and is not copied."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        heard: Heard,
        *,
        routed: bool = False,
        framed: bool = False,
        queue: int = 4096,
        traffic: Traffic | None = None,
        budget: int = BUDGET,
    ) -> None:
        self.socket, self._heard, self._routed, self._queue = socket, heard, routed, queue
        self._budget = budget
        self._framed = framed or routed
        self._traffic = traffic or Traffic()
        self._loop = gevent.get_hub().loop
        self._turn: dict[bytes, list[Any]] = {}
        self._blocked: dict[bytes, deque[bytes]] = {}
        self._armed = self._reading = False
        self._retry: Any = None
        self.rest_s = 0.0  # after hearing something: hear the next no sooner, and what came meanwhile at once
        self._resting = False
        self._rest: Any = None
        self.closed = False
        self._watcher = self._loop.io(socket.getsockopt(zmq.FD), 1)
        self._watcher.start(self._wake)
        self._arm()

    def put(self, message: Any, to: bytes = b"") -> None:
        """Queue one message. Raises Busy when that destination does not keep up."""
        if self.closed:
            return
        if self._blocked and len(self._blocked.get(to, ())) >= self._queue:
            raise Busy(f"{self._queue} messages wait for a peer that does not read them: ask again later")
        waiting = self._turn.get(to)
        if waiting is not None:
            waiting.append(message)
            if len(waiting) >= TOGETHER:
                del self._turn[to]
                self._emit(to, waiting)
        elif self._armed or self._reading:
            self._turn[to] = [message]
        else:  # first of this turn: no waiting
            self._arm()
            self._emit(to, (message,))

    def publish(self, body: bytes) -> None:
        """Send one ready frame, to whom it may concern; dropped where a subscriber is too slow."""
        if not self.closed:
            self._try(b"", body)
            self._arm()  # any use of the socket may have swallowed the edge that said "readable"

    def post(self, body: bytes, to: bytes = b"") -> None:
        """Send one ready frame to one peer. Never mixed with `put` on one socket: their order is not kept."""
        if not self.closed:
            self._send_or_queue(to, body)
            self._arm()

    def drain(self) -> None:
        """Hear now what has come already. In the hub."""
        while not self.closed:
            try:
                self._take_one()
            except zmq.Again:
                break
        self._arm()

    def touched(self) -> None:
        """The socket was used past this object: look at its EVENTS in the next turn."""
        self._arm()

    def queued(self) -> int:
        """Frames that wait for peers which do not read."""
        return sum(map(len, self._blocked.values()))

    def flush(self) -> None:
        turn, self._turn = self._turn, {}
        for to, messages in turn.items():
            self._emit(to, messages)

    def close(self, linger_ms: int = 0) -> None:
        if not self.closed:
            self.flush()
            self.closed = True
            self._watcher.stop()
            self._watcher.close()
            if self._rest is not None:
                self._rest.stop()
                self._rest.close()
            if self._retry is not None:
                self._retry.stop()
                self._retry.close()
            self.socket.close(linger_ms)

    def _emit(self, to: bytes, messages: list[Any] | tuple[Any, ...]) -> None:
        body = encode(messages)
        if len(body) > LARGE_BYTES and len(messages) > 1:  # a frame has a bound, which one message keeps
            for message in messages:
                self._emit(to, (message,))
        else:
            self._send_or_queue(to, body)

    def _send_or_queue(self, to: bytes, body: bytes) -> None:
        blocked = self._blocked.get(to)
        if blocked is not None:
            blocked.append(body)
        elif not self._try(to, body):
            self._blocked[to] = deque((body,))
            if self._routed:
                self._retry_later()

    def _try(self, to: bytes, body: bytes) -> bool:
        """False: the peer's queue is full. A peer that is gone takes everything: its link is cut."""
        try:
            if self._routed:
                _send(self.socket, to, NOBLOCK | MORE)
            _send(self.socket, body, NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._turn.pop(to, None)
        traffic = self._traffic
        traffic.frames_out += 1
        traffic.bytes_out += len(body)
        return True

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = self._loop.timer(RETRY_S, repeat=RETRY_S)
            self._retry.start(self._wake)

    def _send_blocked(self) -> None:
        for to in list(self._blocked):
            waiting = self._blocked[to]
            while waiting and self._try(to, waiting[0]):
                waiting.popleft()
            if not waiting:
                del self._blocked[to]
        if self._retry is not None and not self._blocked:
            self._retry.stop()
            self._retry.close()
            self._retry = None

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._loop.run_callback(self._wake)

    def _wake(self) -> None:
        if self.closed or self._resting:
            self._armed = False
            return
        self._armed, self._reading = False, True
        before = self._traffic.frames_in
        try:
            self._turn_over()
        except zmq.ContextTerminated:
            self.close()
        except Exception:  # what leaves here stops the watcher, and the socket would be deaf for good
            LOG.exception("a socket met an error and goes on")
            gevent.spawn_later(AFTER_ERROR_S, self._arm)
        finally:
            self._reading = False
        if self.rest_s and self._traffic.frames_in > before and not self.closed and not self._armed:
            self._watcher.stop()
            if self._rest is None:
                self._rest = self._loop.timer(0.0, repeat=self.rest_s)
            self._resting = True
            self._rest.again(self._rested)

    def _rested(self) -> None:
        """A wake for each of thousands of small messages a second costs more than the messages."""
        self._rest.stop()
        self._resting = False
        self._wake()
        if not self._resting and not self.closed:  # nothing came, or more than one turn may take
            self._watcher.start(self._wake)

    def _turn_over(self) -> None:
        socket, left = self.socket, self._budget
        while True:
            if self._turn:
                self.flush()
            if self._blocked:
                self._send_blocked()
            events: int = _get(socket, EVENTS)  # type: ignore[assignment]
            if not events & READABLE:
                if self._blocked and not self._routed and events & WRITABLE:
                    continue
                return
            while events & READABLE:
                try:
                    self._take_one()
                except zmq.Again:
                    break
                if self.closed:
                    return
                left -= 1
                if not left:
                    self._arm()
                    self.flush()
                    return
                if not self.rest_s:  # of many that came together the next is taken unasked: asking is a system call
                    events = _get(socket, EVENTS)  # type: ignore[assignment]

    def _take_one(self) -> None:
        socket, to = self.socket, b""
        if self._routed:
            to = _receive(socket, NOBLOCK)
        came: Any = _receive(socket, NOBLOCK, not self._framed)
        if self._routed and came.more:  # not of ours: one frame is the rule
            while _receive(socket, NOBLOCK, False).more:  # type: ignore[union-attr]
                pass
            return
        traffic = self._traffic
        traffic.frames_in += 1
        traffic.bytes_in += len(came)
        try:
            self._heard(to, came)
        except Exception:  # one bad message never stops the socket
            LOG.exception("a message could not be handled")


class Pool:
    """Greenlets used again: handlers that do not block cost no spawn, and one greenlet runs many."""

    def __init__(self, work: Callable[..., None]) -> None:
        self._work, self._idle, self._hub = work, [], gevent.get_hub()  # type: ignore[var-annotated]
        self._waiting: deque[tuple[Any, ...]] = deque()

    def add(self, *args: Any) -> None:
        """To be run by the next `run_added`."""
        self._waiting.append(args)

    def add_first(self, *args: Any) -> None:
        """As `add`, before all that wait."""
        self._waiting.appendleft(args)

    def run_added(self) -> None:
        """Call in the hub; returns when each of them has ended or first blocked."""
        while self._waiting:  # who blocks comes back here, and another goes on with the rest
            if not self._idle:
                greenlet(self._serve, self._hub).switch()
            else:
                self._idle.pop().switch()

    def run(self, *args: Any) -> None:
        self._waiting.append(args)
        self.run_added()

    def _serve(self) -> None:
        me, idle, hub, waiting = getcurrent(), self._idle, self._hub, self._waiting
        while True:
            while waiting:
                args = waiting.popleft()
                try:
                    self._work(*args)
                except BaseException:
                    LOG.exception("a handler failed")
            if len(idle) >= 256:
                return
            idle.append(me)
            hub.switch()
