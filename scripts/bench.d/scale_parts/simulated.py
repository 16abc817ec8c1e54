"""Simulated agents: what a controller sees of a host, and nothing behind it. Thousands fit into a few processes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import msgspec
import zmq
from gevent.fileobject import FileObject

from nova0.mesh import identity, keys, wire
from nova0.mesh.certificate import Chain
from nova0.mesh.counts import Counts
from nova0.mesh.driven import Driven
from nova0.mesh.link import Link
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.zap import dial_curve, limit
from scale_parts.processes import descriptors

BEAT_S = 1.0
PER_PROCESS = 500  # a simulated agent holds about a dozen descriptors


class Agent:
    """What a controller sees of a host. `card` and `chain` are given; `live` after `start`."""

    def __init__(self, world: World, pair: keys.CurvePair, chain: Chain, card: wire.Card) -> None:
        self.world, self.settings, self.pair = world, world.settings, pair
        self._chain, self._card = chain, card
        self.live = False
        self.number = 0
        self.links: list[Link] = []
        self.mouths: dict[str, tuple[Any, Driven | None]] = {}
        self.identity = identity.Identity(Path("/nonexistent"), world.cluster, pair, chain)
        self.roster = Roster(self.identity, card.node, 64)
        self.counts = world.tally

    def start(self) -> None:
        card = self._card
        rpc, pub = self.context.socket(zmq.ROUTER), self.context.socket(zmq.PUB)
        for socket, port in ((rpc, card.rpc_port), (pub, card.pub_port)):
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self.pair.secret_text)
            limit(socket, most_bytes=1 << 20, handshake_s=5)
            socket.bind(f"tcp://{card.address}:{port}")
        self._rpc = Driven(rpc, self._asked, routed=True)
        self._pub = pub
        self.live = True
        for chain, theirs in self.world.controllers:
            peer = self.roster.prove(chain, theirs, theirs.key)
            peer.link = Link(self, peer)
            self.links.append(peer.link)
            peer.link.ensure()

    def stop(self) -> None:
        """As if killed: the kernel closes everything and nothing is said."""
        self.live = False
        for link in self.links:
            link.close()
        for mouth, sub in self.mouths.values():
            mouth.close(0)
            if sub is not None:
                sub.close()
        self._rpc.close()
        self._pub.close(0)
        self.links, self.mouths = [], {}

    def beat(self) -> None:
        self.number += 1
        card = self._card if self.number % 10 == 1 else None
        signal = wire.Beat(self._card.node, self._card.boot, self.number, 0, 0, {}, self.roster.tombs, b"", card)
        body = wire.write_signal(wire.CHATTER, signal)
        for mouth, _ in self.mouths.values():
            try:
                mouth.send(body, zmq.NOBLOCK)
            except zmq.Again:
                self.world.count("beats not sent")
        self._pub.send(body, zmq.NOBLOCK)

    # what a Link asks of its home

    @property
    def context(self) -> zmq.Context:
        return self.world.context

    def chain(self, roots_known: int = 0) -> Chain:
        return self._chain

    def card(self) -> wire.Card:
        return self._card

    def hello(self, took: bytes = b"") -> wire.Hello:
        return wire.Hello(wire.LOWEST, wire.HIGHEST, self.world.cluster, self._card, self.roster.tombs)

    def welcomed(self, peer: Peer, welcome: wire.Welcome) -> None:
        self.world.count("greeted")
        self._leave(peer)
        mouth, sub = self.context.socket(zmq.PUB), self.context.socket(zmq.SUB)
        for socket, port in ((mouth, welcome.card.ear_port), (sub, welcome.card.pub_port)):
            dial_curve(socket, self.pair, welcome.card.key)
            limit(socket, most_bytes=1 << 20, handshake_s=5)
            if socket is sub:
                for topic in (wire.CHATTER, "compute", f"compute@{self._card.host}"):
                    socket.setsockopt(zmq.SUBSCRIBE, topic.encode() + b"\0")
            socket.connect(f"tcp://{welcome.card.address}:{port}")
        self.mouths[peer.node] = (mouth, Driven(sub, self._news))

    def link_cut(self, peer: Peer, why: str) -> None:
        self.world.count("cut")
        self._leave(peer)

    def ping_age(self, node: str) -> float | None:
        return None  # a simulated agent listens to no other

    def ponged(self, peer: Peer, pong: wire.Pong) -> None:
        """Nothing is judged here."""

    def said_goodbye(self, peer: Peer, boot: int) -> None:
        """The next greeting will come."""

    def told_stones(self, peer: Peer, said: Any) -> None:
        """Nobody is put out here."""

    def took_stones(self, peer: Peer, digest: bytes = b"") -> None:
        """Nobody is put out here."""

    def told_put_out(self, peer: Peer, error: Any) -> None:
        """Nobody is put out here."""

    def _leave(self, peer: Peer) -> None:
        mouth, sub = self.mouths.pop(peer.node, (None, None))
        if mouth is not None:
            mouth.close(0)
        if sub is not None:
            sub.close()

    def _news(self, _: bytes, frame: zmq.Frame) -> None:
        self.world.counts["heard"] += 1
        self.world.counts["bytes heard"] += len(frame)

    def _asked(self, route: bytes, frame: zmq.Frame) -> None:
        for message in wire.read_frame(frame.buffer):
            if isinstance(message, wire.Hello):
                self._rpc.put(wire.Welcome(wire.HIGHEST, self._card, members=[]), route)
            elif isinstance(message, wire.Ping) and not message.node:
                self._rpc.put(wire.Pong(message.nonce), route)
            elif isinstance(message, wire.Call):
                if message.topic != "mesh":
                    self.world.count(f"call {message.topic}.{message.method}")
                self._rpc.put(wire.Answer(message.id, msgspec.Raw(msgspec.msgpack.encode(0.0))), route)


class World:
    """The agents of one process, driven by lines on standard input; counts go out once a second. A measurement that
    asks more of its agents has a `kind` of its own."""

    kind = Agent

    def __init__(self, folder: Path, first: int, last: int) -> None:
        descriptors()
        if os.geteuid() == 0:
            os.nice(-10)  # each of these has a machine of its own in life
        told = msgspec.msgpack.decode((folder / "world").read_bytes())
        self.cluster: bytes = told["cluster"]
        self.controllers = [msgspec.msgpack.decode(one, type=tuple[Chain, wire.Card]) for one in told["controllers"]]
        self.settings = MeshSettings(state_dir="/nonexistent", host="sim", many=0)  # as a host that knows of many
        self.context = zmq.Context(io_threads=1)
        self.context.set(zmq.MAX_SOCKETS, 65535)
        self.counts = {"heard": 0, "bytes heard": 0}
        self.tally = Counts()
        self.agents = {}
        for number in range(first, last):
            secret, chain, card = msgspec.msgpack.decode(
                (folder / "agents" / str(number)).read_bytes(), type=tuple[bytes, Chain, wire.Card]
            )
            self.agents[number] = self.kind(self, keys.CurvePair(secret), chain, card)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def run(self) -> None:
        gevent.spawn(self._beat)
        gevent.spawn(self._tell)
        gevent.spawn(self._start)
        for line in FileObject(sys.stdin.fileno(), "r", close=False):
            word, *numbers = line.split()
            for number in map(int, numbers):
                if word == "kill":
                    self.agents[number].stop()
                elif word == "revive":
                    self.agents[number]._card = msgspec.structs.replace(
                        self.agents[number]._card, boot=self.agents[number]._card.boot + 1
                    )
                    self.agents[number].start()
            if word == "quit":
                os._exit(0)

    def _start(self) -> None:
        """By and by, half a minute for a full process: what is asked later is how they come back all at once."""
        for agent in self.agents.values():
            agent.start()
            gevent.sleep(0.06)

    def _beat(self) -> None:
        """Spread over the second, as processes started at different moments are."""
        slots: list[list[Agent]] = [[] for _ in range(50)]
        for number, agent in self.agents.items():
            slots[number % 50].append(agent)
        due = time.monotonic()
        while True:
            for slot in slots:
                due += BEAT_S / len(slots)
                for agent in slot:
                    if agent.live:
                        agent.beat()
                gevent.sleep(max(0.0, due - time.monotonic()))

    def _tell(self) -> None:
        while True:
            up = sum(all(link.up for link in a.links) for a in self.agents.values() if a.live)
            print(json.dumps({**self.counts, "up": up, "clock": time.time()}), flush=True)
            gevent.sleep(0.25)
