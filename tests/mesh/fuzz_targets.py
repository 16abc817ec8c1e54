"""What a coverage-guided fuzzer feeds, one target a surface that bytes from outside reach.

A target is a class: `seeds()` are inputs made by code (no binary files in the repository), `run(data)`
takes one input and asserts what must hold. Exceptions that a reader declares are its answer; any other
one is a finding. `scripts/fuzz` drives them; tests/mesh/test_fuzz.py runs each for a short time.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nova0.mesh import certificate, door, identity, journal, keys, roster, tokens, wire
from nova0.mesh.certificate import Chain, Signed, SignerSet, issue, sign
from nova0.mesh.errors import MeshError, from_wire
from nova0.mesh.gatekeeper import Gatekeeper
from nova0.mesh.node import Node
from nova0.mesh.settings import MeshSettings

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
READ = (*wire.BROKEN, MeshError)
CARD = wire.Card("lab1/host", ("host",), ("compute",), "10.0.0.1", 1, 2, 3, 0, b"k" * 32, "0.1", 7)


class Frame:
    """What a member sends to the RPC socket: a list of messages, or BadFrame."""

    def seeds(self):
        yield from (
            pack([message])
            for message in (
                wire.Hello(1, 1, b"c" * 32, CARD),
                wire.Welcome(1, CARD, members=[wire.Seen(CARD, "up", 0.5)]),
                wire.Refused({"kind": "Busy", "message": "m", "data": {"a": 1}}),
                wire.Call(1, "req", "compute", "start", wire.Raw(b"\x80"), 1000, {"a": 1}),
                wire.Answer(1, wire.Raw(b"\xc0")),
                wire.Working([1, 2]),
                wire.Progress(1, wire.Raw(b"\x01")),
                wire.Acknowledge(["req"]),
                wire.Ping(1, "lab2/host"),
                wire.Pong(1, "lab2/host", 0.5),
                wire.Goodbye("lab1/host", 7),
            )
        )

    def run(self, data):
        try:
            messages = wire.read_frame(data)
        except wire.BadFrame:
            return
        again = wire.encode(messages)  # what was read can be passed on, and reads as the same
        assert wire.encode(wire.read_frame(again)) == again


class Signal:
    """What arrives at a subscriber: topic and one signal, or BadFrame."""

    def seeds(self):
        for signal in (
            wire.Beat("lab1/host", 7, 3, 1, 0, {"compute": 3}, card=CARD),
            wire.Casts("lab1/host", 7, 1, [wire.Cast("colour", wire.Raw(b"\x80"), "req")] * 2),
            wire.Left("lab1/host", 7),
            wire.Told("lab1/host", [wire.Seen(CARD, "up", 0.5)]),
        ):
            yield wire.write_signal("compute@lab1", signal)

    def run(self, data):
        try:
            topic, signal = wire.read_signal(data)
        except wire.BadFrame:
            return
        assert len(topic) <= 300 and wire.read_signal(wire.write_signal(topic, signal))[0] == topic


class Answers:
    """What comes back to a caller: an error of any shape is raised as an exception, never raises another."""

    def seeds(self):
        for body in (
            {"kind": "Busy", "message": "later", "data": {}},
            {"kind": "NoSuchKind", "message": "x", "data": {"message": 1, "field": "a"}},
            {"kind": 3, "data": [1]},
        ):
            yield pack(body)

    def run(self, data):
        try:
            body = msgspec.msgpack.decode(data, type=dict[str, object])
        except READ:
            return
        assert isinstance(from_wire(body), Exception)


class Certificates:
    """A chain of anybody's making: JoinRefused, unless it is the real one."""

    def __init__(self):
        self.root, self.signer = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.cluster = keys.public_of(self.root)
        self.signers = sign(
            self.root, "signers", SignerSet(certificate.FORMAT, self.cluster, 1, [keys.public_of(self.signer)])
        )
        self.real = issue(self.signer, self.cluster, "lab1", ("host",), b"k" * 32)

    def seeds(self):
        yield b"\0" + pack(Chain(self.real, self.signers))
        yield b"\1" + self.real.body  # signed by us, so that the reader behind the signature is reached
        yield b"\2" + self.signers.body
        yield b"\0" + pack(Chain(Signed(b"\x91" * 1500, b""), self.signers))

    def run(self, data):
        kind, body = data[:1], data[1:]
        try:
            if kind == b"\1":
                signed = Signed(body, self.signer.sign(b"nova0/1/node\0" + body))
                certificate.verify(Chain(signed, self.signers), certificate.Roots((self.cluster,)))
            elif kind == b"\2":
                signed = Signed(body, self.root.sign(b"nova0/1/signers\0" + body))
                certificate.read_signers(signed, certificate.Roots((self.cluster,)))
                certificate.verify(Chain(self.real, signed), certificate.Roots((self.cluster,)))
            else:
                try:
                    chain = unpack(body, type=Chain)
                except wire.BROKEN:
                    return
                shown, _ = certificate.verify(chain, certificate.Roots((self.cluster,)))
                assert chain.certificate.body == self.real.body and shown.host == "lab1"
        except MeshError:
            return


class Token:
    """What a person pastes after `nova0 join`."""

    def seeds(self):
        yield tokens.Token(1, "ab12", b"s" * 24, b"c" * 32, [tokens.Seed("10.0.0.1", 7740, b"k" * 32)]).text().encode()
        yield b"\0" + pack([1, "ab12", b"s" * 24, b"c" * 32, [["10.0.0.1", 7740, b"k" * 32]], "later field"])

    def run(self, data):
        import base64

        text = data.decode(errors="replace")
        if data[:1] == b"\0":  # past the base64
            text = base64.urlsafe_b64encode(data[1:]).decode()
        with contextlib.suppress(MeshError):
            assert len(tokens.parse(text).cluster) == 32


class Journal:
    """A journal as a crash, a full disk or a bad one left it: it is read as far as it holds, and a node starts."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="n0fuzz-"))
        self.at = 0

    def seeds(self):
        records = [
            journal._framed(journal.Intent("a", b"12345678", "compute.start", 1e12)),
            journal._framed(journal.Done("a", True, b"\x01")),
            journal._framed(journal.Dropped(["a"])),
            journal._framed(journal.Intent("~1f.7", b"12345678", "compute.start", 1e12, "lab0/controller")),
        ]
        yield b"\0" + b"".join(records)
        yield b"\0" + records[0] + bytes(64)  # blocks that were never written
        yield b"\1" + pack(journal.Intent("b", b"12345678", "compute.start", 1e12))

    def run(self, data):
        kind, body = data[:1], data[1:]
        if kind == b"\1":  # whole and with the right sum, whatever it says
            body = len(body).to_bytes(4, "big") + crc32(body).to_bytes(4, "big") + body
        path = self.folder / "journal"
        path.write_bytes(body)
        reader = journal.Journal.__new__(journal.Journal)  # reads alone: no thread for each input
        reader._path, reader._node, reader._records, reader._marks, reader._bytes = path, "lab1/host", {}, {}, 0
        reader._read()
        assert all(record.done.ready() for record in reader._records.values())


class House:
    """A machine that is in a cluster, one peer it knows, and one certified that it has not met."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="n0fuzz-"))
        identity.create_cluster(self.folder / "lab0", "lab0")
        self.node = "lab0/controller"
        self.is_controller = True
        self.identity = identity.load(self.folder / "lab0")
        self.tokens = SimpleNamespace(redeem=self._redeem)
        self.pairs = {name: keys.CurvePair(_secret()) for name in ("lab1", "lab2", "stranger")}
        self.chains = {
            name: Chain(self.identity.sign_in(name, ("host",), None, pair.public), self.identity.chain.signers)
            for name, pair in self.pairs.items()
            if name != "stranger"
        }
        self.genuine = {self.identity.pair.public, *(self.pairs[name].public for name in self.chains)}
        self.fresh()

    def fresh(self):
        self.roster = roster.Roster(self.identity, self.node, 50)
        self.roster.prove(self.chains["lab1"], self.card_of("lab1"), self.pairs["lab1"].public)
        self.gatekeeper = Gatekeeper(self)
        shutil.rmtree(self.folder / "lab0" / "peers", ignore_errors=True)

    def card_of(self, name):
        return msgspec.structs.replace(CARD, node=f"{name}/host", key=self.pairs[name].public)

    def card(self):
        return msgspec.structs.replace(CARD, node=self.node, key=self.identity.pair.public, roles=("controller",))

    def seen(self):
        return [wire.Seen(self.card(), "up", 0.0), *self.roster.seen()]

    def _redeem(self, *_):
        raise certificate.JoinRefused("no token is out")

    def check(self):
        """Nobody is in without a certificate of this cluster for the very key."""
        assert set(self.roster._keys) <= self.genuine, "a key was let in without a certificate"
        assert len(self.roster.peers) <= 50
        for peer in self.roster.peers.values():
            assert not set(peer.roles) - {"host"}, "a role that no certificate gives"
            if peer.chain is not None:
                shown, _ = certificate.verify(peer.chain, certificate.Roots((self.identity.cluster,)))
                assert shown.key == peer.card.key and shown.host == peer.card.host


def _secret():
    import zmq

    return zmq.curve_keypair()[1]


class Door(House):
    """Any key may speak here. First byte: whose key; the rest: the message."""

    def seeds(self):
        for number, name in enumerate(self.pairs):
            who = bytes([number])
            yield who + pack([door.AskCert()])
            yield who + pack([door.AskJoin("ab12", b"s" * 24, "lab9")])
            for shown in self.chains:
                yield who + pack([door.AskHello(self.chains[shown], self.card_of(name))])

    def run(self, data):
        if len(self.roster.peers) > 20:
            self.fresh()
        pair = list(self.pairs.values())[data[0] % 3] if data else self.pairs["stranger"]
        try:
            asks = door._read_ask(data[1:])
        except wire.BROKEN:
            return
        user = keys.key_text(pair.public)
        for ask in asks[:1]:
            try:
                if isinstance(ask, door.AskHello):
                    self.gatekeeper.meet(user, "10.9.9.9", ask)
                elif isinstance(ask, door.AskJoin):
                    with contextlib.suppress(certificate.JoinRefused):
                        self.gatekeeper.sign_in(user, "10.9.9.9", ask)
                        raise AssertionError("signed in without a token")
            except MeshError:
                continue
            finally:
                self.check()


class Hello(House):
    """A greeting at the RPC socket, from a key that is known and from one that is not."""

    def seeds(self):
        for number, name in enumerate(self.pairs):
            yield bytes([number]) + pack([wire.Hello(1, 1, self.identity.cluster, self.card_of(name))])
            impostor = msgspec.structs.replace(self.card_of(name), node="lab1/host", roles=("controller",), boot=99)
            yield bytes([number]) + pack([wire.Hello(1, 1, self.identity.cluster, impostor)])

    def run(self, data):
        if len(self.roster.peers) > 20:
            self.fresh()
        pair = list(self.pairs.values())[data[0] % 3] if data else self.pairs["stranger"]
        try:
            messages = wire.read_frame(data[1:])
        except wire.BadFrame:
            return
        for hello in messages:
            if isinstance(hello, wire.Hello):
                before = {p.node: p.card.key for p in self.roster.peers.values() if p.chain is not None}
                try:
                    peer = self.gatekeeper.met(pair.public, "10.9.9.9", hello.card)
                except MeshError:
                    continue
                finally:
                    self.check()
                assert peer.card.key == pair.public and pair is self.pairs["lab1"]
                assert before.get(peer.node, pair.public) == pair.public, "took over another's name"


class Members(House):
    """What a member tells of others is a hint: it proves nothing, and costs bounded memory."""

    def __init__(self):
        super().__init__()
        settings = MeshSettings(state_dir=str(self.folder / "lab0"), host="lab0", process="controller", mdns=False)
        from nova0.mesh.watching import Watching

        self.home = Node(settings)
        self.home.watching = Watching(self.home)

    def seeds(self):
        cards = [self.card_of(name) for name in self.pairs]
        yield pack([wire.Seen(card, "up", 0.5) for card in cards])
        yield pack([wire.Seen(msgspec.structs.replace(card, roles=("controller",)), "down") for card in cards])
        yield pack([wire.Seen(card, "gone", -1e300) for card in cards])

    def run(self, data):
        try:
            seen = msgspec.msgpack.decode(data, type=list[wire.Seen])
        except wire.BROKEN:
            return
        if len(self.roster.peers) > 20:
            self.fresh()
        self.home.roster = self.roster
        by = self.roster.peers["lab1/host"]
        before = by.card.key, by.roles, by.chain
        self.home.watching.told(by, seen)
        assert before == (by.card.key, by.roles, by.chain), "a proven peer was changed by hearsay"
        assert sum(p.chain is not None for p in self.roster.peers.values()) == 1
        self.check_hints()

    def check_hints(self):
        assert set(self.roster._keys) <= self.genuine
        assert len(self.roster.peers) <= 50


TARGETS = {
    "frame": Frame,
    "signal": Signal,
    "answers": Answers,
    "certificates": Certificates,
    "token": Token,
    "journal": Journal,
    "door": Door,
    "hello": Hello,
    "members": Members,
}


def mutate(data, size, seed, plain):
    """Half of the time the bytes as MessagePack with one value changed, else libFuzzer's own changes.

    Without this nearly every input ends in the decoder, which is C and shows the fuzzer no coverage."""
    import random

    chance = random.Random(seed)
    if chance.random() < 0.5:
        return plain(data, size)
    head, body = (data[:1], data[1:]) if data[:1] in (b"\0", b"\1", b"\2") else (b"", data)
    topic, nul, rest = body.partition(b"\0")
    if nul and topic.isascii() and topic.decode().isprintable():
        head, body = head + topic + nul, rest
    try:
        value = unpack(body)
        changed = head + pack(_changed(value, chance))
    except (*wire.BROKEN, TypeError):
        return plain(data, size)
    return changed[:size]


def _changed(value, chance, depth=0):
    if isinstance(value, list) and value and (depth < 6) and chance.random() < 0.85:
        made, at = list(value), chance.randrange(len(value))
        what = chance.random()
        if what < 0.8:
            made[at] = _changed(value[at], chance, depth + 1)
        elif what < 0.87:
            del made[at]
        elif what < 0.94:
            made.insert(at, made[chance.randrange(len(made))])
        else:
            made.append(_some(chance))
        return made
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        return {**value, key: _changed(value[key], chance, depth + 1)}
    if isinstance(value, int) and chance.random() < 0.6:
        return chance.choice([0, -1, value + 1, value - 1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1])
    if isinstance(value, str) and chance.random() < 0.6:
        return chance.choice(
            ["", value + "/", value[1:], "\0", "lab1/host", "lab0/controller", "x" * 99, "é\U0001f600"]
        )
    if isinstance(value, bytes) and chance.random() < 0.6:
        return chance.choice([b"", value[:-1], value + b"\0", bytes(len(value)), value[::-1]])
    return _some(chance)


def _some(chance):
    return chance.choice([None, True, 0, -1, 2**63 - 1, 1.5, float("nan"), "", "host", b"", b"\0" * 32, [], {}, [[]]])
