#!/usr/bin/env python3
"""What many agents cost a controller: agents are simulated, the controller and its watchers are real.

A simulated agent has a certificate of the cluster, its own CURVE key and the sockets of a host: a link that
greets the controller, a mouth at its ear, a subscription to its news, a bound RPC socket and a publisher. It beats
once a second. Nothing but beats leaves it, and what it hears it only drains, so thousands fit into one process.

    scripts/bench.d/scale.py                              2,000 agents, two minutes
    scripts/bench.d/scale.py --agents 5000 --seconds 600 --load     ten minutes with a core held by others
    scripts/bench.d/scale.py --controller nova0           the whole controller process instead of its node alone

Prints one line a phase and a verdict; the exit status is 1 when a goal was missed.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import gevent.event  # noqa: E402
import msgspec  # noqa: E402
import zmq  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from zmq.utils import z85  # noqa: E402

from nova0.mesh import identity, keys, wire  # noqa: E402
from nova0.mesh.bus import Member, Status  # noqa: E402
from nova0.mesh.certificate import Chain  # noqa: E402
from nova0.mesh.counts import Counts  # noqa: E402
from nova0.mesh.driven import Driven  # noqa: E402
from nova0.mesh.link import Link  # noqa: E402
from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.peer import Peer  # noqa: E402
from nova0.mesh.roster import Roster  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402
from nova0.mesh.zap import dial_curve, limit  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BEAT_S = 1.0
PER_PROCESS = 500  # a simulated agent holds about a dozen descriptors
CONTROLLER, WATCHERS = "ctl0", ("watch1", "watch2")
TICK = os.sysconf("SC_CLK_TCK")


# one simulated agent


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
                self._rpc.put(wire.Answer(message.id, msgspec.Raw(msgspec.msgpack.encode(0.0))), route)


class World:
    """The agents of one process, driven by lines on standard input; counts go out once a second."""

    def __init__(self, folder: Path, first: int, last: int) -> None:
        descriptors()
        if os.geteuid() == 0:
            os.nice(-10)  # each of these has a machine of its own in life
        told = msgspec.msgpack.decode((folder / "world").read_bytes())
        self.cluster: bytes = told["cluster"]
        self.controllers = [msgspec.msgpack.decode(one, type=tuple[Chain, wire.Card]) for one in told["controllers"]]
        self.settings = MeshSettings(state_dir="/nonexistent", host="sim", links_kept=0)  # as a host that knows of many
        self.context = zmq.Context(io_threads=1)
        self.context.set(zmq.MAX_SOCKETS, 65535)
        self.counts = {"heard": 0, "bytes heard": 0}
        self.tally = Counts()
        self.agents = {}
        for number in range(first, last):
            secret, chain, card = msgspec.msgpack.decode(
                (folder / "agents" / str(number)).read_bytes(), type=tuple[bytes, Chain, wire.Card]
            )
            self.agents[number] = Agent(self, keys.CurvePair(secret), chain, card)

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
        """By and by: what is asked later is how they come back all at once."""
        for agent in self.agents.values():
            agent.start()
            gevent.sleep(0.01)

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


# a real node that says what it sees


def node(text: str) -> None:
    """A controller's or host's node as a process; one JSON line for every change of status."""
    descriptors()
    import logging

    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(asctime)s.%(msecs)03d %(message)s")
    made = Node(MeshSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}))

    def changed(member: Member, old: Status) -> None:
        print(json.dumps([time.time(), member.node, str(old), str(member.status), member.detail]), flush=True)

    made.on_member(changed)
    made.start()
    print(json.dumps(["READY", made.boot]), flush=True)
    ended = gevent.event.Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    ended.wait()
    made.stop()


class Child:
    """A process of ours and the JSON lines it says."""

    def __init__(self, *words: str, heard: Callable[[Any], None], log: Path) -> None:
        self._heard = heard
        self.log = log
        with open(log, "a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._heard(json.loads(line))

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait()
        self._reader.join(2)


class Eye:
    """A real node seen from outside: who is in which state since when (wall clock of this machine)."""

    def __init__(self, folder: Path, settings: MeshSettings) -> None:
        self.folder, self.settings = folder, settings
        self.status: dict[str, tuple[str, float]] = {}
        self.changes: list[tuple[float, str, str, str, str]] = []
        self.ready = gevent.event.Event()
        self.child: Child | None = None

    def start(self) -> None:
        self.ready.clear()
        plain = {k: v for k, v in dataclasses.asdict(self.settings).items() if not callable(v)}
        log = self.folder / f"{self.settings.host}.log"
        self.child = Child("--node", json.dumps(plain), heard=self._heard, log=log)
        if not self.ready.wait(60):
            raise SystemExit(f"{self.settings.node} did not start: see {log}")

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.process.pid

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
        self.status.clear()

    def _heard(self, line: Any) -> None:
        if line[0] == "READY":
            self.ready.set()
        else:
            when, about, old, new, detail = line
            self.status[about] = (new, when)
            self.changes.append((when, about, old, new, detail))


class Whole(Eye):
    """The same for a whole controller process (`nova0 agent run controller`), from its log."""

    LINE = re.compile(r"^([\d-]+ [\d:]+)\.(\d+) \S+ nova0\.mesh\.roster \S*: (\S+) is (\w+)")

    def start(self) -> None:
        state = Path(self.settings.state_dir).parent
        announced = state / "run" / "controller.json"
        announced.unlink(missing_ok=True)
        log = self.folder / f"{self.settings.host}.log"
        with open(log, "a") as out:
            start = log.stat().st_size
            self._process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "nova0"),
                    "agent",
                    "run",
                    "controller",
                    "--host",
                    self.settings.host,
                ],
                stdout=out,
                stderr=out,
                env={
                    **os.environ,
                    "NOVA0_STATE_PATH": str(state),
                    "NOVA0_MESH_MDNS": "false",
                    "NOVA0_MESH_LISTEN": "127.0.0.1",
                    "NOVA0_MY_IP": "127.0.0.1",
                    "NOVA0_API_OSAPI_LISTEN_PORT": "18791",
                    "NOVA0_MESH_DOOR_PORT": str(self.settings.door_port),
                },
            )
        self._reader = gevent.spawn(self._follow, log, start)
        until(lambda: announced.exists() or self._process.poll() is not None, 60, "the controller is ready")
        if self._process.poll() is not None:
            raise SystemExit(f"the controller did not start: see {log}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        if getattr(self, "_process", None) is not None:
            self._process.kill()
            self._process.wait()
            self._reader.kill()
        self.status.clear()

    def _follow(self, log: Path, start: int) -> None:
        with open(log) as file:
            file.seek(start)
            rest = ""
            while True:
                rest += file.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    found = self.LINE.match(line)
                    if found:
                        clock = time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000
                        self._heard([clock, found[3], "", found[4], line])
                gevent.sleep(0.05)


def descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def until(seen: Callable[[], Any], timeout_s: float, what: str | Callable[[], str]) -> float:
    """Seconds it took. Raises SystemExit naming what did not come."""
    began = time.monotonic()
    while not seen():
        if time.monotonic() - began > timeout_s:
            raise SystemExit(f"not within {timeout_s:.0f} s: {what if isinstance(what, str) else what()}")
        gevent.sleep(0.02)
    return time.monotonic() - began


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICK


def pss_kib(pid: int) -> int:
    return int(re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])  # type: ignore[index]


def busy() -> None:
    while True:
        sum(range(10_000))


# the measurement


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.most = options, options.agents
        self.folder = Path(tempfile.mkdtemp(prefix="nova0-scale-"))
        self.eyes: dict[str, Eye] = {}
        self.worlds: list[Child] = []
        self.told: list[dict[str, Any]] = []
        self.loads: list[subprocess.Popen[bytes]] = []
        self.figures: dict[str, str] = {}
        self.missed: list[str] = []

    def found(self) -> None:
        """A cluster, certificates for everybody, and a controller that remembers them all."""
        whole = self.options.controller == "nova0"
        state = self.folder / CONTROLLER / "mesh"
        identity.create_cluster(state, CONTROLLER)
        me = identity.load(state)
        base: dict[str, Any] = {"listen": "127.0.0.1", "mdns": False, "peers": 20_000}
        settings = MeshSettings(
            state_dir=str(state), host=CONTROLLER, process="controller", roles=("controller",), door_port=27740, **base
        )
        self.eyes[CONTROLLER] = (Whole if whole else Eye)(self.folder, settings)
        self.eyes[CONTROLLER].start()  # once, for its ports
        self.eyes[CONTROLLER].kill()
        rpc, pub, ear, door, *_ = map(int, (state / "ports.controller").read_text().split())
        card = wire.Card(
            f"{CONTROLLER}/controller", ("controller",), (), "127.0.0.1", rpc, door, pub, ear, me.pair.public, "", 1
        )
        world = {"cluster": me.cluster, "controllers": [wire.encode((me.chain, card))]}
        (self.folder / "world").write_bytes(wire.encode(world))
        (self.folder / "agents").mkdir()
        (state / "peers").mkdir(exist_ok=True)
        for number in range(self.most):
            public, secret = zmq.curve_keypair()
            host = f"sim{number:05}"
            chain = Chain(me.sign_in(host, ("host",), ("*",), z85.decode(public)), me.chain.signers)
            theirs = wire.Card(
                f"{host}/host", ("host",), ("mesh", "compute", "network"), f"127.{32 + number // 250}.{number % 250}.1",
                7001, 7002, 7003, 0, z85.decode(public), "0.1.0", 1,
            )  # fmt: skip
            (self.folder / "agents" / str(number)).write_bytes(wire.encode((secret, chain, theirs)))
            (state / "peers" / f"{host}~host").write_bytes(wire.encode((chain, theirs)))
        for host in WATCHERS:  # real hosts: they watch the controller and their ring neighbours
            theirs_dir = self.folder / host
            pair = keys.node_key(theirs_dir)
            chain = Chain(me.sign_in(host, ("host",), ("*",), pair.public), me.chain.signers)
            identity.store(theirs_dir, me.cluster, chain)
            keys.write_public(
                theirs_dir / "peers" / f"{CONTROLLER}~controller",
                wire.encode((me.chain, card)),
            )
            self.eyes[host] = Eye(
                self.folder, MeshSettings(state_dir=str(theirs_dir), host=host, roles=("host",), **base)
            )

    def run(self) -> None:
        self.found()
        controller = self.eyes[CONTROLLER]
        controller.start()
        gevent.sleep(1)
        empty = pss_kib(controller.pid)
        say(f"controller {controller.pid} remembers {self.most} agents: {empty / 1024:.0f} MiB")
        began, burnt = time.monotonic(), cpu_s(controller.pid)
        for first in range(0, self.most, PER_PROCESS):
            self.told.append({})
            at = len(self.told) - 1
            last = min(self.most, first + PER_PROCESS)
            heard = lambda line, at=at: self.told[at].update(line)  # noqa: E731
            log = self.folder / f"world{at}.log"
            self.worlds.append(Child("--world", str(self.folder), str(first), str(last), heard=heard, log=log))
        until(lambda: self.up() >= self.most, 240, lambda: f"{self.most} agents are up, {self.up()} are")
        took = time.monotonic() - began
        say(f"{self.most} up after {took:.1f} s; {(cpu_s(controller.pid) - burnt) / self.most * 1000:.2f} ms CPU each")
        for host in WATCHERS:
            self.eyes[host].start()
        self.settle()
        full = pss_kib(controller.pid)
        self.note(
            "memory a connected agent takes", f"{(full - empty) / self.most:.0f} KiB", (full - empty) / self.most <= 40
        )
        for phase in self.options.phases.split(","):
            {"steady": self.steady, "kill": self.killed, "new": self.newcomer, "restart": self.restart}[phase]()

    def up(self) -> int:
        return sum(s == "up" for n, (s, _) in self.eyes[CONTROLLER].status.items() if n.startswith("sim"))

    def settle(self) -> None:
        """Until the controller's own work after a change has ended: three seconds alike."""
        pid, last, alike = self.eyes[CONTROLLER].pid, -1.0, 0
        for _ in range(40):
            before = cpu_s(pid)
            gevent.sleep(1)
            now = cpu_s(pid) - before
            alike = alike + 1 if abs(now - last) < 0.05 else 0
            last = now
            if alike == 3:
                return

    def steady(self) -> None:
        """Cost and false verdicts while nothing happens."""
        options, eye = self.options, self.eyes[CONTROLLER]
        if options.load:
            self.loads = [subprocess.Popen([sys.executable, __file__, "--busy"]) for _ in range(options.load)]
        began, burnt, threads = time.monotonic(), cpu_s(eye.pid), split(eye.pid)
        marks = {host: len(e.changes) for host, e in self.eyes.items()}
        heard = sum(t.get("bytes heard", 0) for t in self.told)
        gevent.sleep(options.seconds)
        took = time.monotonic() - began
        burnt = cpu_s(eye.pid) - burnt
        share = 100 * burnt / took
        for load in self.loads:
            load.kill()
            load.wait()
        self.loads = []
        by_thread = {name: 100 * (s - threads.get(name, 0)) / took for name, s in split(eye.pid).items()}
        goal = 12 * self.most / 2000 if self.most <= 2000 else 30 * self.most / 5000
        say("threads: " + ", ".join(f"{n} {v:.1f} %" for n, v in sorted(by_thread.items()) if v > 0.05))
        say(f"news to agents: {(sum(t.get('bytes heard', 0) for t in self.told) - heard) / took / 1024:.0f} KiB/s")
        self.note(
            f"controller, {self.most:,} agents at one beat a second",
            f"{share:.1f} % of a core, {burnt / took / self.most * 1e6:.0f} µs an agent and second",
            share < goal,
        )
        false = [c for host, e in self.eyes.items() for c in e.changes[marks[host] :] if c[3] in ("down", "suspect")]
        downs = [c for c in false if c[3] == "down"]
        for change in downs[:5]:
            say(f"false: {change}")
        self.note(
            f'false "down" in {options.seconds} s'
            + (f" with {options.load} cores' worth of load" if options.load else ""),
            f"{len(downs)} ({len(false) - len(downs)} suspicions)",
            not downs,
        )

    def killed(self) -> None:
        """Kill agents one by one at random moments; how long until each observer that listens to it says so."""
        watchers = {}
        for host in WATCHERS:
            near = [n for n, (s, _) in self.eyes[host].status.items() if n.startswith("sim") and s == "up"]
            watchers[host] = near
        numbers = random.sample(range(self.most), min(self.options.kills, self.most // 2))
        when = {}
        for number in numbers:
            when[f"sim{number:05}/host"] = time.time()
            self.worlds[number // PER_PROCESS].tell(f"kill {number}")
            gevent.sleep(random.uniform(0.01, 0.12))  # noqa: S311
        gevent.sleep(6)
        took, unseen = [], 0
        for host, eye in self.eyes.items():
            for name, at in when.items():
                status, since = eye.status.get(name, ("", 0.0))
                if host == CONTROLLER or name in watchers[host]:
                    if status == "down":
                        took.append(since - at)
                    else:
                        unseen += 1
        took.sort()
        if not took:
            self.note("a killed agent is down everywhere, 99th percentile", "never", False)
            return
        p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
        self.note(
            "a killed agent is down everywhere, 99th percentile",
            f"{p99:.2f} s (median {statistics.median(took):.2f}, {len(took)} seen, {unseen} not)",
            p99 < 4 and not unseen,
        )
        for number in numbers:
            self.worlds[number // PER_PROCESS].tell(f"revive {number}")
        until(lambda: self.up() >= self.most, 60, lambda: f"the killed are back, {self.up()} up")

    def newcomer(self) -> None:
        """A real host starts: from its being ready until a call from the controller's side reaches it."""
        host = "fresh"
        me = identity.load(self.folder / CONTROLLER / "mesh")
        folder = self.folder / host
        pair = keys.node_key(folder)
        identity.store(folder, me.cluster, Chain(me.sign_in(host, ("host",), ("*",), pair.public), me.chain.signers))
        shutil.copytree(self.folder / WATCHERS[0] / "peers", folder / "peers")
        base: dict[str, Any] = {"listen": "127.0.0.1", "mdns": False, "peers": 20_000}
        eye = self.eyes[host] = Eye(
            self.folder, MeshSettings(state_dir=str(folder), host=host, roles=("host",), **base)
        )
        eye.start()
        ready = time.time()
        watch = self.eyes[CONTROLLER]
        until(lambda: watch.status.get(f"{host}/host", ("", 0))[0] == "up", 30, "the newcomer is up at the controller")
        took = max(0.0, watch.status[f"{host}/host"][1] - ready)
        self.note("a new agent is callable after its process is ready", f"{took:.2f} s", took < 1)
        eye.kill()
        del self.eyes[host]

    def restart(self) -> None:
        """kill -9 of the controller and a start at once: everybody back, no false word about anybody."""
        eye = self.eyes[CONTROLLER]
        eye.kill()
        gevent.sleep(2)
        marks = len(eye.changes)
        eye.start()
        began, burnt = time.monotonic(), cpu_s(eye.pid)
        until(lambda: self.up() >= self.most, 120, lambda: f"all are back, {self.up()} are")
        took = time.monotonic() - began
        burnt = cpu_s(eye.pid) - burnt
        downs = [c for c in eye.changes[marks:] if c[3] in ("down",)]
        self.note(
            "all agents back after a restart of the controller",
            f"{took:.1f} s ({burnt:.1f} s of CPU), {len(downs)} called down",
            took < 10 and not any(c[1].startswith("sim") for c in downs),
        )
        self.settle()
        before = cpu_s(eye.pid)
        gevent.sleep(5)
        say(f"ten seconds later: {(cpu_s(eye.pid) - before) * 20:.1f} % of a core")

    def note(self, what: str, figure: str, good: bool) -> None:
        self.figures[what] = figure
        say(f"{'ok    ' if good else 'MISSED'} {what}: {figure}")
        if not good:
            self.missed.append(what)

    def close(self) -> None:
        for load in self.loads:
            load.kill()
        for world in self.worlds:
            world.kill()
        for eye in self.eyes.values():
            eye.kill()
        if self.options.keep:
            say(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def split(pid: int) -> dict[str, float]:
    """CPU seconds by thread name, zmq's own threads told from Python's."""
    found: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            words = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[name] = found.get(name, 0.0) + (int(words[11]) + int(words[12])) / TICK
    return found


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=120, help="how long nothing happens while cost is measured")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--load", type=int, nargs="?", const=1, default=0, help="processes that spin meanwhile")
    parser.add_argument("--controller", choices=("node", "nova0"), default="node")
    parser.add_argument("--phases", default="steady,kill,new,restart", help="which of them, in this order")
    parser.add_argument("--keep", action="store_true", help="leave folders and logs")
    parser.add_argument("--node", help=argparse.SUPPRESS)
    parser.add_argument("--world", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        node(options.node)
        return 0
    if options.world:
        World(Path(options.world[0]), int(options.world[1]), int(options.world[2])).run()
        return 0
    if options.busy:
        busy()
    descriptors()
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.close()
    say("missed: " + ", ".join(bench.missed) if bench.missed else "every goal is met")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
