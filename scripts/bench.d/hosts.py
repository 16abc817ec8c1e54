#!/usr/bin/env python3
"""Choosing hosts in a large cloud: one whole controller, simulated hosts that beat and report, boots over HTTP.

    scripts/bench hosts                                         10,000 hosts, 50 boots a second for a minute
    scripts/bench hosts --hosts 300 --rate 20 --seconds 10      in half a minute

The controller is whole: API, conductor, store, scheduler, mesh. Hosts are simulated, many in a process, each with the
sockets and certificate of a real one (bench.d/scale.py): it beats once a second, reports its resources and lets its
guests be compared as the real agents do, answers at once, and keeps its own book. One boot in ten asks for a trait
that one host in a hundred has, so that some have no room. Judged: no host holds more than it has, by the store and
by the hosts' own books, which agree; what the scheduler reads is not older than 2 s. As root (for descriptors).

Writes its block of SPECIFICATION.md when run without options. Exit status 1: something was not as it must be.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import sqlite3  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import requests  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from gevent.pool import Pool  # noqa: E402

HERE = Path(__file__).resolve().parent
from scale_parts import phases  # noqa: E402
from scale_parts.processes import TICK, Whole, cpu_s, own_kib, say, split, until  # noqa: E402
from specification import measured, write_block  # noqa: E402

HOSTS, RATE, SECONDS = 10_000, 50, 60
PER_PROCESS = 1000
JOINING = 100  # hosts switched on a second, in all
PERIOD_S = 60.0  # between a host's reports, as agents/compute.py has it
RARE_EVERY = 10  # boots
STALE_S = 2.0  # the goal
CLIENTS, WARM_UP = 64, 10
SPARE = 3500  # descriptors of the controller that are not for connections of hosts to it
PARTS = (  # of the controller's Python, by the innermost of these that stands in a sampled stack
    ("scheduler", ("nova0/controller/scheduler/",)),
    ("store", ("nova0/controller/db/", "peewee.py", "nova0/native.py")),
    ("API", ("nova0/controller/api/", "nova0/controller/identity/", "gevent/pywsgi")),
    ("conductor", ("nova0/controller/conductor/", "nova0/controller/", "nova0/agents/", "agents/")),
    ("mesh", ("nova0/mesh/", "zmq/")),
    ("gevent", ("gevent/",)),
)


class Controller(Whole):
    """The watched controller; its notes are asked for by signals."""

    @property
    def notes(self) -> Path:
        return self.folder / "notes.json"

    def words(self) -> list[str]:
        return [sys.executable, str(HERE / "hosts_peers/watched_controller.py"), self.settings.host, str(self.notes)]

    def forget(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def noted(self) -> dict[str, Any]:
        self.notes.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR2)
        until(self.notes.exists, 60, "the controller's notes")
        found: dict[str, Any] = json.loads(self.notes.read_text())
        return found


class Cluster(phases.Bench):
    whole = Controller


class HostProcess:
    """One process of simulated hosts: the counts it tells, and its hosts' books when asked."""

    def __init__(self, folder: Path, first: int, last: int, full: int, pause_s: float) -> None:
        self.counts: dict[str, Any] = {}
        self.books: dict[str, Any] | None = None
        with open(folder / f"world{first}.log", "a") as errors:
            words = [str(folder), str(first), str(last), str(PERIOD_S), str(full), str(pause_s)]
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "hosts_peers/host_world.py"), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in FileObject(self.process.stdout, "r", close=False):
            told = json.loads(line)
            if "books" in told:
                self.books = told["books"]
            else:
                self.counts = told

    def ask_for_books(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"books\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.kill()


class Client:
    """A user of the API, and its administrator before the load."""

    def __init__(self, state: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.mount(self.url, requests.adapters.HTTPAdapter(pool_maxsize=CLIENTS))
        user = {
            "name": "admin",
            "domain": {"id": "default"},
            "password": (state / "secrets/admin.password").read_text().strip(),
        }
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        answer = self._ask("post", "/identity/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.session.headers["X-OpenStack-Nova-API-Version"] = "2.37"
        project = answer.json()["token"]["project"]["id"]
        unlimited = {"instances": -1, "cores": -1, "ram": -1}
        self._ask("put", f"/v2.1/os-quota-sets/{project}", {"quota_set": unlimited})
        image = {"name": "none", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        self.image = self._ask("post", "/image/v2/images", image).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        sent = self.session.put(f"{self.url}/image/v2/images/{self.image}/file", data=b"\0" * 512, headers=octets)
        sent.raise_for_status()
        self.flavors = [self._flavor("plain", 1024, {}), self._flavor("rare", 2048, {"trait:CUSTOM_RARE": "required"})]

    def _flavor(self, name: str, memory_mb: int, specs: dict[str, str]) -> str:
        made = {"name": name, "vcpus": 1, "ram": memory_mb, "disk": 1}
        flavor = str(self._ask("post", "/v2.1/flavors", {"flavor": made}).json()["flavor"]["id"])
        if specs:
            self._ask("post", f"/v2.1/flavors/{flavor}/os-extra_specs", {"extra_specs": specs})
        return flavor

    def boot(self, number: int) -> None:
        flavor = self.flavors[number % RARE_EVERY == 0]
        server = {"name": f"s{number}", "imageRef": self.image, "flavorRef": flavor, "networks": "none"}
        self._ask("post", "/v2.1/servers", {"server": server})

    def _ask(self, verb: str, path: str, body: Any) -> requests.Response:
        answer = self.session.request(verb, self.url + path, json=body, timeout=120)
        if answer.status_code >= 300:
            raise SystemExit(f"{verb} {path}: {answer.status_code} {answer.text[:300]}")
        return answer


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.figures: dict[str, Any] = {"hosts": options.hosts, "rate": options.rate, "seconds": options.seconds}
        self.missed: list[str] = []
        self.processes: list[HostProcess] = []
        self.cluster = Cluster(argparse.Namespace(controller="nova0", keep=options.keep), options.hosts)
        self.folder = self.cluster.folder
        self.state = self.folder / phases.CONTROLLER

    def run(self) -> None:
        options, figures = self.options, self.figures
        self.cluster.found()
        controller = self.controller = self.cluster.eyes[phases.CONTROLLER]
        assert isinstance(controller, Controller)
        controller.start()
        client = Client(self.state, controller.api_port)
        empty = own_kib(controller.pid)
        began, burnt = time.monotonic(), cpu_s(controller.pid)
        full = figures["full_hosts"] = with_all_connections(options.hosts)
        if full < options.hosts:
            say(
                f"a process may open {descriptors()} files here: {full} hosts have all connections of a real one, "
                f"{options.hosts - full} only the link, over which they beat, too"
            )
        pause_s = -(-options.hosts // PER_PROCESS) / JOINING
        for first in range(0, options.hosts, PER_PROCESS):
            last = min(options.hosts, first + PER_PROCESS)
            self.processes.append(HostProcess(self.folder, first, last, full, pause_s))
        until(self.all_there, 120 + options.hosts * 0.1, lambda: f"all hosts are there: {self.counts()}")
        figures["joined_s"] = time.monotonic() - began
        say(
            f"{options.hosts} hosts are up and reported after {figures['joined_s']:.0f} s, "
            f"{(cpu_s(controller.pid) - burnt) / options.hosts * 1000:.1f} ms of the controller's CPU each"
        )
        self.settle()
        figures["idle_cores"] = self.load(controller.pid, min(10, options.seconds))["all"]
        say(f"controller with nothing to boot: {figures['idle_cores'] * 100:.0f} % of a core")
        self.boots(client, WARM_UP, 1)  # what was said before any choice was seen by none
        self.until_done()
        controller.forget()
        profile = self.profile(controller.pid)
        before = self.counts()
        began, burnt = time.monotonic(), threads_of(controller.pid)
        figures["posted_late_s"] = self.boots(client, options.rate, options.seconds)
        self.until_done()
        took = time.monotonic() - began
        ended = threads_of(controller.pid)
        cores = {at: (name, (s - burnt.get(at, ("", 0.0))[1]) / took) for at, (name, s) in ended.items()}
        figures["cores"], figures["took_s"] = sum(share for _, share in cores.values()), took
        if profile is not None:
            profile.send_signal(signal.SIGINT)
            profile.wait(60)
        figures["parts"] = parts(self.folder / "profile.raw", cores)
        figures["memory_mib"] = own_kib(controller.pid) / 1024
        figures["memory_kib_a_host"] = (own_kib(controller.pid) - empty) / options.hosts
        figures["descriptors"] = len(os.listdir(f"/proc/{controller.pid}/fd"))
        noted = controller.noted()
        asked = {what: number - before.get(what, 0) for what, number in self.counts().items()}
        failed = {what: number for what, number in asked.items() if "failed" in what or "cut" in what or "not" in what}
        figures["hosts_failed"] = failed
        self.staleness(noted)
        self.books()
        self.times()
        if failed:
            say(f"calls of hosts that failed, links cut: {failed}")

    def all_there(self) -> bool:
        for process in self.processes:
            if process.process.poll() is not None:
                raise SystemExit(f"a process of simulated hosts ended: see {self.folder}/world*.log")
        return self.told("adopted") == self.options.hosts

    def counts(self) -> Counter[str]:
        whole: Counter[str] = Counter()
        for process in self.processes:
            whole.update({k: v for k, v in process.counts.items() if k != "clock"})
        return whole

    def told(self, what: str) -> int:
        return self.counts()[what]

    def settle(self) -> None:
        """Until the controller's work after the hosts' arrival has ended."""
        last, alike = -1.0, 0
        for _ in range(30):
            now = self.load(self.controller.pid, 1)["all"]
            alike = alike + 1 if abs(now - last) < 0.1 else 0
            last = now
            if alike == 2:
                return

    def load(self, pid: int, seconds: float) -> dict[str, float]:
        before, began = split(pid), time.monotonic()
        gevent.sleep(seconds)
        took = time.monotonic() - began
        shares = {name: (s - before.get(name, 0.0)) / took for name, s in split(pid).items()}
        return {**shares, "all": sum(shares.values())}

    def boots(self, client: Client, rate: int, seconds: int) -> float:
        """Posted by the clock, whatever becomes of those before. Seconds that one was late at most."""
        pool, late, began = Pool(CLIENTS), 0.0, time.monotonic()
        for number in range(rate * seconds):
            due = began + number / rate
            gevent.sleep(max(0.0, due - time.monotonic()))
            pool.spawn(client.boot, number)  # waits where too many are on their way
            late = max(late, time.monotonic() - due)
        pool.join()
        return late

    def until_done(self) -> None:
        def left() -> int:
            return int(self.rows("SELECT count(*) FROM instance WHERE task_state IS NOT NULL")[0][0])

        most = 120 + self.options.seconds * 4
        began = time.monotonic()
        while left():
            if time.monotonic() - began > most:
                say(f"{left()} boots have not ended {most} s after the last was asked for: judged as it stands")
                return
            gevent.sleep(0.25)

    def rows(self, query: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.state}/store.sqlite?mode=ro", uri=True) as store:
            return store.execute(query).fetchall()

    def profile(self, pid: int) -> subprocess.Popen[bytes] | None:
        """py-spy beside it, where it is installed; without it there are the threads alone."""
        spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        if spy is None or self.options.no_profile:
            say("no py-spy (pip install py-spy): the split is by thread only")
            return None
        words = [spy, "record", "-p", str(pid), "-f", "raw", "-r", "50", "--nonblocking", "-t", "-d", "3600"]
        with open(self.folder / "py-spy.log", "w") as log:
            return subprocess.Popen([*words, "-o", str(self.folder / "profile.raw")], stdout=log, stderr=log)

    # judged

    def staleness(self, noted: dict[str, Any]) -> None:
        lags, ages = noted["report_lags"], noted["life_ages"]
        self.figures |= {"reads": noted["reads"], "reports_seen": len(lags)}
        for name, values in (("report_lag_s", lags), ("life_age_s", ages)):
            if values:
                self.figures[name] = {"p50": at(values, 0.5), "p99": at(values, 0.99), "max": max(values)}
        self.judge(
            "from a host's report to a choice that sees it",
            f"p50 {at(lags, 0.5):.3f} s, p99 {at(lags, 0.99):.3f} s, most {max(lags, default=0):.3f} s of {len(lags)}",
            bool(lags) and max(lags) < STALE_S,
        )
        self.judge(
            "oldest sign of life of a host taken for alive",
            f"p50 {at(ages, 0.5):.3f} s, p99 {at(ages, 0.99):.3f} s, most {max(ages, default=0):.3f} s",
            bool(ages) and max(ages) < STALE_S,
        )

    def books(self) -> None:
        """By the store and by what the hosts hold themselves."""
        for process in self.processes:
            process.ask_for_books()
        until(lambda: all(process.books is not None for process in self.processes), 60, "the hosts' own books")
        own = {host: book for process in self.processes for host, book in (process.books or {}).items()}
        claimed: dict[str, set[str]] = {}
        sums: Counter[str] = Counter()
        for host, server, memory_mb in self.rows("SELECT host, instance_uuid, memory_mb FROM claim"):
            claimed.setdefault(host, set()).add(server)
            sums[host] += memory_mb
        over = self.rows(
            "SELECT host FROM host WHERE vcpus_used > vcpus OR memory_mb_used > memory_mb OR disk_gb_used > disk_gb"
        )
        room = {
            host: (memory_mb, used)
            for host, memory_mb, used in self.rows("SELECT host, memory_mb, memory_mb_used FROM host")
        }
        wrong = [host for host, (_, used) in room.items() if used != sums[host]]
        self.judge("hosts overbooked, by the store", f"{len(over)} of {len(room)}", not over and not wrong)
        crowded = [host for host, (most_mb, _) in own.items() if most_mb > room[host][0]]
        held = {host: set(servers) for host, (_, servers) in own.items()}
        apart = [host for host in {*held, *claimed} if held.get(host) != claimed.get(host)]
        books = f"the two books differ on {len(apart)}: {apart[:5]}" if apart else "both books agree"
        self.judge(
            "hosts overbooked, by their own books at any time",
            f"{len(crowded)} of {len(own)} that have servers; {books}",
            not crowded and not apart,
        )
        states = dict(self.rows("SELECT vm_state, count(*) FROM instance GROUP BY vm_state"))
        asked = self.options.rate * self.options.seconds + WARM_UP
        refused = self.rows("SELECT count(*) FROM instance_fault WHERE message LIKE 'No valid host%'")[0][0]
        rare_room = self.rows(
            "SELECT count(*) FROM host WHERE state LIKE '%CUSTOM_RARE%' AND memory_mb - memory_mb_used >= 2048"
        )[0][0]
        self.figures |= {"active": states.get("active", 0), "refused": refused}
        self.judge(
            "boots",
            f"{asked} asked for, {states.get('active', 0)} active, {refused} had no room"
            + (f" (and {rare_room} hosts have)" if refused and rare_room else ""),
            states.get("active", 0) + refused == asked and not (refused and rare_room),
        )
        spread = Counter(len(servers) for servers in claimed.values())
        self.figures["spread"] = {"none": len(room) - len(claimed), **{str(n): spread[n] for n in sorted(spread)}}

    def times(self) -> None:
        took = [row[0] for row in self.rows("SELECT launched_at - created_at FROM instance WHERE vm_state = 'active'")]
        first, last, number = self.rows("SELECT min(created_at), max(launched_at), count(*) FROM instance")[0]
        figures = self.figures
        figures["active_after_s"] = {"p50": at(took, 0.5), "p99": at(took, 0.99), "max": max(took, default=0.0)}
        figures["boots_a_second"] = number / max(0.001, (last or first) - first)
        say(
            f"boots: {figures['boots_a_second']:.1f} a second from the first request to the last ACTIVE; active after "
            f"p50 {at(took, 0.5):.2f} s, p99 {at(took, 0.99):.2f} s; clients were {figures['posted_late_s']:.2f} s late"
        )
        say(f"servers on a host -> hosts: {figures['spread']}; store read {figures['reads']} times for the hosts")
        say(
            f"controller: {figures['cores'] * 100:.0f} % of a core ({figures['idle_cores'] * 100:.0f} % before boots), "
            f"{figures['memory_mib']:.0f} MiB ({figures['memory_kib_a_host']:.0f} KiB a host), "
            f"{figures['descriptors']} descriptors"
        )
        say("of a core: " + shares(figures["parts"]))

    def judge(self, what: str, figure: str, good: bool) -> None:
        say(f"{'ok    ' if good else 'MISSED'} {what}: {figure}")
        self.figures.setdefault("judged", {})[what] = figure
        if not good:
            self.missed.append(what)

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.cluster.close()


def shown(figures: dict[str, Any]) -> str:
    """The block of SPECIFICATION.md."""
    judged = figures["judged"]

    def spread(values: dict[str, float]) -> str:
        return f"p50 {values['p50']:.2f} s, p99 {values['p99']:.2f} s, most {values['max']:.2f} s"

    cores, idle = figures["cores"] * 100, figures["idle_cores"] * 100
    full, hosts = figures["full_hosts"], figures["hosts"]
    whole = "all" if full == hosts else f"{full:,}; the others hold the link alone and beat over it: descriptors end"
    rows = {
        "boots": f"{judged['boots']}; {figures['boots_a_second']:.1f} a second to the last ACTIVE",
        "active after its request": spread(figures["active_after_s"]),
        "hosts overbooked, by the store": judged["hosts overbooked, by the store"],
        "hosts overbooked, by their own books": judged["hosts overbooked, by their own books at any time"],
        "from a host's report to a choice that sees it (goal: under 2 s)": spread(figures["report_lag_s"]),
        "oldest sign of life of a host taken for alive (goal: under 2 s)": spread(figures["life_age_s"]),
        "controller, processor": f"{cores:.0f} % of a core; {idle:.0f} % before the boots",
        "by part, of a core": shares(figures["parts"]),
        "controller, memory": f"{figures['memory_mib']:.0f} MiB; {figures['memory_kib_a_host']:.0f} KiB a host",
        "hosts with all connections of a real one": whole,
    }
    head = f"{figures['hosts']:,} hosts, {figures['rate']} boots a second for {figures['seconds']} s"
    table = "\n".join(f"| {what} | {figure} |" for what, figure in rows.items() if figure)
    return f"{measured()}, which controller, hosts and client share.\n\n| {head} | |\n|---|---|\n{table}"


def shares(of: dict[str, float]) -> str:
    return ", ".join(f"{name} {share * 100:.0f} %" for name, share in sorted(of.items(), key=lambda one: -one[1]))


def at(values: list[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def threads_of(pid: int) -> dict[int, tuple[str, float]]:
    """Thread -> (its name, seconds of processor time)."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            words = (task / "stat").read_text().rpartition(")")[2].split()
            found[int(task.name)] = (task / "comm").read_text().strip(), (int(words[11]) + int(words[12])) / TICK
        except OSError:
            continue
    return found


def parts(raw: Path, cores: dict[int, tuple[str, float]]) -> dict[str, float]:
    """Cores by part of the code: each thread's processor time, shared out by its samples (py-spy's raw stacks, the
    innermost frame last). Threads that run no Python go by their names."""
    samples: dict[int, Counter[str]] = {}
    for line in raw.read_text().splitlines() if raw.exists() else ():
        stack, _, number = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if found := re.search(r"\d+", thread):
            samples.setdefault(int(found[0]), Counter())[part(frames)] += int(number)
    whole: Counter[str] = Counter()
    for thread, (name, share) in cores.items():
        seen = samples.get(thread)
        if not seen:
            whole["libzmq" if name.startswith("ZMQ") else "other threads"] += share  # type: ignore[assignment]
            continue
        for of, number in seen.items():
            whole[of] += share * number / sum(seen.values())  # type: ignore[assignment]
    return {name: share for name, share in whole.most_common() if share >= 0.001}


def part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, marks in PARTS:
            if any(mark in frame for mark in marks):
                return name
    return "other"


def descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def with_all_connections(hosts: int) -> int:
    """How many hosts the controller has descriptors for: three connections each, one for a light one, and what
    it dials to place servers."""
    spare = descriptors() - SPARE
    if 3 * hosts <= spare:
        return hosts
    if hosts > spare:
        raise SystemExit(f"{hosts} hosts need {hosts + SPARE} descriptors, and a process has {spare + SPARE} here")
    return (spare - hosts) // 2


def raise_limits() -> None:
    with open("/proc/sys/fs/nr_open") as file:
        most = int(file.read())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError):  # without CAP_SYS_RESOURCE: what there is decides how many hosts are whole
        hard = descriptors()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--rate", type=int, default=RATE, help="boots a second")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--no-profile", action="store_true", help="without py-spy beside it")
    parser.add_argument("--keep", action="store_true", help="leave folders and logs")
    parser.add_argument("--json", action="store_true", help="all figures at the end")
    options = parser.parse_args()
    raise_limits()
    gevent.signal_handler(signal.SIGTERM, sys.exit, 1)  # what was started ends with it
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.close()
    if options.json:
        print(json.dumps(bench.figures, indent=1))
    if (options.hosts, options.rate, options.seconds) == (HOSTS, RATE, SECONDS) and not options.no_profile:
        write_block("bench hosts", shown(bench.figures))
    say("missed: " + ", ".join(bench.missed) if bench.missed else "every goal is met")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
