"""The phases of the measurement, in the order in which they are asked for, and what each found."""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import zmq
from zmq.utils import z85

from nova0.mesh import identity, keys, wire
from nova0.mesh.certificate import Chain
from nova0.mesh.settings import MeshSettings
from scale_parts.processes import SCRIPT, Child, Eye, Whole, cpu_s, free_port, own_kib, say, split, until
from scale_parts.simulated import PER_PROCESS

CONTROLLER, WATCHERS = "ctl0", ("watch1", "watch2")
PHASES = ("steady", "kill", "new", "restart")
KIB, DOWN_S, BACK_S, CALLABLE_S = 40, 4.0, 10.0, 1.0  # the goals
HOSTS_IN_A_NET, NETS = 250, range(32, 232)  # 127.NET.HOST.1: one address for each simulated agent


class Row(NamedTuple):
    """One promise, measured."""

    promise: str
    goal: str
    measured: str
    met: bool


def share_allowed(agents: int) -> float:
    """Per cent of a core: 12 at 2,000 agents, 30 at 5,000."""
    return 0.006 * agents


class Bench:
    """One controller and so many simulated agents. `whole`: how a whole controller is run."""

    whole = Whole

    def __init__(self, options: argparse.Namespace, agents: int) -> None:
        self.options, self.most = options, agents
        self.folder = Path(tempfile.mkdtemp(prefix="nova0-scale-"))
        self.eyes: dict[str, Eye] = {}
        self.worlds: list[Child] = []
        self.told: list[dict[str, Any]] = []
        self.loads: list[subprocess.Popen[bytes]] = []
        self.rows: list[Row] = []
        nets = -(-agents // HOSTS_IN_A_NET)
        free = [first for first in NETS[::nets] if first + nets <= NETS.stop and _is_free(f"127.{first}.0.1")]
        self._net = random.choice(free)  # noqa: S311  (two measurements at once meet less often)

    def found(self) -> None:
        """A cluster, certificates for everybody, and a controller that remembers them all."""
        whole = self.options.controller == "nova0"
        state = self.folder / CONTROLLER / "mesh"
        identity.create_cluster(state, CONTROLLER)
        me = identity.load(state)
        base: dict[str, Any] = {"listen": "127.0.0.1", "mdns": False, "peers": 20_000}
        settings = MeshSettings(
            state_dir=str(state),
            host=CONTROLLER,
            process="controller",
            roles=("controller",),
            door_port=free_port(),
            **base,
        )
        self.eyes[CONTROLLER] = (self.whole if whole else Eye)(self.folder, settings)
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
            chain = Chain(me.sign_in(host, ("host",), None, z85.decode(public)), me.chain.signers)
            theirs = wire.Card(
                f"{host}/host", ("host",), ("mesh", "compute", "network"), self._address(number),
                7001, 7002, 7003, 0, z85.decode(public), "0.1.0", 1,
            )  # fmt: skip
            (self.folder / "agents" / str(number)).write_bytes(wire.encode((secret, chain, theirs)))
            (state / "peers" / f"{host}~host").write_bytes(wire.encode((chain, theirs)))
        for host in WATCHERS:  # real hosts: they watch the controller and their ring neighbours
            theirs_dir = self.folder / host
            pair = keys.node_key(theirs_dir)
            chain = Chain(me.sign_in(host, ("host",), None, pair.public), me.chain.signers)
            identity.store(theirs_dir, me.cluster, chain)
            keys.write_public(
                theirs_dir / "peers" / f"{CONTROLLER}~controller",
                wire.encode((me.chain, card)),
            )
            self.eyes[host] = Eye(
                self.folder, MeshSettings(state_dir=str(theirs_dir), host=host, roles=("host",), **base)
            )

    def _address(self, number: int) -> str:
        return f"127.{self._net + number // HOSTS_IN_A_NET}.{number % HOSTS_IN_A_NET}.1"

    def run(self) -> None:
        self.found()
        controller = self.eyes[CONTROLLER]
        controller.start()
        gevent.sleep(1)
        empty = own_kib(controller.pid)
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
        full = own_kib(controller.pid)
        each = (full - empty) / self.most
        self.note("memory of a connected agent", f"{KIB} KiB", f"{each:.0f} KiB", each <= KIB)
        for phase in self.options.phases:
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
            self.loads = [subprocess.Popen([sys.executable, str(SCRIPT), "--busy"]) for _ in range(options.load)]
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
        goal = share_allowed(self.most)
        say("threads: " + ", ".join(f"{n} {v:.1f} %" for n, v in sorted(by_thread.items()) if v > 0.05))
        say(f"news to agents: {(sum(t.get('bytes heard', 0) for t in self.told) - heard) / took / 1024:.0f} KiB/s")
        self.note(
            "a controller, all agents beating once a second",
            f"{goal:.3g} % of a core",
            f"{share:.1f} %: {burnt / took / self.most * 1e6:.0f} µs for each agent and second",
            share < goal,
        )
        false = [c for host, e in self.eyes.items() for c in e.changes[marks[host] :] if c[3] in ("down", "suspect")]
        downs = [c for c in false if c[3] == "down"]
        for change in downs[:5]:
            say(f"false: {change}")
        load = f", {options.load} core{'s' * (options.load > 1)} held by others" if options.load else ""
        self.note(
            f'false "down" in {options.seconds} s{load}',
            "none",
            f"{len(downs)}, and {len(false) - len(downs)} suspicions",
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
        p99 = took[min(len(took) - 1, int(len(took) * 0.99))] if took else float("inf")
        seen = f"{p99:.2f} s, median {statistics.median(took):.2f}" if took else "never"
        self.note(
            "a killed agent is down at all who listen to it, 99th percentile",
            f"{DOWN_S:.0f} s",
            f"{seen}; {len(took)} times, {unseen} not seen",
            p99 < DOWN_S and not unseen,
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
        identity.store(folder, me.cluster, Chain(me.sign_in(host, ("host",), None, pair.public), me.chain.signers))
        shutil.copytree(self.folder / WATCHERS[0] / "peers", folder / "peers")
        base: dict[str, Any] = {"listen": "127.0.0.1", "mdns": False, "peers": 20_000}
        eye = self.eyes[host] = Eye(
            self.folder, MeshSettings(state_dir=str(folder), host=host, roles=("host",), **base)
        )
        name, watch = f"{host}/host", self.eyes[CONTROLLER]
        watch.call(name)
        eye.start()
        until(lambda: name in watch.called, 30, "the newcomer answers the controller")
        took = max(0.0, watch.called[name] - eye.ready_at)
        self.note(
            "a new agent answers a call of the controller, from its process being ready",
            f"{CALLABLE_S:.0f} s",
            f"{took:.2f} s",
            took < CALLABLE_S,
        )
        eye.kill()
        del self.eyes[host]

    def restart(self) -> None:
        """kill -9 of the controller and a start at once: everybody back, no false word about anybody."""
        eye = self.eyes[CONTROLLER]
        eye.kill()
        gevent.sleep(2)
        marks, asked = len(eye.changes), self.asked()
        eye.start()
        began, burnt = time.monotonic(), cpu_s(eye.pid)
        until(lambda: self.up() >= self.most, 120, lambda: f"all are back, {self.up()} are")
        took = time.monotonic() - began
        burnt = cpu_s(eye.pid) - burnt
        said = [c for c in eye.changes[marks:] if c[1].startswith("sim")]
        downs = sum(c[3] == "down" for c in said)
        peak = max(Counter(int(c[0]) for c in said if c[3] == "up").values())
        self.note(
            "all agents back after kill -9 and a start of the controller",
            f"{BACK_S:.0f} s",
            f"{took:.1f} s, at most {peak} in a second, {burnt / self.most * 1e3:.1f} ms of processor each",
            took < BACK_S,
        )
        self.note('called "down" meanwhile', "none", str(downs), not downs)
        self.settle()
        before = cpu_s(eye.pid)
        gevent.sleep(5)
        say(f"a while later: {(cpu_s(eye.pid) - before) * 20:.1f} % of a core")
        calls = self.asked() - asked
        self.note(
            "asked of the agents meanwhile, but for the mesh's own",
            "",
            ", ".join(f"{name} {number} times" for name, number in calls.most_common()) or "nothing",
            True,
        )

    def asked(self) -> Counter[str]:
        """Calls that reached simulated agents, by topic and method."""
        found: Counter[str] = Counter()
        for told in self.told:
            found.update({k.removeprefix("call "): v for k, v in told.items() if k.startswith("call ")})
        return found

    def note(self, promise: str, goal: str, measured: str, met: bool) -> None:
        self.rows.append(Row(promise, goal, measured, met))
        say(f"{'ok    ' if met else 'MISSED'} {promise}: {measured}")

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


def _is_free(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 7001))
        except OSError:
            return False
    return True
