"""Hosts in network namespaces, calls between all of them, and faults in an order drawn from a seed.

`Lab` makes the hosts, `schedule` the faults, `run` does both and judges the history. scripts/faults and
tests/mesh/test_faults.py are its callers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import history
from gevent.lock import Semaphore

from nova0.mesh.errors import Unreachable
from nova0.mesh.identity import create_cluster
from nova0.mesh.joining import join, mint_token
from nova0.mesh.settings import MeshSettings

HERE = Path(__file__).parent
NET = f"10.249.{80 + os.getpid() % 170}"  # several runs at a time do not meet
PROXY_PORT = 9999
DISK_MB = 48
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
RULES = f"""
table inet faults {{
  set gone {{ type ipv4_addr; }}
  set lossy {{ type ipv4_addr; }}
  set broken {{ type ipv4_addr; }}
  chain out {{ type filter hook output priority 0;
    ip daddr @gone drop
    ip daddr @lossy numgen random mod 100 < 20 drop
    ip daddr @broken meta l4proto tcp reject with tcp reset
  }}
}}
table ip wire {{
  set proxied {{ type ipv4_addr; }}
  chain out {{ type nat hook output priority -100;
    meta mark != 7 ip daddr @proxied meta l4proto tcp redirect to :{PROXY_PORT}
  }}
}}
"""


def sh(*words: str, check: bool = True, given: str | None = None) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=given)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def forget_clock(pid: int) -> None:
    """Take away what libfaketime keeps in shared memory for a process, and leaves where that is killed."""
    for left in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", left).unlink(missing_ok=True)


class Host:
    """One namespace with its own small disk, wire and process."""

    def __init__(self, lab: Lab, number: int, words: dict[str, Any]) -> None:
        self.lab, self.number, self.words = lab, number, words
        self.name, self.address = f"lab{number}", f"{NET}.{number + 1}"
        self.namespace, self.port = f"{lab.tag}n{number}", f"{lab.tag}v{number}"
        self.state = lab.folder / self.name
        self.lines: list[str] = []
        self.deaths: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.proxy: subprocess.Popen[bytes] | None = None
        self._expected = True  # that it is not running
        self._filled = self.starved = False
        self.aborts = 0

    def make(self) -> None:
        ns = ("ip", "-n", self.namespace)
        sh("ip", "netns", "add", self.namespace)
        sh("ip", "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        sh("ip", "link", "set", self.port, "master", f"{self.lab.tag}br", "up")
        sh(*ns, "addr", "add", f"{self.address}/24", "dev", "eth0")
        sh(*ns, "link", "set", "eth0", "up")
        sh(*ns, "link", "set", "lo", "up")
        self.inside("nft", "-f", "-", given=RULES)
        self.state.mkdir(mode=0o700)
        sh("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(self.state))
        self.proxy = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, sys.executable, str(HERE / "harm_proxy.py"),
             str(PROXY_PORT), "0.05", "150"],
            stderr=open(self.lab.folder / f"{self.name}.proxy.log", "ab"),  # noqa: SIM115
        )  # fmt: skip

    def inside(self, *words: str, given: str | None = None) -> str:
        return sh("ip", "netns", "exec", self.namespace, *words, given=given)

    def settings(self) -> MeshSettings:
        return MeshSettings(
            state_dir=str(self.state),
            host=self.name,
            process="p",
            roles=("controller",) if self.number == 0 else ("host",),
            listen="0.0.0.0",
            advertise=self.address,
            mdns=False,
            handshake_s=5.0,  # a machine with other work takes its time
            socket_path=str(self.lab.folder / f"{self.name}.sock"),
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid  # `ip netns exec` replaces itself

    def start(self) -> None:
        plain = {k: v for k, v in dataclasses.asdict(self.settings()).items() if not callable(v)}
        words = {"settings": plain, "history": str(self.lab.folder / f"{self.name}.history"), **self.words}
        (self.lab.folder / f"{self.name}.clock").write_text("+0\n")
        environment = {"PYTHONPATH": str(HERE.parents[1])}
        if FAKETIME is not None:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.lab.folder / f"{self.name}.clock"),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
        with open(self.lab.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "env", *(f"{k}={v}" for k, v in environment.items()),
                 sys.executable, str(HERE / "fault_node.py"), json.dumps(words)],
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.lines = []
        self._expected = False
        gevent.spawn(self._read, self.process, self.lines)

    def _read(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
        process.wait()
        forget_clock(process.pid)
        if process is self.process and not self._expected:
            if self.starved and process.returncode == -signal.SIGABRT:
                self.aborts += 1  # libzmq ends a process that has no descriptor left for it
            else:
                self.deaths.append(f"{self.name} ended by itself with {process.returncode}; see {self.name}.log")
            gevent.sleep(0.5)
            if not self.lab.ending:
                self.start()

    def ready(self, timeout_s: float = 60) -> None:
        self.lab.until(lambda: "READY" in self.lines, timeout_s, f"{self.name} is ready")

    def kill(self) -> None:
        self._expected = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            forget_clock(self.process.pid)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def listed(self, name: str, address: str, present: bool) -> None:
        table = "ip wire" if name == "proxied" else "inet faults"
        self.inside("nft", "add" if present else "delete", "element", *table.split(), name, f"{{ {address} }}")

    def clock(self, offset_s: int) -> None:
        (self.lab.folder / f"{self.name}.clock").write_text(f"{offset_s:+d}\n")

    def fill(self) -> None:
        """Until nothing more goes on this host's disk."""
        self._filled = True
        with contextlib.suppress(OSError), open(self.state / "filler", "ab", buffering=0) as file:
            while self._filled:
                if file.write(bytes(1 << 16)) < 1 << 16:
                    break

    def free(self) -> None:
        self._filled = False
        (self.state / "filler").unlink(missing_ok=True)

    def descriptors(self, spare: int | None) -> None:
        """Leave the process so many more than it has open; None: as many as it had."""
        self.starved = spare is not None
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if spare is None:
                resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self._limits)
            else:
                self._limits = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
                open_ = max(int(n) for n in os.listdir(f"/proc/{self.pid}/fd")) + 1 + spare
                resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (open_, self._limits[1]))

    def unmake(self) -> None:
        self.kill()
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()
        subprocess.run(["umount", "-l", str(self.state)], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True)


class Lab:
    def __init__(self, folder: Path, hosts: int, words: dict[str, Any]) -> None:
        self.folder, self.tag = folder, f"f{os.getpid() % 100000}"
        self.ending = False
        names = [f"lab{number}" for number in range(hosts)]
        self.hosts = [Host(self, number, {**words, "hosts": names}) for number in range(hosts)]

    def __enter__(self) -> Lab:
        try:
            sh("ip", "link", "add", f"{self.tag}br", "type", "bridge")
            sh("ip", "addr", "add", f"{NET}.254/24", "dev", f"{self.tag}br")
            sh("ip", "link", "set", f"{self.tag}br", "up")
            for host in self.hosts:
                host.make()
            first = self.hosts[0]
            create_cluster(first.state, first.name)
            first.start()
            first.ready()
            for host in self.hosts[1:]:
                self.join(host.settings(), mint_token(first.settings()))
                host.start()
            for host in self.hosts[1:]:
                host.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def join(self, settings: MeshSettings, token: str) -> None:
        """No fault yet: on a machine with other work the door may take a while."""
        for _ in range(10):
            try:
                return join(settings, token)
            except Unreachable:
                gevent.sleep(1)
        return join(settings, token)

    def __exit__(self, *_: object) -> None:
        self.ending = True
        for host in self.hosts:
            host.unmake()
        subprocess.run(["ip", "link", "del", f"{self.tag}br"], capture_output=True)

    def until(self, seen: Callable[[], Any], timeout_s: float, what: str) -> Any:
        with gevent.Timeout(timeout_s, TimeoutError(f"not within {timeout_s:.0f} s: {what}")):
            while not (value := seen()):
                gevent.sleep(0.05)
            return value

    def reachable(self) -> dict[str, str]:
        """'lab0 -> lab1' to what a call between them ended as; all ok once healed."""
        for host in self.hosts:
            host.lines[:] = [line for line in host.lines if not line.startswith("REACH")]
            host.signal(signal.SIGUSR1)
        found = {}
        for host in self.hosts:
            with contextlib.suppress(TimeoutError):
                self.until(lambda host=host: any(line.startswith("REACH") for line in host.lines), 30, "answers")
            said = [line for line in host.lines if line.startswith("REACH")]
            told = json.loads(said[0][6:]) if said else {"everybody": "no word"}
            found.update({f"{host.name} -> {other}": outcome for other, outcome in told.items()})
        return found

    def apart(self, timeout_s: float) -> list[str]:
        """Who does not reach whom, and what it is told; empty as soon as everybody reaches everybody."""
        end = time.monotonic() + timeout_s
        while True:
            found = {pair: outcome for pair, outcome in self.reachable().items() if outcome != "ok"}
            if not found or time.monotonic() > end:
                return [f"{pair}: {outcome}" for pair, outcome in found.items()]
            gevent.sleep(1)


@dataclasses.dataclass(frozen=True)
class Fault:
    """`kind` at host `at` (and towards host `to`) for `seconds`."""

    kind: str
    at: int
    to: int
    seconds: float

    def __str__(self) -> str:
        other = {"cut": f" | lab{self.to}", "deaf": f" > lab{self.to}"}.get(self.kind, f" - lab{self.to}")
        return f"{self.kind} lab{self.at}{other if self.to >= 0 else ''} {self.seconds:g} s"

    @property
    def touches(self) -> set[Any]:
        return {self.at} if self.to < 0 else {frozenset((self.at, self.to))}

    def begin(self, lab: Lab) -> None:
        a, b = lab.hosts[self.at], lab.hosts[self.to]
        if self.kind in ("cut", "deaf", "lossy"):
            name = "lossy" if self.kind == "lossy" else "gone"
            a.listed(name, b.address, True)
            if self.kind != "deaf":  # one way: `to` hears nothing from `at`, the other way is open
                b.listed(name, a.address, True)
        elif self.kind == "harm":
            a.listed("proxied", b.address, True)
            b.listed("proxied", a.address, True)
            self._break(a, b)
        elif self.kind == "reset":
            self._break(a, b)
        elif self.kind == "unplug":
            sh("ip", "link", "set", a.port, "down")
        elif self.kind == "kill":
            a.kill()
        elif self.kind == "stop":
            a.signal(signal.SIGSTOP)
        elif self.kind in ("clock+", "clock-"):
            a.clock(3600 if self.kind == "clock+" else -3600)
        elif self.kind == "disk":
            a.fill()
        elif self.kind == "descriptors":
            a.descriptors(2)

    def end(self, lab: Lab) -> None:
        a, b = lab.hosts[self.at], lab.hosts[self.to]
        if self.kind in ("cut", "deaf", "lossy"):
            name = "lossy" if self.kind == "lossy" else "gone"
            a.listed(name, b.address, False)
            if self.kind != "deaf":
                b.listed(name, a.address, False)
        elif self.kind == "harm":
            a.listed("proxied", b.address, False)
            b.listed("proxied", a.address, False)
            for host in (a, b):
                assert host.proxy is not None
                host.proxy.send_signal(signal.SIGUSR1)
        elif self.kind == "unplug":
            sh("ip", "link", "set", a.port, "up")
        elif self.kind == "kill":
            a.start()
            a.ready()
        elif self.kind == "stop":
            a.signal(signal.SIGCONT)
        elif self.kind in ("clock+", "clock-"):
            a.clock(0)
        elif self.kind == "disk":
            a.free()
        elif self.kind == "descriptors":
            a.descriptors(None)

    def _break(self, a: Host, b: Host) -> None:
        """Connections between the two are reset at both ends as soon as anything is sent on them."""
        for one, other in ((a, b), (b, a)):
            one.listed("broken", other.address, True)
        gevent.sleep(0.4)
        for one, other in ((a, b), (b, a)):
            one.listed("broken", other.address, False)


def schedule(hosts: int, seed: int, *, whole: bool) -> list[list[Fault]]:
    """Lanes of faults; each lane runs one after the other, the lanes side by side.

    `whole`: every link cut both ways and each way for 1, 10 and 100 s, and every other fault at every host.
    Else a drawn handful of each, with short times."""
    chance = random.Random(seed)
    links = [(a, b) for a in range(hosts) for b in range(a + 1, hosts)]
    ways = [("cut", a, b) for a, b in links] + [("deaf", a, b) for a, b in links] + [("deaf", b, a) for a, b in links]
    every = range(hosts)
    if whole:
        long = [Fault(*way, 100) for way in ways]
        short = [Fault(*way, seconds) for way in ways for seconds in (1, 10)]
        short += [Fault(kind, a, b, 12) for kind in ("harm", "lossy") for a, b in links]
        short += [Fault("reset", a, b, 0) for a, b in links for _ in range(3)]
        local = [Fault("kill", a, -1, s) for a in every for s in (0, 0.5, 5, 15)]
        local += [Fault("stop", a, -1, s) for a in every for s in (1, 8, 20)]
        local += [Fault(kind, a, -1, 8) for a in every for kind in ("clock+", "clock-", "disk", "descriptors")]
        local += [Fault("unplug", a, -1, 10) for a in every]
    else:
        long = [Fault(*way, 10) for way in chance.sample(ways, 2)]
        short = [Fault(*way, seconds) for way, seconds in zip(chance.sample(ways, 3), (1, 3, 3), strict=True)]
        short += [Fault(kind, *chance.choice(links), 4) for kind in ("harm", "lossy")]
        short += [Fault("reset", *chance.choice(links), 0)]
        local = [Fault(kind, chance.choice(every), -1, s) for kind, s in (
            ("kill", 0), ("kill", 1), ("stop", 3), ("clock+", 2), ("clock-", 2), ("disk", 2), ("descriptors", 2),
        )]  # fmt: skip
    for faults in (long, short, local):
        chance.shuffle(faults)
    third = max(1, len(long) // 3) if whole else len(long)
    return [*(long[n : n + third] for n in range(0, len(long), third)), short, local]


def inject(lab: Lab, lanes: list[list[Fault]], seed: int, say: Callable[[str], None]) -> None:
    """All lanes to their end; no two faults on one link or one host at a time."""
    began = time.monotonic()
    touched: set[Any] = set()
    lock = Semaphore()

    def lane(faults: list[Fault], chance: random.Random) -> None:
        waiting = list(faults)
        while waiting:
            with lock:
                fault = next((f for f in waiting if not f.touches & touched), None)
                if fault is not None:
                    waiting.remove(fault)
                    touched.update(fault.touches)
            if fault is None:
                gevent.sleep(0.2)
                continue
            say(f"{time.monotonic() - began:7.1f} s  {fault}")
            try:
                fault.begin(lab)
                gevent.sleep(fault.seconds)
            finally:
                fault.end(lab)
                touched.difference_update(fault.touches)
            gevent.sleep(chance.uniform(0.3, 2))

    working = [gevent.spawn(lane, faults, random.Random(f"{seed} {n}")) for n, faults in enumerate(lanes)]
    try:
        gevent.joinall(working, raise_error=True)
    finally:
        gevent.killall(working)


def run(
    folder: Path, *, calls: int, seed: int, hosts: int, whole: bool, rate: float, say: Callable[[str], None] = print
) -> tuple[list[str], dict[str, Any]]:
    """(findings, figures). `rate`: calls a second of each host."""
    if os.geteuid() or not shutil.which("nft") or not shutil.which("ip"):
        raise RuntimeError("needs root, iproute2 and nftables")
    words = {"quota": -(-calls // hosts), "rate": rate, "most": 400, "seed": seed}
    findings: list[str] = []
    if FAKETIME is None:
        say("libfaketime is not installed: no clock steps")
    lanes = schedule(hosts, seed, whole=whole)
    if FAKETIME is None:
        lanes = [[f for f in lane if not f.kind.startswith("clock")] for lane in lanes]
    with Lab(folder, hosts, words) as lab:
        findings += [f"never met: {pair}" for pair in lab.apart(180)]
        inject(lab, lanes, seed, say)
        say("all faults are over; waiting until everybody reaches everybody")
        findings += [f"not healed: {pair}" for pair in lab.apart(180)]
        say("waiting for the calls that are left")
        try:
            lab.until(lambda: all("DONE" in host.lines for host in lab.hosts), 120 + calls / rate, "all calls ended")
        except TimeoutError as error:
            findings.append(str(error))
        lab.ending = True
        for host in lab.hosts:
            findings += host.deaths
            host.kill()
        logs = [(folder / f"{host.name}.log").read_text(errors="replace") for host in lab.hosts]
    events = history.read(folder)
    figures = history.summary(events)
    figures["tracebacks_in_logs"] = sum(log.count("Traceback") for log in logs)
    figures["aborts_for_want_of_descriptors"] = sum(host.aborts for host in lab.hosts)
    return findings + history.check(events), figures
