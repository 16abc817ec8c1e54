"""The processes of the measurement: a real node that says what it sees, a whole controller, what they use."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.event
from gevent.fileobject import FileObject

from nova0.mesh.bus import Member, Status
from nova0.mesh.errors import MeshError
from nova0.mesh.local_client import LocalClient
from nova0.mesh.node import Node
from nova0.mesh.settings import MeshSettings

SCRIPT = Path(__file__).resolve().parents[1] / "scale.py"
NOVA0 = str(Path(sys.executable).parent / "nova0")
TICK = os.sysconf("SC_CLK_TCK")


def node(text: str) -> None:
    """A controller's or host's node as a process; one JSON line for every change of status. `call NAME` on its
    standard input: when that node answered a first call is said, too."""
    descriptors()
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(asctime)s.%(msecs)03d %(message)s")
    made = Node(MeshSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}))

    def changed(member: Member, old: Status) -> None:
        print(json.dumps([time.time(), member.node, str(old), str(member.status), member.detail]), flush=True)

    made.on_member(changed)
    made.start()
    print(json.dumps(["READY", time.time()]), flush=True)

    def call(name: str) -> None:
        while True:
            peer = made.roster.peers.get(name)
            try:
                if peer is not None:
                    made.ask(peer, "ping")
                    print(json.dumps(["CALLED", name, time.time()]), flush=True)
                    return
            except MeshError as error:
                logging.info("%s: %s", name, error)
            gevent.sleep(0.01)

    for line in FileObject(sys.stdin.fileno(), "r", close=False):
        _, name = line.split()
        gevent.spawn(call, name)
    made.stop()


class Child:
    """A process of ours and the JSON lines it says."""

    def __init__(self, *words: str, heard: Callable[[Any], None], log: Path) -> None:
        self._heard = heard
        self.log = log
        with open(log, "a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *words],
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
        self.ready_at = 0.0
        self.called: dict[str, float] = {}  # node -> when it answered a first call

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

    def call(self, node: str) -> None:
        """Call it again and again until it answers; then `called` says when."""
        assert self.child is not None
        self.child.tell(f"call {node}")

    def _heard(self, line: Any) -> None:
        if line[0] == "READY":
            self.ready_at = line[1]
            self.ready.set()
        elif line[0] == "CALLED":
            self.called[line[1]] = line[2]
        else:
            when, about, old, new, detail = line
            self.status[about] = (new, when)
            self.changes.append((when, about, old, new, detail))


class Whole(Eye):
    """The same for a whole controller process (`nova0 agent run controller`), from its log."""

    LINE = re.compile(r"^([\d-]+ [\d:]+)\.(\d+) \S+ nova0\.mesh\.roster \S*: (\S+) is (\w+)")

    def start(self) -> None:
        state = self._state = Path(self.settings.state_dir).parent
        self.api_port = free_port()
        announced = state / "run" / "controller.json"
        announced.unlink(missing_ok=True)
        log = self.folder / f"{self.settings.host}.log"
        with open(log, "a") as out:
            start = log.stat().st_size
            self._env = {
                **os.environ,
                "NOVA0_STATE_PATH": str(state),
                "NOVA0_MESH__MDNS": "false",
                "NOVA0_MESH__LISTEN": "127.0.0.1",
                "NOVA0_MY_IP": "127.0.0.1",
                "NOVA0_API__OSAPI_LISTEN_PORT": str(self.api_port),
                "NOVA0_MESH__DOOR_PORT": str(self.settings.door_port),
            }
            self._process = subprocess.Popen(self.words(), stdout=out, stderr=out, env=self._env)
        self._reader = gevent.spawn(self._follow, log, start)
        until(lambda: announced.exists() or self._process.poll() is not None, 60, "the controller is ready")
        if self._process.poll() is not None:
            raise SystemExit(f"the controller did not start: see {log}")

    def words(self) -> list[str]:
        return [NOVA0, "agent", "run", "controller", "--host", self.settings.host]

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, node: str) -> None:
        """Over the machine's socket, as a person would."""
        gevent.spawn(self._call, node)

    def _call(self, node: str) -> None:
        while node not in self.called:
            try:
                with LocalClient(str(self._state / "run" / "mesh-controller.sock")) as client:
                    client.ping(node)
                self.called[node] = time.time()
            except (OSError, MeshError):
                gevent.sleep(0.01)

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


def own_kib(pid: int) -> int:
    """Memory that no file is behind."""
    return int(re.search(r"^Pss_Anon:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])  # type: ignore[index]


def busy() -> None:
    while True:
        sum(range(10_000))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


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
