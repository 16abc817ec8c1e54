"""A plain ZeroMQ socket on the gevent loop: no green socket, no poller, no spawn per message.

One `loop.io` watcher per socket; what is sent within one turn leaves as one frame per destination,
the first at once. ZMQ_FD is edge-triggered, so EVENTS is read once after each draining.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import zmq
from greenlet import getcurrent, greenlet

from nova0.mesh.errors import Busy
from nova0.mesh.wire import MAX_FRAME_BYTES, encode
from nova0.metrics import Traffic

LOG = logging.getLogger(__name__)
BUDGET = 256  # messages per turn, then others run
FAREWELL_MS = 1000  # last words of a closing socket may wait so long for a busy machine
RETRY_S = 0.005  # a ROUTER says "writable" while one of its peers is not: ask again by the clock
Heard = Callable[[bytes, zmq.Frame], None]


class Driven:
    """Owns one socket: `heard(routing id or b"", frame)` runs in the hub and must not block."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        heard: Heard,
        *,
        routed: bool = False,
        queue: int = 4096,
        traffic: Traffic | None = None,
        budget: int = BUDGET,
    ) -> None:
        self.socket, self._heard, self._routed, self._queue = socket, heard, routed, queue
        self._traffic = traffic or Traffic()
        self._budget = budget
        self._loop = gevent.get_hub().loop
        self._turn: dict[bytes, list[Any]] = {}
        self._blocked: dict[bytes, deque[bytes]] = {}
        self._armed = False
        self._retry: Any = None
        self.closed = False
        self._watcher = self._loop.io(socket.getsockopt(zmq.FD), 1)
        self._watcher.start(self._wake)
        self._arm()

    def put(self, message: Any, to: bytes = b"") -> None:
        """Queue one message. Raises Busy when that destination does not keep up."""
        if self.closed:
            return
        if not self._armed:  # first of this turn: no waiting
            self._arm()
            self._emit(to, encode((message,)))
            return
        waiting = self._turn.get(to)
        if waiting is None:
            self._turn[to] = [message]
        elif len(waiting) >= 512:
            self._send_turn(to, self._turn.pop(to))
            self._turn[to] = [message]
        else:
            waiting.append(message)

    def publish(self, body: bytes) -> None:
        """Send one ready frame, to whom it may concern; dropped where a subscriber is too slow."""
        if not self.closed:
            self._try(b"", body)
            self._arm()  # any use of the socket may have swallowed the edge that said "readable"

    def post(self, body: bytes, to: bytes = b"") -> None:
        """Send one ready frame to one peer. Never mixed with `put` on one socket: their order is not kept."""
        if not self.closed:
            self._emit(to, body)
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
            try:
                self._send_turn(to, messages)
            except Busy as full:
                LOG.warning("%s", full)

    def close(self, linger_ms: int = 0) -> None:
        if not self.closed:
            self.flush()
            self.closed = True
            self._watcher.stop()
            self._watcher.close()
            if self._retry is not None:
                self._retry.stop()
                self._retry.close()
            self.socket.close(linger_ms)

    def _send_turn(self, to: bytes, messages: list[Any]) -> None:
        """In one frame, unless they are too large for one: the peer's libzmq would cut the connection."""
        body = encode(messages)
        if len(body) <= MAX_FRAME_BYTES or len(messages) == 1:
            self._emit(to, body)
        else:
            half = len(messages) // 2
            self._send_turn(to, messages[:half])
            self._send_turn(to, messages[half:])

    def _emit(self, to: bytes, body: bytes) -> None:
        blocked = self._blocked.get(to)
        if blocked is not None:
            if len(blocked) >= self._queue:
                raise Busy(f"{len(blocked)} messages wait for a peer that does not read them: ask again later")
            blocked.append(body)
        elif not self._try(to, body):
            self._blocked[to] = deque((body,))
            if self._routed:
                self._retry_later()

    def _try(self, to: bytes, body: bytes) -> bool:
        """False: the peer's queue is full. A peer that is gone takes everything: its link is cut."""
        try:
            if self._routed:
                self.socket.send(to, zmq.NOBLOCK | zmq.SNDMORE)
            self.socket.send(body, zmq.NOBLOCK)
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
        if not self.closed:
            try:
                self._turn_over()
            except zmq.ContextTerminated:
                self.close()

    def _turn_over(self) -> None:
        self._armed = False
        if self._turn:
            self.flush()
        while True:
            if self._blocked:
                self._send_blocked()
            try:
                for _ in range(self._budget):
                    self._take_one()
                    if self.closed:
                        return
                self._arm()
                return
            except zmq.Again:
                pass
            events = self.socket.getsockopt(zmq.EVENTS)
            if not (events & zmq.POLLIN or (self._blocked and not self._routed and events & zmq.POLLOUT)):  # type: ignore
                break
        if self._turn:
            self._arm()

    def _take_one(self) -> None:
        receive = self.socket.recv
        to = b""
        if self._routed:
            to = receive(zmq.NOBLOCK)
            frame: zmq.Frame = receive(0, copy=False)
        else:
            frame = receive(zmq.NOBLOCK, copy=False)
        if frame.more:  # not of ours: one frame is the rule
            while receive(0, copy=False).more:
                pass
            return
        traffic = self._traffic
        traffic.frames_in += 1
        traffic.bytes_in += len(frame)
        try:
            self._heard(to, frame)
        except Exception:  # one bad message never stops the socket
            LOG.exception("a message could not be handled")


class Pool:
    """Greenlets used again: a handler that does not block costs two switches and no spawn."""

    def __init__(self, work: Callable[..., None]) -> None:
        self._work, self._idle, self._hub = work, [], gevent.get_hub()  # type: ignore[var-annotated]

    def run(self, *args: Any) -> None:
        """Call in the hub; returns when the handler ends or first blocks."""
        if not self._idle:
            greenlet(self._serve, self._hub).switch()
        self._idle.pop().switch(args)

    def _serve(self) -> None:
        me, idle, hub = getcurrent(), self._idle, self._hub
        while len(idle) < 256:
            idle.append(me)
            args = hub.switch()
            try:
                self._work(*args)
            except BaseException:
                LOG.exception("a handler failed")
