"""What travels between two nodes, as typed records, and nothing of how it is sent.

A frame is a MessagePack array of messages, a message an array [tag, fields...]. Fields may be added
at the end: an older reader ignores them, a newer one takes their default (docs/decisions/0002).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

# Protocol versions this code speaks. A peer of an older one cannot read a frame with a tag it does not
# know: what is new in 2 is sent only to a peer whose `protocol` (roster.Peer) is at least 2.
LOWEST, HIGHEST = 1, 2
MAX_FRAME_BYTES = 8 << 20  # libzmq cuts a peer that sends more; larger things are streams
MAX_DOOR_BYTES = 4096  # at the door anybody may speak, so little
MAX_MEMBERS = 16_384  # cards taken from one message
MAX_REQUEST_ID = 255


@lru_cache(8192)  # asked for with every call
def _host_of(node: str) -> str:
    return node.partition("/")[0]


class BadFrame(ValueError):
    """Bytes that are not a frame of this protocol."""


class Signed(Struct, array_like=True, frozen=True):
    """Bytes and an Ed25519 signature over them; see mesh.certificate."""

    body: bytes
    signature: bytes


class Card(Struct, array_like=True, frozen=True):
    """One node as it describes itself. Passed on by others it is a hint: its key must prove itself."""

    node: str
    roles: tuple[str, ...]
    topics: tuple[str, ...]
    address: str  # IP others reach it at
    rpc_port: int
    door_port: int
    pub_port: int
    ear_port: int  # 0: takes no beats and casts on a bound socket (not a controller)
    key: bytes  # CURVE public key of the machine, 32 bytes
    version: str
    boot: int  # grows with every start of this process
    serial: int = 0  # grows with every change of the card within one boot
    speaks: tuple[int, int] = (1, 1)  # lowest and highest protocol; the first version did not say
    stream_port: int = 0  # 0: opens no streams (an older node)
    birth: int = 0  # random, of this start: two copies of a machine may count the same starts

    @property
    def host(self) -> str:
        return _host_of(self.node)

    @property
    def process(self) -> str:
        return self.node.partition("/")[2]


class Seen(Struct, array_like=True):
    """What one node says of another: its card, its status there, seconds since a sign of life."""

    card: Card
    status: str
    age_s: float | None = None
    quarantine: str = ""  # why it is given no new work


class Tombs(Struct, array_like=True, frozen=True):
    """The set of put-out keys in short: how many, and a digest over them."""

    count: int = 0
    digest: bytes = b""


class Hello(Struct, array_like=True, tag=1):
    """First message on every connection."""

    lowest: int
    highest: int
    cluster: bytes
    card: Card
    tombs: Tombs = Tombs()
    store_id: str = ""  # controllers: which store, and how far its commits have got
    commit_mark: int = 0
    adoption: Signed | None = None  # controllers: the operator's word that the store is the right one
    stones: list[bytes] = []  # all our tombstones, in answer to Stones
    met: bytes = b""  # the digest in those Stones: they are merged here
    marks: dict[str, int] = {}  # topic -> number of the last cast on it, for all topics


class Welcome(Struct, array_like=True, tag=2):
    """Answer to Hello; carries the members known there."""

    protocol: int
    card: Card
    tombs: Tombs = Tombs()
    store_id: str = ""
    commit_mark: int = 0
    members: list[Seen] = []
    adoption: Signed | None = None
    doubt: str = ""  # why nothing destructive is done for the one who greeted
    marks: dict[str, int] = {}  # as in Hello
    trust: tuple[int, int] = (0, 0)  # version of the root, generation of the signers it knows; (0, 0): does not say


class Refused(Struct, array_like=True, tag=3):
    """Answer to Hello, or to anything before it."""

    error: dict[str, Any]


class Call(Struct, array_like=True, tag=4):
    id: int  # of this link; the answer names it
    request_id: str  # of the work; the same through all retries
    topic: str
    method: str
    arguments: Raw
    ms_left: int
    context: dict[str, Any] = {}
    lax: bool = False  # a person typed the arguments
    plain: bool = False  # asked by somebody on that machine: counts as a member, nothing more
    lent: tuple[str, ...] = ()  # with `plain`: counts as these and nothing else; operator only from a controller
    proof: bytes = b""  # an operator's word for this very call (mesh.operators)


class Answer(Struct, array_like=True, tag=5):
    id: int
    result: Raw


class Failure(Struct, array_like=True, tag=6):
    id: int
    error: dict[str, Any]


class Working(Struct, array_like=True, tag=7):
    """These calls of yours are still being worked on."""

    ids: list[int]


class Progress(Struct, array_like=True, tag=8):
    id: int
    value: Raw


class Acknowledge(Struct, array_like=True, tag=9):
    """The caller will not ask for these again: their records may go. With `start`, the same of every id
    `made_id(start, n)` with n < `below`, and of all ids it made before that start of its process."""

    request_ids: list[str]
    start: str = ""
    below: int = 0
    taken_back: list[str] = []  # nobody waits for these: who works on one may leave off


class Ping(Struct, array_like=True, tag=10):
    """With `node`: tell me whether you hear that one."""

    nonce: int
    node: str = ""


class Pong(Struct, array_like=True, tag=11):
    nonce: int
    node: str = ""
    age_s: float | None = None  # since the answering node heard `node`; None: never or not now


class Goodbye(Struct, array_like=True, tag=12):
    node: str
    boot: int


class Stones(Struct, array_like=True, tag=16):
    """Tombstones (protocol 2). In place of Welcome: take these, and greet again with yours."""

    tombs: Tombs  # of the whole set there
    stones: list[bytes]
    ask: bool = False  # send yours if they differ then


Message = Hello | Welcome | Refused | Call | Answer | Failure | Working | Progress | Acknowledge | Ping | Pong | Goodbye
Message |= Stones


class Beat(Struct, array_like=True, tag=20):
    node: str
    boot: int
    number: int
    serial: int  # of the card
    load: int
    marks: dict[str, int] = {}  # topic -> number of the last cast on it, for topics cast on lately
    tombs: Tombs = Tombs()
    members: bytes = b""  # digest over what a controller holds of the members
    card: Card | None = None  # now and then, and after a change
    commit_mark: int = 0  # controllers: as in Hello


class Cast(Struct, array_like=True):
    method: str
    arguments: Raw
    request_id: str = ""
    context: dict[str, Any] = {}
    plain: bool = False  # as in Call


class Casts(Struct, array_like=True, tag=21):
    """Casts of one publisher on one topic, one after the other."""

    node: str
    boot: int
    number: int  # of the first, among those of this publisher and topic
    casts: list[Cast]


class Left(Struct, array_like=True, tag=22):
    node: str
    boot: int


class Told(Struct, array_like=True, tag=23):
    """News of other members, published by controllers."""

    node: str
    members: list[Seen]


Signal = Beat | Casts | Left | Told


def common_protocol(mine: tuple[int, int], theirs: tuple[int, int]) -> int:
    """The highest protocol both (lowest, highest) ranges hold; 0: none."""
    highest = min(mine[1], theirs[1])
    return highest if highest >= max(mine[0], theirs[0]) else 0


def apart(me: str, mine: tuple[int, int], other: str, theirs: tuple[int, int]) -> str:
    """What is said when there is none: who speaks what, and which side to upgrade."""
    older = other if theirs[1] < mine[0] else me
    return f"{me} speaks protocol {mine[0]} to {mine[1]}, {other} {theirs[0]} to {theirs[1]}: upgrade nova0 on {older}"


class Open(Struct, array_like=True, tag=60):
    """First message on a stream's own connection, by a node whose link to the other is greeted."""

    node: str
    boot: int
    purpose: str
    secret: bytes
    window: int  # bytes its reader grants to begin with


class Opened(Struct, array_like=True, tag=61):
    window: int


class Data(Struct, array_like=True, tag=62):
    body: memoryview


class Grant(Struct, array_like=True, tag=63):
    size: int


class End(Struct, array_like=True, tag=64):
    """Nothing more comes from this side."""


class Broken(Struct, array_like=True, tag=65):
    """The stream is refused, or over before its end."""

    error: dict[str, Any]


Streamed = Open | Opened | Data | Grant | End | Broken

encode = msgspec.msgpack.Encoder().encode
_frame = msgspec.msgpack.Decoder(list[Message]).decode
_signal = msgspec.msgpack.Decoder(Signal).decode
_streamed = msgspec.msgpack.Decoder(Streamed).decode

BROKEN = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError, TypeError, OverflowError)

CHATTER = "\x01mesh"  # topic of beats, goodbyes and news; no agent's topic can begin so


def made_id(start: str, number: int) -> str:
    """A request id the mesh makes itself. `start` is a fresh word for each start of the caller's process."""
    return f"~{start}.{number}"


def made_by(request_id: str) -> tuple[str, int]:
    """(start, number) of an id the mesh made, ("", 0) of one given by an application."""
    if not request_id.startswith("~"):
        return "", 0
    start, _, number = request_id[1:].partition(".")
    return (start, int(number)) if number.isdecimal() and len(number) < 18 else ("", 0)


def read_frame(body: bytes | memoryview) -> list[Message]:
    """Raises BadFrame on anything that is not a list of messages."""
    try:
        return _frame(body)
    except BROKEN as error:
        raise BadFrame(str(error)) from None


def read_streamed(body: bytes | memoryview) -> Streamed:
    """One message of a stream; the bytes of a Data stay where they are. Raises BadFrame."""
    try:
        return _streamed(body)
    except BROKEN as error:
        raise BadFrame(str(error)) from None


def write_signal(topic: str, signal: Signal) -> bytes:
    """Topics end in NUL, because a subscription matches prefixes."""
    return topic.encode() + b"\0" + encode(signal)


_NUMBER_SIZES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}  # of an integer by its first byte; below 0x80 that is all


def around_number(topic: str, body: bytes, beat: Beat) -> tuple[bytes, bytes] | None:
    """(what is before, what is behind the number) in the beat that these bytes are. None: they are written in
    another way than ours, so it is not known where the number is."""
    start = len(topic.encode()) + 1
    head = body[: start + 1] + encode(20) + encode(beat.node) + encode(beat.boot)
    if not body.startswith(head + encode(beat.number)):
        return None
    return head, body[len(head) + len(encode(beat.number)) :]


def number_if_alike(body: bytes, head: bytes, tails: list[bytes]) -> int:
    """The number of a beat that begins with `head` and ends, behind its number, as one of `tails` does, without
    reading the rest of it. -1: it says something else."""
    at = len(head)
    if not body.startswith(head) or at == len(body):
        return -1
    size = _NUMBER_SIZES.get(body[at], 1)
    if (size == 1 and body[at] >= 0x80) or body[at + size :] not in tails:
        return -1
    return int.from_bytes(body[at + (size > 1) : at + size], "big")


def read_signal(body: bytes) -> tuple[str, Signal]:
    """(topic, signal). Raises BadFrame."""
    topic, nul, rest = body.partition(b"\0")
    if not nul or len(topic) > 300:
        raise BadFrame("no topic")
    try:
        return topic.decode(), _signal(rest)
    except BROKEN as error:
        raise BadFrame(str(error)) from None
