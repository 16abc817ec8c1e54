"""What a whole cloud costs: memory, time to the first call, boots on the fake driver, overhead over libvirt.

Writes the right-hand column of SPECIFICATION.md. As root the libvirt row is measured too (emulated where KVM
does not answer), in turns with plain `virsh create` of the same guest.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from specification import measured, read_block, write_block

ROOT = Path(__file__).resolve().parents[2]
NOVA0 = Path(sys.executable).parent / "nova0"
UPS, BOOTS, AT_ONCE, CROWD, ROUNDS = 5, 100, 8, 400, 10
POLL_S = 0.005  # a client that asks more often is what it measures


class Cloud:
    """One `nova0 up`, and a session with its API as the user demo would have it."""

    def __init__(self, folder: Path, *words: str, port: int) -> None:
        self.state, self.url = folder / "state", f"http://127.0.0.1:{port}"
        self.environment = {**os.environ, "HOME": str(folder), "NOVA0_STATE_PATH": str(self.state)}
        began = time.monotonic()
        child = subprocess.Popen(
            [str(NOVA0), "up", "--daemon", "--host", "bench", "--port", str(port), *words],
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        self.first_call_s = self._first_call(began)
        if child.wait():
            raise SystemExit(f"nova0 up failed: see {self.state}/log")
        self.session = requests.Session()
        self._log_in()
        servers = self._get("/v2.1/flavors")["flavors"]
        self.flavor = next(flavor["id"] for flavor in servers if flavor["name"] == "m1.micro")
        self.image = self._get("/image/v2/images?name=tiny")["images"][0]["id"]
        self.network = self._get("/network/v2.0/networks?name=private")["networks"][0]["id"]

    def boot(self, name: str) -> str:
        server = {
            "name": name,
            "imageRef": self.image,
            "flavorRef": self.flavor,
            "networks": [{"uuid": self.network}],
        }
        answer = self.session.post(f"{self.url}/v2.1/servers", json={"server": server})
        if answer.status_code != 202:
            raise SystemExit(f"boot: {answer.status_code} {answer.text}")
        return str(answer.json()["server"]["id"])

    def active_after(self, name: str) -> float:
        """Seconds from POST to the first answer that shows ACTIVE."""
        began = time.monotonic()
        server = self.boot(name)
        while (status := self._get(f"/v2.1/servers/{server}")["server"]["status"]) == "BUILD":
            time.sleep(POLL_S)
        took = time.monotonic() - began
        if status != "ACTIVE":
            raise SystemExit(f"boot of {name} ended {status}: see {self.state}/log")
        return took

    def crowd(self, number: int) -> float:
        """Boots per second with several clients at once, until the last is ACTIVE."""
        began = time.monotonic()
        names = iter(range(number))
        hand = threading.Lock()

        def client() -> None:
            session, self_ = requests.Session(), self
            session.headers.update(self.session.headers)
            while True:
                with hand:
                    n = next(names, None)
                if n is None:
                    return
                self_.boot(f"crowd{n}")

        threads = [threading.Thread(target=client) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while self._get("/v2.1/servers?status=BUILD&limit=1")["servers"]:
            time.sleep(0.02)
        return number / (time.monotonic() - began)

    def clear(self) -> None:
        while servers := self._get("/v2.1/servers?limit=1000")["servers"]:
            for server in servers:
                self.session.delete(f"{self.url}/v2.1/servers/{server['id']}")
            time.sleep(0.2)

    def pss_mib(self, bundle: str) -> float:
        pid = requests.compat.json.loads((self.state / "run" / f"{bundle}.json").read_text())["pid"]
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE).group(1)) / 1024

    def down(self) -> None:
        words = [str(NOVA0), "destroy", "--purge", "--force", "--yes"]
        subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=False)

    def _first_call(self, began: float) -> float:
        while time.monotonic() - began < 120:
            try:
                if requests.get(self.url, timeout=1).status_code == 200:
                    return time.monotonic() - began
            except requests.RequestException:
                time.sleep(0.005)
        raise SystemExit(f"{self.url} does not answer: see {self.state}/log")

    def _log_in(self) -> None:
        password = (self.state / "secrets" / "demo.password").read_text().strip()
        user = {"name": "demo", "domain": {"id": "default"}, "password": password}
        project = {"name": "demo", "domain": {"id": "default"}}
        body = {
            "auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
        }
        answer = requests.post(f"{self.url}/identity/v3/auth/tokens", json=body, timeout=30)
        self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.session.headers["X-OpenStack-Nova-API-Version"] = "2.37"
        admin = (self.state / "secrets" / "admin.password").read_text().strip()
        body["auth"]["identity"]["password"]["user"] = {"name": "admin", "domain": {"id": "default"}, "password": admin}
        body["auth"]["scope"]["project"]["name"] = "admin"
        token = requests.post(f"{self.url}/identity/v3/auth/tokens", json=body, timeout=30).headers["X-Subject-Token"]
        unlimited = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        mine = answer.json()["token"]["project"]["id"]
        requests.put(
            f"{self.url}/v2.1/os-quota-sets/{mine}", json=unlimited, headers={"X-Auth-Token": token}, timeout=30
        )

    def _get(self, path: str) -> Any:
        return self.session.get(self.url + path).json()


@contextmanager
def cloud(*words: str) -> Iterator[Cloud]:
    folder = Path(tempfile.mkdtemp(prefix="nova0-bench-"))
    made = None
    try:
        kept = Path(tempfile.gettempdir()) / "nova0-bench-tiny"
        if "--fake" not in words and kept.is_dir():
            shutil.copytree(kept, folder / "state" / "build" / "tiny")
        made = Cloud(folder, *words, port=18790)
        if "--fake" not in words and not kept.is_dir():
            shutil.copytree(folder / "state" / "build" / "tiny", kept)
        yield made
    finally:
        if made is not None:
            made.down()
        shutil.rmtree(folder, ignore_errors=True)


def fake() -> dict[str, str]:
    firsts = []
    for _ in range(UPS - 1):
        with cloud("--fake") as made:
            firsts.append(made.first_call_s)
    with cloud("--fake") as made:
        firsts.append(made.first_call_s)
        made.active_after("warm")
        times = [made.active_after(f"one{n}") for n in range(BOOTS)]
        rate = made.crowd(CROWD)
        memory = {bundle: made.pss_mib(bundle) for bundle in ("controller", "host")}
    return {
        "memory of a controller (PSS)": f"{memory['controller']:.0f} MiB",
        "memory of a host's agents (PSS)": f"{memory['host']:.0f} MiB (fake driver)",
        "`nova0 up` to the first answered call": f"{statistics.median(firsts):.2f} s",
        "POST to ACTIVE, median": f"{statistics.median(times) * 1000:.0f} ms",
        "boots": f"{rate:.0f} per second",
    }


def real() -> dict[str, str]:
    """Boots through nova0 and plain `virsh create` of the same guest, in turns."""
    with cloud() as made:
        socket = made.state / "libvirt" / "run" / "libvirt-sock"
        uri = f"qemu+unix:///system?socket={socket}" if socket.exists() else "qemu:///system"

        def virsh(*words: str) -> str:
            return subprocess.run(["virsh", "-q", "-c", uri, *words], capture_output=True, text=True, check=True).stdout

        made.active_after("warm")
        domain = virsh("list", "--uuid").split()[0]
        xml = re.sub(r"<interface .*?</interface>", "", virsh("dumpxml", "--inactive", domain), flags=re.DOTALL)
        plain = made.state / "plain.xml"
        disk = next(iter(re.findall(r"<source file='([^']+/disk[^']*)'", xml)), None)
        kept, beside = made.state / "kept.qcow2", made.state / "plain.qcow2"
        if disk:
            shutil.copy(disk, kept)  # before its server is deleted; its base stays in the image cache
        text = re.sub(r"<uuid>.*?</uuid>", "", xml)
        text = re.sub(r"<name>.*?</name>", "<name>nova0-bench-plain</name>", text)
        text = re.sub(r"<log file=.*?/>", "", text)
        text = re.sub(r"[^'\"]*/console\.log", str(made.state / "plain.log"), text)
        if disk:
            text = text.replace(disk, str(beside))
        plain.write_text(text)
        ours, theirs = [], []
        for n in range(ROUNDS):
            ours.append(made.active_after(f"real{n}"))
            if disk:
                shutil.copy(kept, beside)
            began = time.monotonic()
            virsh("create", str(plain))
            theirs.append(time.monotonic() - began)
            virsh("destroy", "nova0-bench-plain")
            made.clear()
            made.active_after("next")
            made.clear()
        memory = made.pss_mib("host")
    over = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    return {
        "overhead over `virsh create` (libvirt)": (
            f"{over:.2f} s ({statistics.median(ours):.2f} against {statistics.median(theirs):.2f})"
        ),
        "memory of a host's agents (PSS)": f"{memory:.0f} MiB (libvirt)",
    }


def write(figures: dict[str, str]) -> None:
    lines = [line for line in read_block("bench").splitlines() if line.startswith("|")]
    for at, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0] in figures:
            lines[at] = f"| {cells[0]} | {cells[1]} | {figures[cells[0]]} |"
            print(lines[at])
    write_block("bench", "\n".join([*lines, "", f"{measured()}, guests emulated."]))


if __name__ == "__main__":
    found = fake()
    if os.geteuid() == 0 and shutil.which("virsh"):
        found |= real()
    write(found)
