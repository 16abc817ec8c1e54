"""The ZAP handler: whether a key may complete its handshake, per domain. Fails closed.

Bound before any server socket; each of those names its domain and sets ZAP_ENFORCE_DOMAIN, so a
missing or dead handler lets nobody in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from nova0.mesh.driven import Driven
from nova0.mesh.keys import CurvePair, key_name, key_text
from nova0.mesh.refusals import Refusals

RPC, DOOR = b"nova0.rpc", b"nova0.door"
CALL_THREAD, STREAM_THREAD = 1, 2  # bits of ZMQ_AFFINITY: the bytes of streams are encrypted beside calls
BACKLOG = 4096  # connections the kernel takes before libzmq does: when thousands come back, 100 are few, and whoever
# finds no place tries again after one second, three, seven
DOOR_BURST, DOOR_PER_S = 100.0, 40.0  # handshakes at the door from one address
ADDRESS = "inproc://zeromq.zap.01"  # where libzmq asks
LEFT_BEHIND = 8  # answers after which the handler's socket is replaced
ANSWERS_S = 0.2  # the one before still answers who found it a moment earlier
CALM_S = 2.0  # without a replacement: no storm of connections, which would take at once what lies free


class ZapHandler:
    """`admits(key)` decides for the RPC domain; at the door any key passes, so many a second."""

    def __init__(self, context: zmq.Context, admits: Callable[[bytes], bool], refusals: Refusals) -> None:
        self._admits, self._refusals = admits, refusals
        self._budget: dict[str, tuple[float, float]] = {}  # address -> (handshakes left, when)
        self._context = context
        socket = context.socket(zmq.ROUTER)
        socket.bind(ADDRESS)
        self._driven = _ZapDriven(socket, self._answer)
        self._before: _ZapDriven | None = None
        self._answered = 0  # by the present socket
        self._renewed_at = 0.0
        self._closed = False  # one before, whose memory was not given back yet

    def close(self) -> None:
        self._driven.close()
        if self._before is not None:
            self._before.close()

    def sweep(self) -> bool:
        """Call now and then. True when many connections have come and their memory lies free.

        libzmq keeps the pipe over which a connection asked for as long as both ends live, 33 KiB for each
        connection, so the socket that is asked is replaced. Who asks just between the two lines is turned away
        and dials again."""
        now = time.monotonic()
        if self._driven.closed:
            return False
        since = now - self._renewed_at
        if self._before is not None and since >= ANSWERS_S:
            self._before.close()
            self._before, self._closed = None, True
        if self._before is None and self._answered >= LEFT_BEHIND:
            socket = self._context.socket(zmq.ROUTER)
            self._driven.socket.unbind(ADDRESS)
            socket.bind(ADDRESS)
            self._driven.touched()
            self._before, self._driven = self._driven, _ZapDriven(socket, self._answer)
            self._answered, self._renewed_at = 0, now
        elif self._closed and since >= CALM_S:
            self._closed = False
            return True
        return False

    def _answer(self, parts: list[bytes]) -> list[bytes]:
        self._answered += 1
        route, _, version, request_id, domain, address, _, mechanism, *credentials = parts
        where = plain_address(address.decode(errors="replace"))
        status, text, user = self._judge(version, domain, where, mechanism, credentials)
        return [route, b"", b"1.0", request_id, status, text, user, b""]

    def _judge(
        self, version: bytes, domain: bytes, address: str, mechanism: bytes, credentials: list[bytes]
    ) -> tuple[bytes, bytes, bytes]:
        if version != b"1.0" or mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            self._refusals.note(address, "does not speak CURVE")
            return b"400", b"CURVE only", b""
        key = credentials[0]
        if domain == DOOR:
            if not self._within(address):
                self._refusals.note(address, "knocks too often")
                return b"300", b"too often", b""
        elif domain != RPC:
            return b"500", b"no such domain", b""
        elif not self._admits(key):
            self._refusals.note(address, f"key {key_name(key)} is not a member's (wrong token, or put out)")
            return b"400", b"unknown key", b""
        return b"200", b"OK", key_text(key).encode()

    def _within(self, address: str) -> bool:
        now = time.monotonic()
        left, when = self._budget.get(address, (DOOR_BURST, now))
        left = min(DOOR_BURST, left + (now - when) * DOOR_PER_S) - 1
        if len(self._budget) > 4096:
            self._budget.clear()
        self._budget[address] = (max(left, 0.0), now)
        return left >= 0


class _ZapDriven(Driven):
    """ZAP speaks in many frames, so it reads and answers on its own."""

    def __init__(self, socket: zmq.Socket[bytes], answer: Callable[[list[bytes]], list[bytes]]) -> None:
        self._answer = answer
        super().__init__(socket, lambda to, frame: None)

    def _take_one(self) -> None:
        parts = self.socket.recv_multipart(zmq.NOBLOCK)
        if len(parts) >= 9:
            self.socket.send_multipart(self._answer(parts), zmq.NOBLOCK)


def serve_curve(socket: zmq.Socket[bytes], pair: CurvePair, domain: bytes) -> None:
    """Make a socket a CURVE server of that domain, closed to all until the handler says otherwise."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret_text)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public_text)
    socket.setsockopt(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)


def user_id(frame: zmq.Frame) -> str:
    """Whose key sent this frame, as the handler said; "" on what libzmq made itself."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def plain_address(address: str) -> str:
    """An IPv4 peer of a socket bound to :: shows as ::ffff:10.0.0.1."""
    return address.removeprefix("::ffff:") if "." in address else address


def peer_address(frame: zmq.Frame) -> str:
    try:
        return plain_address(str(frame.get("Peer-Address")))
    except zmq.ZMQError:
        return ""


def source(frame: zmq.Frame) -> int:
    """The descriptor of the connection a frame came over; -1 where libzmq does not say."""
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError):
        return -1


def dial_curve(socket: zmq.Socket[bytes], pair: CurvePair, server_key: bytes) -> None:
    """Make a socket a CURVE client that only the holder of `server_key` can answer."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, key_text(server_key).encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret_text)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public_text)


def limit(
    socket: zmq.Socket[bytes], *, most_bytes: int, handshake_s: float, beats_s: float = 0, thread: int = CALL_THREAD
) -> None:
    """Bounds every socket carries. `beats_s`: ZMTP's own heartbeats, asked by the dialling side of a link only,
    tell both sides after three times as long that it is cut. All others have the kernel look: it costs nothing."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.AFFINITY, thread)
    socket.setsockopt(zmq.MAXMSGSIZE, most_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, int(handshake_s * 1000))
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 2)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, 10_000)
    if beats_s:
        socket.setsockopt(zmq.HEARTBEAT_IVL, int(beats_s * 1000))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(beats_s * 2000))
        socket.setsockopt(zmq.HEARTBEAT_TTL, int(beats_s * 2000))
