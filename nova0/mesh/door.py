"""The door: the one socket at which an unknown key may speak, and only to show or get a certificate.

Three operations, 4 KB, a few seconds; nothing secret is sent before the other side is proved.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

import gevent
import msgspec
import zmq
from gevent.event import AsyncResult
from msgspec import Struct

from nova0.mesh import wire
from nova0.mesh.certificate import Chain
from nova0.mesh.codec import wire_form
from nova0.mesh.driven import Driven, Pool
from nova0.mesh.errors import Busy, JoinRefused, MeshError, Unreachable, from_wire
from nova0.mesh.keys import CurvePair
from nova0.mesh.monitor import Dialled, Gate
from nova0.mesh.refusals import Refusals
from nova0.mesh.zap import DOOR, dial_curve, limit, peer_address, serve_curve, user_id

LOG = logging.getLogger(__name__)
LIFE_S, PER_ADDRESS, PENDING = 10.0, 128, 64
FREED_S = 2.0  # libzmq gives a port back on its own thread


class AskCert(Struct, array_like=True, tag=40):
    """Show me who you are."""


class AskHello(Struct, array_like=True, tag=41):
    """Here is my certificate; let me in at your RPC socket."""

    chain: Chain
    card: wire.Card


class AskJoin(Struct, array_like=True, tag=42):
    """I hold a token; sign me in."""

    token_id: str
    secret: bytes
    host: str
    vouch: bytes = b""  # public key with which the newcomer will sign for its users' agents


class Shown(Struct, array_like=True, tag=45):
    """Certificate and card of the answering node; after a join also the newcomer's own chain."""

    chain: Chain
    card: wire.Card
    yours: Chain | None = None
    members: list[wire.Seen] = []


class Shut(Struct, array_like=True, tag=46):
    error: dict[str, Any]


Ask = AskCert | AskHello | AskJoin
_read_ask = msgspec.msgpack.Decoder(list[Ask]).decode
_read_reply = msgspec.msgpack.Decoder(list[Shown | Shut]).decode


class Keeper(Protocol):
    """Who decides behind the door; each method may block and raises MeshError to refuse."""

    def show(self) -> Shown: ...

    def meet(self, key_text: str, address: str, ask: AskHello) -> Shown: ...

    def sign_in(self, key_text: str, address: str, ask: AskJoin) -> Shown: ...


class Door:
    """The bound side."""

    def __init__(
        self,
        context: zmq.Context,
        pair: CurvePair,
        listen: str,
        port: int,
        keeper: Keeper,
        refusals: Refusals,
        handshake_s: float,
    ) -> None:
        self._keeper, self._refusals = keeper, refusals
        self._open = 0
        self._pool = Pool(self._work)
        socket = context.socket(zmq.ROUTER)
        serve_curve(socket, pair, DOOR)
        limit(socket, most_bytes=wire.MAX_DOOR_BYTES, handshake_s=handshake_s)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.port = bind(socket, listen, port, "door")
        self._gate = Gate(context, socket, refusals, LIFE_S, PER_ADDRESS)
        self._driven = Driven(socket, self._heard, routed=True, queue=16)

    def move(self, pair: CurvePair, listen: str) -> int:
        """Listen for another key of this machine, at the same port if it can be had. Returns the port."""
        socket = self._driven.socket
        socket.unbind(f"tcp://{bracket(listen)}:{self.port}")
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret_text)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public_text)
        self.port = take_port(socket, listen, self.port) or bind(socket, listen, 0, "door")
        self._driven.touched()
        return self.port

    def sweep(self) -> None:
        self._gate.sweep()

    def close(self) -> None:
        self._gate.close()
        self._driven.close(200)

    def _heard(self, to: bytes, frame: zmq.Frame) -> None:
        key_text, address = user_id(frame), peer_address(frame)
        try:
            asks = _read_ask(frame.buffer)
        except wire.BROKEN:
            self._refusals.note(address, "garbage at the door")
            return
        if self._open >= PENDING or len(asks) != 1:
            self._driven.put(Shut(wire_form(Busy("the door is busy: knock again later"))), to)
            return
        self._open += 1
        self._pool.run(to, key_text, address, asks[0])

    def _work(self, to: bytes, key_text: str, address: str, ask: Ask) -> None:
        answer: Shown | Shut
        try:
            if isinstance(ask, AskCert):
                answer = self._keeper.show()
            elif isinstance(ask, AskHello):
                answer = self._keeper.meet(key_text, address, ask)
            else:
                answer = self._keeper.sign_in(key_text, address, ask)
        except MeshError as error:
            self._refusals.note(address, error.message)
            answer = Shut(wire_form(error))
        finally:
            self._open -= 1
        self._driven.put(answer, to)


class Knock:
    """The dialling side: one connection to a door, proved to hold `key`, for a few questions."""

    def __init__(
        self, context: zmq.Context, pair: CurvePair, address: str, port: int, key: bytes, handshake_s: float = 2.0
    ) -> None:
        self.where = f"{address}:{port}"
        self._patience_s = handshake_s
        self._answer: AsyncResult = AsyncResult()
        socket = context.socket(zmq.DEALER)
        dial_curve(socket, pair, key)
        limit(socket, most_bytes=wire.MAX_FRAME_BYTES, handshake_s=handshake_s)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._watch = Dialled(context, socket, self._cut)
        self._driven = Driven(socket, self._heard)
        dial(socket, address, port)

    @property
    def reached(self) -> bool:
        """A machine took the connection, whether or not its process answers."""
        return self._watch.reached

    def ask(self, question: Ask) -> Shown:
        """Raises Unreachable when nobody (or another key) answers, JoinRefused when the door refuses."""
        self._driven.put(question)
        try:
            answer = self._answer.get(timeout=2 * self._patience_s)
        except gevent.Timeout:
            raise Unreachable(f"door {self.where}: no answer within {2 * self._patience_s} s") from None
        self._answer = AsyncResult()
        if isinstance(answer, Shut):
            raise from_wire(answer.error)
        return answer

    def close(self) -> None:
        self._watch.close()
        self._driven.close()

    def __enter__(self) -> Knock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _heard(self, to: bytes, body: bytes) -> None:
        try:
            self._answer.set(_read_reply(body)[0])
        except (*wire.BROKEN, IndexError):
            self._answer.set_exception(JoinRefused(f"door {self.where} answers garbage"))

    def _cut(self, why: str, locked_out: bool) -> None:
        if not self._answer.ready():
            self._answer.set_exception(Unreachable(f"door {self.where}: {why}"))


def bind(socket: zmq.Socket[bytes], listen: str, port: int, what: str) -> int:
    """Bind and say which port it became. Raises Busy naming the port when it is in use."""
    if ":" in listen:
        socket.setsockopt(zmq.IPV6, 1)
    try:
        socket.bind(f"tcp://{bracket(listen)}:{port or '*'}")
    except zmq.ZMQError as error:
        socket.close(0)
        raise Busy(
            f"cannot listen on {listen}:{port} for {what}: {error.strerror}; free the port or set another"
        ) from None
    return int(socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rpartition(":")[2])  # type: ignore[union-attr]


def take_port(socket: zmq.Socket[bytes], listen: str, port: int) -> int:
    """Bind to a port that was given back a moment ago; 0 where somebody else has it now."""
    end = time.monotonic() + FREED_S
    while True:
        try:
            socket.bind(f"tcp://{bracket(listen)}:{port}")
            return port
        except zmq.ZMQError:
            if time.monotonic() > end:
                return 0
        gevent.sleep(0.02)


def dial(socket: zmq.Socket[bytes], address: str, port: int) -> None:
    """Connect to an IPv4 or IPv6 address; a link-local one carries its scope: fe80::1%eth0."""
    if ":" in address:  # not for all: IPv4 peers would show as ::ffff:10.0.0.1
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(f"tcp://{bracket(address)}:{port}")


def bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address
