"""The mesh beside other ways for Python programs to talk: ratios to plain pyzmq, measured in alternating rounds.

    scripts/bench rpc                                   the whole table (about 15 minutes)
    scripts/bench rpc --runs 1 --secs 0.3 --clients 50  a short look (under 3 minutes)
    scripts/bench rpc --peers raw,nova0 --workloads call,many

Client and server are processes of their own on loopback. Peers that are missing are installed into an environment
of their own (.venv-bench, or NOVA0_BENCH_VENV), as root also RabbitMQ and nats-server from Debian; brokers run
privately, on free ports under a temporary folder, and end with the benchmark. A run of everything, three rounds or
more, is written to SPECIFICATION.md. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from specification import measured, write_block

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = Path(__file__).with_name("rpc_peers")
PEERS_VENV = Path(os.environ.get("NOVA0_BENCH_VENV", ROOT / ".venv-bench"))
SUBSCRIBERS, SUBSCRIBER_PROCESSES = 50, 2
SIZES = ("65536", "1048576")
WORKLOADS = ("call", "many", "cast", *SIZES, "fanout", "memory")


class Peer(NamedTuple):
    name: str
    adapter: str
    package: str = ""  # of PyPI; "": nova0's own environment
    broker: str = ""
    workloads: tuple[str, ...] = WORKLOADS
    window: int = 2000  # messages of a fan-out that its slowest subscriber has not heard yet, at most
    place: dict[str, Any] = {}


PEERS = (
    Peer("nova0", "nova0_node"),
    Peer("nova0 journaled", "nova0_node", workloads=("call", "many"), place={"journaled": True}),
    Peer("nova0 casts without CURVE", "nova0_node", workloads=("cast", "fanout"), place={"curve": False}),
    Peer("raw", "raw", place={"curve": False}),
    Peer("raw with CURVE", "raw"),
    Peer("zerorpc", "zerorpc_peer", "zerorpc"),
    Peer("nats-py", "nats_peer", "nats-py", "nats-server"),
    Peer("grpc", "grpc_sync", "grpcio", window=400),
    Peer("grpc.aio", "grpc_aio", "grpcio", workloads=tuple(w for w in WORKLOADS if w != "fanout")),
    Peer("Pyro5", "pyro5_peer", "Pyro5", workloads=tuple(w for w in WORKLOADS if w != "fanout")),
    Peer("oslo.messaging", "oslo_peer", "oslo.messaging", "rabbitmq-server", window=50),
)
OTHERS = [peer.name for peer in PEERS if peer.package]


class Figure(NamedTuple):
    """One column: where its value is, how it is shown, and whether more is better."""

    key: str
    title: str
    text: str
    more: bool


COLUMNS = (
    Figure("call.p50_us", "one call, p50 µs", "{:,.0f}", False),
    Figure("call.p99_us", "p99 µs", "{:,.0f}", False),
    Figure("many.per_s", "calls/s, {in_flight} in flight", "{:,.0f}", True),
    Figure("cast.per_s", "casts/s", "{:,.0f}", True),
    Figure("fanout.per_s", f"fan-out/s, {SUBSCRIBERS} subscribers", "{:,.0f}", True),
    Figure("65536.p50_us", "64 KiB call, µs", "{:,.0f}", False),
    Figure("1048576.p50_us", "1 MiB call, µs", "{:,.0f}", False),
    Figure("memory.kib", "KiB a client", "{:,.0f}", False),
    Figure("set_up.s", "set-up, s", "{:.2f}", False),
)


class Goal(NamedTuple):
    """`of` of nova0 (or `who`) against the same of another peer: at least or at most `factor` times that."""

    says: str
    key: str
    against: str
    least: float | None = None
    most: float | None = None
    who: str = "nova0"


GOALS = (
    Goal("calls/s at 64 in flight, of raw without encryption", "many.per_s", "raw", least=1.2),
    Goal("calls/s at 64 in flight, of oslo.messaging", "many.per_s", "oslo.messaging", least=80),
    Goal("calls/s at 64 in flight, of the fastest other peer", "many.per_s", "", least=1.0),
    Goal("p50 of one call, of raw", "call.p50_us", "raw", most=2.0),
    Goal("p50 of one call, of raw (stretch)", "call.p50_us", "raw", most=1.6),
    Goal("casts/s, of raw", "cast.per_s", "raw", least=2.0),
    Goal("fan-out to 50, of NATS, with CURVE", "fanout.per_s", "nats-py", least=1.5),
    Goal(
        "fan-out to 50, of NATS, without CURVE",
        "fanout.per_s",
        "nats-py",
        least=3.0,
        who="nova0 casts without CURVE",
    ),
    Goal("1 MiB call, of raw with CURVE", "1048576.p50_us", "raw with CURVE", most=2.0),
    Goal("KiB for each connected client", "memory.kib", "", most=40),
    # not goals, shown because they are worse or because somebody will ask
    Goal("64 KiB call, of raw with CURVE", "65536.p50_us", "raw with CURVE"),
    Goal("1 MiB call, of raw without encryption", "1048576.p50_us", "raw"),
    Goal("journaled: p50 of one call, of raw", "call.p50_us", "raw", who="nova0 journaled"),
    Goal("journaled: calls/s at 64 in flight, of raw", "many.per_s", "raw", who="nova0 journaled"),
    Goal("fan-out to 50, of raw with CURVE", "fanout.per_s", "raw with CURVE"),
    Goal("set-up, of raw", "set_up.s", "raw"),
)


class Child:
    """One worker process."""

    def __init__(self, role: str, peer: Peer, place: dict[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._rest = b""
        self.process = subprocess.Popen(
            [str(python_of(peer)), str(ADAPTERS / "worker.py"), role, peer.adapter, json.dumps(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C comes to us, and we end them
        )

    def says(self, timeout_s: float = 60) -> dict[str, Any]:
        """Its next line. Raises RuntimeError with what it wrote to standard error."""
        assert self.process.stdout is not None
        end = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not more:
                self._errors.seek(0)
                last = self._errors.read().decode(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(("ended: " if ready else f"silent for {timeout_s:.0f} s: ") + " | ".join(last))
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return dict(json.loads(line)) if line.startswith(b"{") else self.says(timeout_s)

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            if file is not None:
                try:
                    file.close()
                except BrokenPipeError:
                    continue


class Broker:
    """A private broker: free port, temporary folder, ended with `stop`."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.port = kind, free_port()
        home = folder / kind
        home.mkdir()
        self._environment, command = dict(os.environ), []
        if kind == "nats-server":
            (home / "conf").write_text("max_payload: 8MB\n")
            command = [program(kind), "-c", str(home / "conf"), "-a", "127.0.0.1", "-p", str(self.port)]
        else:
            command = self._rabbit(home)
        with open(home / "output", "w") as output:
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=output, stderr=output, start_new_session=True, cwd=home
            )
        try:
            end = time.monotonic() + 90
            while not answers(self.port):
                if self.process.poll() is not None or time.monotonic() > end:
                    last = (home / "output").read_text().splitlines()[-3:]
                    raise RuntimeError(f"{kind} did not start: {' | '.join(last)}")
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise

    def _rabbit(self, home: Path) -> list[str]:
        (home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n")
        (home / "plugins").write_text("[].")
        self._environment |= {
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"bench{os.getpid()}@localhost",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        # Debian's command in sbin changes the user; what it wraps runs as whoever starts it
        inner = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return [str(inner) if inner.exists() else program("rabbitmq-server")]

    def stop(self) -> None:
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        mark = f"RABBITMQ_PID_FILE={self._environment.get('RABBITMQ_PID_FILE', '-')}".encode()
        for process in Path("/proc").glob("[0-9]*"):  # Erlang's name server detaches itself; ours bears our mark
            try:
                if (process / "comm").read_text() == "epmd\n" and mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue


class Bench:
    def __init__(self, options: argparse.Namespace, peers: list[Peer], folder: Path) -> None:
        self.options, self.peers, self.folder = options, peers, folder
        self.found: dict[str, dict[str, list[float]]] = {peer.name: {} for peer in peers}
        self.troubles: dict[str, str] = {}
        self.brokers: dict[str, Broker] = {}
        self._children: list[Child] = []
        self._number = 0
        self._server_key, self._client_key = ([key.decode() for key in zmq.curve_keypair()] for _ in range(2))

    def run(self) -> None:
        try:
            for peer in self.peers:
                if peer.broker and peer.broker not in self.brokers:
                    self._say(f"starting {peer.broker}")
                    self.brokers[peer.broker] = Broker(peer.broker, self.folder)
            for turn in range(self.options.runs):
                for at, peer in enumerate(self.peers if turn % 2 == 0 else self.peers[::-1]):
                    self._say(f"round {turn + 1} of {self.options.runs}, {at + 1}/{len(self.peers)}: {peer.name}")
                    self._round(peer, turn)
        finally:
            self._end_children()
            for broker in self.brokers.values():
                broker.stop()
            self._say("")

    def _round(self, peer: Peer, turn: int) -> None:
        wanted = [w for w in peer.workloads if w in self.options.workloads]
        parts = [(w, [w]) for w in ("fanout", "memory") if w in wanted and (w != "memory" or turn == 0)]
        talk = [w for w in wanted if w not in ("fanout", "memory")]
        for name, workloads in [("talk", talk), *parts] if talk else parts:
            try:
                getattr(self, f"_{name}")(peer, self._place(peer, workloads))
            except (RuntimeError, KeyError, ValueError) as error:
                self.troubles[f"{peer.name}, {name}"] = str(error)
            finally:
                self._end_children()

    def _talk(self, peer: Peer, place: dict[str, Any]) -> None:
        began = time.monotonic()
        self._start("server", peer, place).says()
        client = self._start("client", peer, place)
        client.says()
        self._found(peer, "set_up.s", time.monotonic() - began)
        for _ in place["workloads"]:
            figures = client.says(60 + 10 * self.options.secs)
            workload = figures.pop("workload")
            if "error" in figures:
                self.troubles[f"{peer.name}, {workload}"] = figures["error"]
            elif figures.get("lost", 0) > 0.001:
                self.troubles[f"{peer.name}, {workload}"] = f"{figures['lost']:.1%} of the casts were lost"
            for name, value in figures.items():
                self._found(peer, f"{workload}.{name}", value)

    def _fanout(self, peer: Peer, place: dict[str, Any]) -> None:
        publisher = self._start("publisher", peer, place)
        publisher.says()
        each = SUBSCRIBERS // SUBSCRIBER_PROCESSES
        listeners = [
            self._start("subscribers", peer, place | {"clients": each, "first": each * n})
            for n in range(SUBSCRIBER_PROCESSES)
        ]
        for listener in listeners:
            listener.says(90)
        publisher.go()
        measured = [child.process.pid for child in (publisher, *listeners)]
        if peer.broker:
            measured += self._of_broker(peer)
        publisher.says(120)  # it runs steadily
        before = sum(map(cpu_s, measured))
        figures = publisher.says(60 + 10 * self.options.secs)
        took = sum(map(cpu_s, measured)) - before
        self._found(peer, "fanout.per_s", figures["heard"] / figures["seconds"])
        self._found(peer, "fanout.us", took / figures["heard"] * 1e6)
        lost = publisher.says(120)["lost"]
        self._found(peer, "fanout.lost", lost)
        if lost:
            self.troubles[f"{peer.name}, fan-out"] = f"{lost:.2%} of the messages were lost (or, below 0, came twice)"

    def _memory(self, peer: Peer, place: dict[str, Any]) -> None:
        """What the server (and the broker) grows by for each client connected and called from."""
        server = self._start("server", peer, place)
        server.says()
        measured = [server.process.pid]
        if peer.broker:
            measured += self._of_broker(peer)
        self._held(peer, place, 0, 1)  # what comes with the first client, such as imports, is not the clients'
        before = sum(map(own_kib, measured))
        clients = self.options.clients
        self._held(peer, place, 1, clients // 2)
        self._held(peer, place, 1 + clients // 2, clients - clients // 2)
        time.sleep(5)  # what is given back within seconds is not held
        self._found(peer, "memory.kib", (sum(map(own_kib, measured)) - before) / clients)

    def _of_broker(self, peer: Peer) -> list[int]:
        broker = self.brokers[peer.broker].process.pid
        return [broker, *descendants(broker)]

    def _held(self, peer: Peer, place: dict[str, Any], first: int, number: int) -> None:
        self._start("hold", peer, place | {"clients": number, "first": first}).says(180)

    def _place(self, peer: Peer, workloads: list[str]) -> dict[str, Any]:
        """All that a worker is told."""
        self._number += 1
        folder = self.folder / f"place{self._number}"
        folder.mkdir()
        place: dict[str, Any] = {
            "name": f"bench{os.getpid()}.{self._number}",
            "folder": str(folder),
            "port": free_port(),
            "broker_port": self.brokers[peer.broker].port if peer.broker else 0,
            "workloads": [w for w in workloads if w not in ("fanout", "memory")],
            "seconds": self.options.secs,
            "in_flight": self.options.in_flight,
            "window": peer.window,
            "clients": 1,
            "first": 0,
            "all_clients": SUBSCRIBERS,
            "curve": True,
            "journaled": False,
            "server_key": self._server_key,
            "client_key": self._client_key,
        }
        return place | peer.place

    def _start(self, role: str, peer: Peer, place: dict[str, Any]) -> Child:
        self._children.append(Child(role, peer, place))
        return self._children[-1]

    def _end_children(self) -> None:
        for child in self._children[::-1]:
            child.stop()
        self._children.clear()
        for folder in self.folder.glob("place*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _found(self, peer: Peer, key: str, value: float) -> None:
        self.found[peer.name].setdefault(key, []).append(value)

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
        elif text:
            print(text, file=sys.stderr, flush=True)

    # what was found

    def median(self, peer: str, key: str) -> float | None:
        values = self.found.get(peer, {}).get(key)
        return statistics.median(values) if values else None

    def table(self) -> list[str]:
        """Markdown; each figure with its ratio to raw."""
        titles = [column.title.format(in_flight=self.options.in_flight) for column in COLUMNS]
        lines = ["| medians (times raw) | " + " | ".join(titles) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        for peer in self.peers:
            cells = []
            for column in COLUMNS:
                value, raw = self.median(peer.name, column.key), self.median("raw", column.key)
                text = "-" if value is None else column.text.format(value)
                if value is not None and raw and peer.name != "raw":
                    text += f" ({value / raw:.3g})"
                cells.append(text)
            lines.append(f"| {peer.name} | " + " | ".join(cells) + " |")
        return lines

    def verdicts(self) -> list[dict[str, Any]]:
        """Each goal with what was measured; `met` is None where there is no goal or a figure is missing."""
        rows = []
        for goal in GOALS:
            value, name, other = self.median(goal.who, goal.key), goal.against, None
            if goal.key == "memory.kib":
                other = 1.0
            elif goal.against:
                other = self.median(goal.against, goal.key)
            else:
                figures = {n: f for n in OTHERS if (f := self.median(n, goal.key)) is not None}
                name = max(figures, key=figures.__getitem__) if figures else ""
                other = figures.get(name)
            ratio = value / other if value is not None and other else None
            met = None
            if ratio is not None and goal.least is not None:
                met = ratio >= goal.least
            elif ratio is not None and goal.most is not None:
                met = ratio <= goal.most
            aim = f"≥ {goal.least:g}" if goal.least is not None else f"≤ {goal.most:g}" if goal.most is not None else ""
            says = f"{goal.says} ({name})" if not goal.against and name else goal.says
            rows.append({"says": says, "goal": aim, "measured": ratio, "met": met})
        return rows

    def verdict_lines(self) -> list[str]:
        lines = ["| nova0, whole layer | goal | measured | |", "|---|---|---|---|"]
        for row in self.verdicts():
            measured = "-" if row["measured"] is None else f"{row['measured']:.3g}"
            word = {True: "met", False: "missed", None: ""}[row["met"]]
            lines.append(f"| {row['says']} | {row['goal']} | {measured} | {word} |")
        return lines


def python_of(peer: Peer) -> Path:
    return PEERS_VENV / "bin" / "python" if peer.package else Path(sys.executable)


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: as root, apt-get install {name}")
    return found


def free_port() -> int:
    """One whose successor is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                next_one.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, thread.read_text().split()):
            found += [child, *descendants(child)]
    return found


def cpu_s(pid: int) -> float:
    """Processor time of all its threads so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_kib(pid: int) -> int:
    """Memory that no file is behind. Its share of programs and libraries falls with each client that is started."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    match = re.search(r"^Pss_Anon:\s+(\d+) kB", text, re.MULTILINE)
    return int(match.group(1)) if match else 0


def prepare(peers: list[Peer]) -> list[Peer]:
    """Install what is missing; the peers that can be measured."""
    packages = sorted({peer.package for peer in peers if peer.package})
    brokers = sorted({peer.broker for peer in peers if peer.broker})
    missing = [b for b in brokers if shutil.which(b, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin") is None]
    mark, wanted = PEERS_VENV / "mark", " ".join(packages)
    have = mark.read_text().split() if mark.exists() else []
    steps = []
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        steps.append(f"RUNLEVEL=1; export RUNLEVEL; install_packages {' '.join(missing)}")  # not started by Debian
    if set(packages) - set(have):
        steps.append(f'make_venv "{PEERS_VENV}" "{sys.executable}"; pip_install "{PEERS_VENV}" msgpack {wanted}')
    for step in steps:
        print(step.rpartition("; ")[2], file=sys.stderr, flush=True)
        script = f"set -eu; self=bench; . {ROOT}/scripts/prepare.sh; {step}"
        if subprocess.run(["sh", "-c", script], check=False).returncode:
            raise SystemExit("bench: a peer could not be installed; leave it out with --peers")
    if set(packages) - set(have):
        mark.write_text(" ".join(sorted({*have, *packages})))
    able = []
    for peer in peers:
        try:
            if peer.broker:
                program(peer.broker)
            able.append(peer)
        except RuntimeError as error:
            print(f"{peer.name} is left out: {error}", file=sys.stderr)
    return able


def write(bench: Bench) -> None:
    """Into SPECIFICATION.md."""
    machine = f"{measured(f'libzmq {zmq.zmq_version()}')}: medians of {bench.options.runs} alternating rounds."
    troubles = [f"- {who}: {what}" for who, what in bench.troubles.items()]
    body = [machine, "", *bench.verdict_lines(), "", *bench.table(), *([""] if troubles else []), *troubles]
    write_block("bench rpc", "\n".join(body))


def options_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench rpc", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", default=",".join(names), help=f"some of: {', '.join(names)}")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help=f"some of: {', '.join(WORKLOADS)}")
    parser.add_argument("--runs", type=int, default=5, help="rounds; medians of them are shown (5)")
    parser.add_argument("--secs", type=float, default=1.0, help="seconds of each timed part (1)")
    parser.add_argument("--in-flight", type=int, default=64, help="calls at once (64)")
    parser.add_argument("--clients", type=int, default=200, help="clients connected for the memory figure (200)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--no-write", action="store_true", help="leave SPECIFICATION.md alone")
    options = parser.parse_args(words)
    options.peers = [name.strip() for name in options.peers.split(",")]
    options.workloads = [name.strip() for name in options.workloads.split(",")]
    for given, known, what in ((options.peers, names, "peer"), (options.workloads, WORKLOADS, "workload")):
        for name in given:
            if name not in known:
                parser.error(f"no {what} {name!r}: there is {', '.join(known)}")
    if options.runs < 1 or options.secs <= 0 or options.in_flight < 1 or options.clients < 2:
        parser.error("--runs, --secs and --in-flight must be positive, --clients at least 2")
    return options


def main(words: list[str]) -> None:
    options = options_of(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    peers = prepare([peer for peer in PEERS if peer.name in options.peers])
    folder = Path(tempfile.mkdtemp(prefix="nova0-bench-"))
    bench = Bench(options, peers, folder)
    try:
        bench.run()
    except KeyboardInterrupt:
        raise SystemExit("bench: stopped; everything that was started has ended") from None
    except RuntimeError as error:
        raise SystemExit(f"bench: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        medians = {name: {key: statistics.median(v) for key, v in found.items()} for name, found in bench.found.items()}
        print(json.dumps({"medians": medians, "goals": bench.verdicts(), "troubles": bench.troubles}, indent=2))
    else:
        print("\n".join([*bench.table(), "", *bench.verdict_lines()]))
        for who, what in bench.troubles.items():
            print(f"{who}: {what}")
    whole = len(peers) == len(PEERS) and set(options.workloads) == set(WORKLOADS) and options.runs >= 3
    if whole and not options.no_write:
        write(bench)


if __name__ == "__main__":
    main(sys.argv[1:])
