"""Bytes between two processes on loopback: a stream and a file of the mesh beside plain pyzmq, all with CURVE.

    scripts/bench streams                    three alternating rounds of 256 MiB each (about a minute)
    scripts/bench streams --runs 5 --mib 512

Plain pyzmq is a blocking DEALER that sends messages of 256 KiB to a ROUTER and waits for nothing. A file is hashed
before the clock runs, as it would be by its first fetch; fetching hashes, writes and flushes it. Ratios are to plain
pyzmq in the same round; on a busy machine the processor time of both ends together says more. Calls are timed with
nothing else under way, and beside a stream at full speed. A run of three rounds or more of 256 MiB or more is written
to SPECIFICATION.md. The machine should have nothing else to do.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import os  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
import zmq  # noqa: E402
from gevent.event import Event  # noqa: E402
from specification import measured, write_block  # noqa: E402

from nova0.mesh.identity import create_cluster  # noqa: E402
from nova0.mesh.joining import join, mint_token  # noqa: E402
from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402
from nova0.mesh.streams.files import FileOffer, Files  # noqa: E402
from nova0.mesh.streams.tickets import Ticket  # noqa: E402
from nova0.mesh.surface import LONG, MEMBER, Surface, call  # noqa: E402

MIB = 1 << 20
PIECE = 256 << 10
GOALS = {"stream": 0.7}  # of plain pyzmq's speed
WRITTEN = 3, 256  # rounds and MiB; a shorter look is not written


class BytesAPI(Surface):
    topic = "bytes"
    served_by = MEMBER

    @call(allow=MEMBER, repeatable=True)
    def source(self, mib: int, peer: str) -> Ticket: ...

    @call(allow=MEMBER, repeatable=True, timeout=LONG)
    def pull(self, ticket: Ticket) -> float: ...

    @call(allow=MEMBER, repeatable=True, timeout=LONG)
    def offer(self, path: str, peer: str) -> FileOffer: ...

    @call(allow=MEMBER, repeatable=True, timeout=LONG)
    def fetch(self, path: str, offer: FileOffer) -> float: ...

    @call(allow=MEMBER, repeatable=True)
    def echo(self, text: str) -> str: ...


class Bytes(BytesAPI):
    """`pull` and `fetch` say how many seconds it took."""

    def __init__(self, bus: Node) -> None:
        self.bus, self.files = bus, Files(bus)

    def source(self, mib: int, peer: str) -> Ticket:
        def write(stream):
            piece = bytes(MIB)
            for _ in range(mib):
                stream.send(piece)

        return self.bus.offer_stream("bench", write, peer=peer)

    def pull(self, ticket: Ticket) -> float:
        started = time.monotonic()
        with self.bus.open_stream(ticket) as stream:
            while stream.recv_view():
                pass
        return time.monotonic() - started

    def offer(self, path: str, peer: str) -> FileOffer:
        return self.files.offer(Path(path), peer=peer)

    def fetch(self, path: str, offer: FileOffer) -> float:
        started = time.monotonic()
        self.files.fetch(Path(path), offer.size, offer.digest, {"it": lambda: offer.ticket})
        return time.monotonic() - started

    def echo(self, text: str) -> str:
        return text


def settings(folder: str, host: str, role: str = "host") -> MeshSettings:
    state = str(Path(folder) / host)
    return MeshSettings(state_dir=state, host=host, process=role, roles=(role,), listen="127.0.0.1", mdns=False)


def node(folder: str, host: str) -> None:
    """A process of its own: serves until it is ended."""
    made = Node(settings(folder, host))
    made.offer(Bytes(made))
    made.start()
    print("ready", flush=True)
    Event().wait()


def raw_receiver(secret: str, count: str) -> None:
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.curve_server, socket.curve_secretkey = 1, secret.encode()
    print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
    started, used = None, time.process_time()
    for _ in range(int(count)):
        socket.recv()
        socket.recv(copy=False)
        started = started or time.monotonic()
    print(time.monotonic() - (started or time.monotonic()), time.process_time() - used, sep="\n", flush=True)


def raw_sender(public: str, port: str, count: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    mine, secret = zmq.curve_keypair()
    socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = public.encode(), mine, secret
    socket.sndhwm = 16
    socket.connect(f"tcp://127.0.0.1:{port}")
    piece, used = bytes(PIECE), time.process_time()
    for _ in range(int(count)):
        socket.send(piece)
    socket.close(60_000)
    socket.context.term()
    print(time.process_time() - used, flush=True)


def part(*words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, "--part", *words], stdout=subprocess.PIPE, text=True)


def raw(mib: int) -> tuple[float, float]:
    public, secret = zmq.curve_keypair()
    count = str(mib * MIB // PIECE)
    receiver = part("raw_receiver", secret.decode(), count)
    sender = part("raw_sender", public.decode(), receiver.stdout.readline().strip(), count)
    seconds = float(receiver.stdout.readline())
    used = sum(float(process.stdout.readline()) for process in (receiver, sender))
    for process in (receiver, sender):
        process.wait()
        process.stdout.close()
    return seconds, used


def processor_s(processes: list[subprocess.Popen]) -> float:
    """What they have used so far."""
    fields = [Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def timed_calls(api: BytesAPI, go_on) -> list[float]:
    took = []
    while go_on(len(took)):
        started = time.perf_counter()
        api.echo("x")
        took.append((time.perf_counter() - started) * 1e6)
    return took


def percentiles(took: list[float]) -> str:
    took = sorted(took)
    return f"{statistics.median(took):.0f} µs median, {took[len(took) * 99 // 100]:.0f} µs p99, {len(took)} calls"


def table(options: argparse.Namespace, rows: dict[str, list[tuple[float, float]]]) -> list[str]:
    """Medians of the rounds; each a row of (seconds, seconds of processor)."""
    lines = ["| | MB/s | times plain pyzmq | ms of processor a MiB | goal | |", "|---|---|---|---|---|---|"]
    for name, took in rows.items():
        pairs = list(zip(rows["plain pyzmq"], took, strict=True))
        ratio = statistics.median(base[0] / mine[0] for base, mine in pairs)
        rate = statistics.median(options.mib * MIB / 1e6 / seconds for seconds, _ in took)
        used = statistics.median(seconds * 1e3 / options.mib for _, seconds in took)
        goal = GOALS.get(name)
        verdict = f"≥ {goal} | {'met' if ratio >= goal else 'missed'}" if goal else "|"
        lines.append(f"| {name} | {rate:.0f} | {ratio:.2f} | {used:.2f} | {verdict} |")
    return lines


def measure(options: argparse.Namespace, folder: str) -> None:
    main = settings(folder, "lab0", "controller")
    create_cluster(main.state_dir, "lab0")
    controller = Node(main)
    controller.start()
    processes = []
    try:
        for host in ("lab1", "lab2"):
            join(settings(folder, host), mint_token(main))
            processes.append(part("node", folder, host))
            processes[-1].stdout.readline()
        one, two = (controller.stub(BytesAPI, host) for host in ("lab1", "lab2"))
        while not all(any(m.host == h and m.status == "up" for m in controller.members()) for h in ("lab1", "lab2")):
            gevent.sleep(0.05)
        theirs, path = Path(folder) / "theirs", Path(folder) / "mine"
        with open(theirs, "wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(MIB))
        one.offer(str(theirs), "lab2")
        rows: dict[str, list[tuple[float, float]]] = {"plain pyzmq": [], "stream": [], "file": []}

        def both(action: Callable[[], float]) -> tuple[float, float]:
            before = processor_s(processes)
            return action(), processor_s(processes) - before

        quiet: list[float] = []
        beside: list[float] = []
        for _ in range(options.runs):
            rows["plain pyzmq"].append(raw(options.mib))
            rows["stream"].append(both(lambda: two.pull(one.source(options.mib, "lab2"))))
            rows["file"].append(both(lambda: two.fetch(str(path), one.offer(str(theirs), "lab2"))))
            path.unlink()
            quiet += timed_calls(one, lambda made: made < 500)
            pulling = gevent.spawn(two.pull, one.source(options.mib, "lab2"))
            beside += timed_calls(one, lambda made, pulling=pulling: not pulling.ready())
        lines = table(options, rows)
        lines += [
            "",
            f"Calls with nothing else under way: {percentiles(quiet)}; to the node that sends, beside a stream at",
        ]
        lines += [f"full speed: {percentiles(beside)}."]
        print("\n".join(lines))
        if not options.no_write and (options.runs, options.mib) >= WRITTEN and options.mib >= WRITTEN[1]:
            machine = (
                f"{measured(f'libzmq {zmq.zmq_version()}')}: medians of {options.runs} rounds of {options.mib} MiB."
            )
            write_block("bench streams", "\n".join([machine, "", *lines]))
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
        controller.stop()


def main(words: list[str]) -> None:
    if words[:1] == ["--part"]:
        {"node": node, "raw_receiver": raw_receiver, "raw_sender": raw_sender}[words[1]](*words[2:])
        return
    parser = argparse.ArgumentParser(
        prog="scripts/bench streams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="alternating rounds; medians are shown (3)")
    parser.add_argument("--mib", type=int, default=256, help="MiB moved each time (256)")
    parser.add_argument("--no-write", action="store_true", help="leave SPECIFICATION.md alone")
    parser.add_argument("--folder", help="where files lie; default: memory (/dev/shm), so that no disk is measured")
    options = parser.parse_args(words)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
    with tempfile.TemporaryDirectory(dir=options.folder or memory) as folder:
        measure(options, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
