"""Three hosts that found each other by themselves, six servers over them, and what a dead host does to the rest.

Everything through the command line a person uses, in network namespaces on one switch, each with its own libvirtd.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.vm.hosts import Host, Switch

pytestmark = [pytest.mark.root, pytest.mark.slow]
NOVA0 = Path(sys.executable).parent / "nova0"
SERVERS = [f"s{n}" for n in range(1, 7)]


def until(true, timeout_s: float, what: str):
    timeout_s *= 3  # named is what an idle machine needs with room to spare; a busy one is no fault
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)
    return value


def started(pid: int) -> float:
    """Wall clock of a process's start, from its ticks since the machine's."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19])
    boot = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def logged_at(line: str) -> float:
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S.%f").timestamp()


class Lab:
    """`lab1` is the controller and a host, `lab2` and `lab3` joined it."""

    def __init__(self, switch: Switch, cache: Path, image: Path) -> None:
        self.hosts: dict[str, Host] = {}
        for _ in range(3):
            host = switch.host(cache)
            self.hosts[host.name] = host
        self.first = self.hosts["lab1"]
        place = self.first.state_dir / "build" / "tiny"
        place.mkdir(parents=True)
        for path in image.glob("tiny.*"):
            shutil.copy(path, place)

    def start(self) -> None:
        said = self.nova0("lab1", "up", "--daemon", "--host", "lab1", timeout_s=120)
        token = re.search(r"nova0 join - <<< (\S+)", said).group(1)
        self.nova0("lab2", "join", "-", "--daemon", "--host", "lab2", said=token)
        token = self.nova0("lab1", "token").split()[-1]
        self.nova0("lab3", "join", "-", "--daemon", "--host", "lab3", said=token)

    def environment(self, name: str) -> dict[str, str]:
        host = self.hosts[name]
        return {
            **os.environ,
            "HOME": str(host.state_dir),
            "NOVA0_STATE_PATH": str(host.state_dir),
            "NOVA0_MY_IP": host.address,
            "NOVA0_LIBVIRT__CONNECTION_URI": "own",
            "NOVA0_LIBVIRT__VIRT_TYPE": "qemu",
        }

    def nova0(self, name: str, *words: str, check: bool = True, timeout_s: float = 60, said: str = "") -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self.hosts[name].namespace, str(NOVA0), *words],
            env=self.environment(name),
            input=said,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert not check or done.returncode == 0, f"{name}: nova0 {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def agents(self, name: str) -> dict[str, str]:
        """node -> status, as seen from one host."""
        return {row["node"]: row["status"] for row in json.loads(self.nova0(name, "agents", "--json"))}

    def servers(self) -> dict[str, dict]:
        return {row["name"]: row for row in json.loads(self.nova0("lab1", "ps", "--json"))}

    def pings(self, server: str, address: str) -> bool:
        """The guest `server` reaches `address`; asked through ssh, and so through its host."""
        said = self.nova0("lab1", "ssh", server, f"ping -c 1 -W 2 {address}", check=False, timeout_s=30)
        return "1 packets received" in said or " 0% packet loss" in said

    def pid(self, name: str, bundle: str = "host") -> int:
        return json.loads((self.hosts[name].state_dir / "run" / f"{bundle}.json").read_text())["pid"]

    def lock_holder(self, name: str, what: str) -> int:
        return int((self.hosts[name].state_dir / "run" / f"{what}.lock").read_text())

    def kill_agents(self, name: str) -> None:
        """The supervisor first, so that it starts nothing again."""
        for bundle in ("up", "host"):
            os.kill(self.lock_holder(name, bundle), signal.SIGKILL)


@pytest.fixture(scope="module")
def lab(switch: Switch, capability_cache: Path, tiny_image) -> Iterator[Lab]:
    made = Lab(switch, capability_cache, tiny_image.manifest.parent)
    try:
        made.start()
        yield made
    finally:
        for name in made.hosts:
            for path in (made.hosts[name].state_dir / "log").glob("*.log"):
                print(f"== {name} {path.name}\n{path.read_text()[-1500:]}")
            words = ("destroy", "--force") if name == "lab1" else ("leave", "--without-controller")
            made.nova0(name, *words, "--purge", "--yes", check=False, timeout_s=150)


@pytest.mark.covers("S025", "S027", "S028")
def test_all_see_each_other_soon_after_the_last_start(lab: Lab) -> None:
    nodes = {"lab1/controller", "lab1/host", "lab2/host", "lab3/host"}
    for name in lab.hosts:
        until(lambda name=name: {n for n, s in lab.agents(name).items() if s == "up"} == nodes, 10, f"{name} sees all")
    began = started(lab.pid("lab3"))
    seen = {}
    for name in lab.hosts:
        for bundle in ("controller", "host"):
            path = lab.hosts[name].state_dir / "log" / f"{bundle}.log"
            for line in path.read_text().splitlines() if path.exists() else []:
                if line.endswith(" is up") and (name == "lab3" or "lab3/host is up" in line):
                    seen[f"{name}/{bundle}: {line.rpartition(': ')[2]}"] = logged_at(line) - began
    assert len(seen) == 6, seen
    print(f"\nall four nodes knew each other {max(seen.values()):.2f} s after the last process was started")
    assert max(seen.values()) < 3


@pytest.mark.covers("S003", "S005", "S160", "S240", "S237", "S270", "S276", "S369", "S371", "S372")
def test_six_servers_spread_over_them_and_answer(lab: Lab) -> None:
    for name in SERVERS:
        lab.nova0("lab1", "launch", "tiny", name, "--no-wait")
    until(lambda: all(s["status"] != "BUILD" for s in lab.servers().values()), 90, "all are built")
    servers = lab.servers()
    assert {s["status"] for s in servers.values()} == {"ACTIVE"}, servers
    places = [s["host"] for s in servers.values()]
    assert sorted(places.count(name) for name in lab.hosts) == [2, 2, 2]
    for name in SERVERS:
        until(lambda name=name: "ready:" in lab.nova0("lab1", "log", name), 60, f"{name} is ready")


@pytest.mark.covers("S003", "S179", "S303", "S379")
def test_guests_on_different_hosts_ping_each_other(lab: Lab) -> None:
    servers = lab.servers()
    by_host = {host: [s for s in servers.values() if s["host"] == host] for host in lab.hosts}
    for here, there in (("lab1", "lab2"), ("lab2", "lab3"), ("lab3", "lab1")):
        target = by_host[there][0]["addresses"][0]
        until(lambda h=here, t=target: lab.pings(by_host[h][0]["name"], t), 20, f"{here} reaches {there}")


@pytest.mark.covers("S002", "S045", "S046")
def test_agents_killed_are_down_within_five_seconds_and_adopt_their_guests_again(lab: Lab) -> None:
    servers = lab.servers()
    theirs = [s for s in servers.values() if s["host"] == "lab2"]
    other = next(s for s in servers.values() if s["host"] == "lab3")
    lab.kill_agents("lab2")
    at = time.monotonic()
    until(lambda: lab.agents("lab1")["lab2/host"] == "down", 10, "lab2 is down")
    took = time.monotonic() - at
    print(f"\nkill -9: down after {took:.1f} s")
    assert took < 15  # about 2 to 4 on an idle machine: the benchmark holds that
    shown = lab.servers()
    assert {shown[s["name"]]["status"] for s in theirs} == {"ACTIVE"}, "the status stays"
    assert {shown[s["name"]]["host_state"] for s in theirs} == {"down"}
    assert lab.pings(other["name"], theirs[0]["addresses"][0]), "guests run on"
    lab.nova0("lab2", "up", "--daemon")
    until(lambda: lab.agents("lab1")["lab2/host"] == "up", 10, "lab2 is back")
    until(lambda: lab.servers()[theirs[0]["name"]]["host_state"] == "up", 10, "its servers show it")
    assert "Linux" in lab.nova0("lab1", "ssh", theirs[0]["name"], "uname")
    up_s = float(lab.nova0("lab1", "ssh", theirs[0]["name"], "cat /proc/uptime").split()[0])
    assert up_s > time.monotonic() - at, "the same guest, not a new one"


@pytest.mark.covers("S046")
def test_a_host_cut_off_is_down_within_five_seconds_and_the_others_are_unharmed(lab: Lab) -> None:
    servers = lab.servers()
    one, other = (next(s for s in servers.values() if s["host"] == host) for host in ("lab1", "lab2"))
    port = f"p{lab.hosts['lab3'].number}"
    switch = lab.hosts["lab3"].namespace.rsplit("-", 1)[0] + "-sw"
    subprocess.run(["ip", "-n", switch, "link", "set", port, "down"], check=True)
    at = time.monotonic()
    until(lambda: lab.agents("lab1")["lab3/host"] == "down", 10, "lab3 is down")
    took = time.monotonic() - at
    print(f"\ncut off: down after {took:.1f} s")
    assert took < 15  # about 2 to 4 on an idle machine: the benchmark holds that
    until(lambda: lab.agents("lab2")["lab3/host"] == "down", 5, "lab2 says so too")
    assert lab.pings(one["name"], other["addresses"][0])
    subprocess.run(["ip", "-n", switch, "link", "set", port, "up"], check=True)
    until(lambda: lab.agents("lab1")["lab3/host"] == "up", 15, "lab3 is back")


@pytest.mark.covers("S211")
def test_a_wrong_token_gets_nowhere_and_leaves_one_line(lab: Lab, switch: Switch, capability_cache: Path) -> None:
    token = lab.nova0("lab1", "token").split()[-1]
    stranger = switch.host(capability_cache)
    lab.hosts["lab4"] = stranger
    log = lab.first.state_dir / "log" / "controller.log"
    before = log.read_text().count(stranger.address)
    try:
        import msgspec

        from nova0.mesh.tokens import parse

        wrong = msgspec.structs.replace(parse(token), secret=b"x" * 24).text()
        for _ in range(5):
            done = subprocess.run(
                ["ip", "netns", "exec", stranger.namespace, str(NOVA0), "join", "-", "--host", "lab4"],
                input=wrong,
                env=lab.environment("lab4"),
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 1 and "token" in done.stderr, done.stderr
        program = (
            "import zmq,sys\n"
            "s=zmq.Context().socket(zmq.DEALER); s.linger=0; s.rcvtimeo=1500\n"
            f"s.connect('tcp://{lab.first.address}:7740'); s.send(b'hello')\n"
            "try: s.recv(); sys.exit('answered')\n"
            "except zmq.Again: pass\n"
        )
        for _ in range(3):
            stranger.run(sys.executable, "-c", program)
        lines = log.read_text().count(stranger.address) - before
        assert 1 <= lines <= 3, f"{lines} lines for eight attempts"
        assert "lab4/host" not in lab.agents("lab1")
    finally:
        del lab.hosts["lab4"]


@pytest.mark.covers("S025", "S078")
def test_with_the_controller_gone_hosts_see_and_reach_each_other_and_guests_their_metadata(lab: Lab) -> None:
    guest = next(s for s in lab.servers().values() if s["host"] == "lab2")
    os.kill(lab.lock_holder("lab1", "up"), signal.SIGKILL)
    os.kill(lab.lock_holder("lab1", "controller"), signal.SIGKILL)
    try:
        until(lambda: lab.agents("lab2").get("lab1/controller") == "down", 10, "the controller is down")
        seen = lab.agents("lab2")
        assert (seen["lab2/host"], seen["lab3/host"]) == ("up", "up")
        answered = json.loads(lab.nova0("lab2", "ping", "lab3", "--json"))
        assert any(row["node"] == "lab3/host" and row["ms"] is not None for row in answered), answered
        key = next((lab.first.state_dir / ".ssh").glob("nova0_ed25519"))
        ask = r"printf 'GET /openstack/latest/meta_data.json HTTP/1.0\r\n\r\n' | nc -w 3 169.254.169.254 80"
        network_id = next((lab.hosts["lab2"].state_dir / "networks").glob("*/dnsmasq.pid")).parent.name
        said = lab.hosts["lab2"].within(
            network_id,
            *("ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "BatchMode=yes", f"root@{guest['addresses'][0]}", ask),
        )
        assert guest["id"] in said
    finally:
        lab.nova0("lab1", "up", "--daemon", timeout_s=120)
    until(lambda: lab.agents("lab2")["lab1/controller"] == "up", 15, "the controller is back")
    assert lab.servers()[guest["name"]]["status"] == "ACTIVE"
