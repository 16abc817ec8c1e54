"""A cloud of real processes on the fake driver: one controller, some hosts, each killed when a test says so.

Guests of a fake host outlive its process, as a hypervisor's do; what is left behind is read from its files.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import requests

from nova0.mesh import identity
from nova0.mesh.joining import join, mint_token
from nova0.mesh.settings import MeshSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """One bundle of one machine."""

    def __init__(self, cloud: Cloud, host: str, bundle: str, **options: str) -> None:
        self.cloud, self.host, self.bundle = cloud, host, bundle
        self.state = cloud.folder / host
        self.options = options
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, crash_at: str = "", wait: bool = True) -> None:
        """Start it; with `wait`, until it says that it is ready (or has crashed as asked)."""
        ready = self.state / "run" / f"{self.bundle}.json"
        ready.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "NOVA0_STATE_PATH": str(self.state),
            "NOVA0_HOST": self.host,
            "NOVA0_COMPUTE_DRIVER": "fake",
            "NOVA0_MESH__LISTEN": "127.0.0.1",
            "NOVA0_MESH__ADVERTISE": "127.0.0.1",
            "NOVA0_MESH__MDNS": "false",
            **self.options,
        }
        environment.pop("NOVA0_CRASH_AT", None)
        if crash_at:
            environment["NOVA0_CRASH_AT"] = crash_at
        with open(self.state / f"{self.bundle}.log", "ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "nova0.cli.main", "agent", "run", self.bundle],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if wait:
            until(lambda: ready.exists() or self.child.poll() is not None, 30, f"{self.host} {self.bundle} is ready")

    def kill(self) -> None:
        if self.child is not None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()

    def died(self) -> bool:
        return self.child is not None and self.child.poll() is not None

    def end(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


class Cloud:
    """A controller `ctl` and hosts lab1..labN."""

    def __init__(self, folder: Path, hosts: int = 1, **host_options: str) -> None:
        self.folder = folder
        self.port, self.door = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "ctl").mkdir(parents=True)
        identity.create_cluster(str(folder / "ctl" / "mesh"), "ctl")
        self.controller = Process(
            self,
            "ctl",
            "controller",
            NOVA0_API__OSAPI_LISTEN_PORT=str(self.port),
            NOVA0_MESH__DOOR_PORT=str(self.door),
        )
        self.hosts = [Process(self, f"lab{n + 1}", "host", **host_options) for n in range(hosts)]
        self.session = requests.Session()

    def start(self) -> Cloud:
        self.controller.start()
        token = mint_token(self._settings("ctl", "controller", door_port=self.door), uses=len(self.hosts))
        for host in self.hosts:
            host.state.mkdir()
            join(self._settings(host.host, "host"), token)
            host.start()
        self.log_in()
        self.session.put(
            f"{self.url}/v2.1/os-quota-sets/{self.project}",
            json={"quota_set": {"instances": -1, "cores": -1, "ram": -1}},
        )
        self.image = self._image()
        self.network = self._network()
        until(lambda: len(self.up()) == len(self.hosts), 20, "all hosts are up")
        return self

    def stop(self) -> None:
        for process in (*self.hosts, self.controller):
            process.end()

    def up(self) -> list[str]:
        found = self.session.get(f"{self.url}/v2.1/os-services?binary=nova-compute").json()["services"]
        return [service["host"] for service in found if service["state"] == "up"]

    def log_in(self) -> None:
        password = (self.folder / "ctl" / "secrets" / "admin.password").read_text().strip()
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        project = {"name": "admin", "domain": {"id": "default"}}
        body = {
            "auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
        }
        answer = requests.post(f"{self.url}/identity/v3/auth/tokens", json=body, timeout=10)
        self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.session.headers["X-OpenStack-Nova-API-Version"] = "2.37"
        self.project = answer.json()["token"]["project"]["id"]

    def boot(self, name: str = "s") -> str | None:
        """The id once acknowledged with 202; None when the controller died before it answered."""
        body = {"name": name, "imageRef": self.image, "flavorRef": self._flavor(), "networks": [{"uuid": self.network}]}
        try:
            answer = self.session.post(f"{self.url}/v2.1/servers", json={"server": body}, timeout=10)
        except requests.RequestException:
            return None
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    def delete(self, server: str) -> bool:
        """True once acknowledged."""
        try:
            return self.session.delete(f"{self.url}/v2.1/servers/{server}", timeout=10).status_code == 204
        except requests.RequestException:
            return False

    def server(self, server: str) -> dict[str, Any] | None:
        answer = self.session.get(f"{self.url}/v2.1/servers/{server}", timeout=10)
        return answer.json()["server"] if answer.status_code == 200 else None

    def servers(self) -> dict[str, dict[str, Any]]:
        answer = self.session.get(f"{self.url}/v2.1/servers/detail?limit=1000", timeout=30)
        return {server["id"]: server for server in answer.json()["servers"]}

    def rested(self, server: str, timeout_s: float = 40) -> dict[str, Any] | None:
        """The server once it is ACTIVE or ERROR, or None once it is gone."""

        def look() -> Any:
            found = self.server(server)
            return (
                ("gone",)
                if found is None
                else (found,)
                if found["status"] in ("ACTIVE", "ERROR") and not found["OS-EXT-STS:task_state"]
                else None
            )

        found = until(look, timeout_s, f"server {server} has come to rest")[0]
        return None if found == "gone" else found

    def guests(self) -> dict[str, list[str]]:
        """host -> uuids of the guests its fake hypervisor holds, running or not."""
        found = {}
        for host in self.hosts:
            path = host.state / "fake-guests.json"
            told = json.loads(path.read_text()) if path.exists() else {}
            found[host.host] = sorted(told.get("guests", told))
        return found

    def claims(self) -> list[tuple[str, str]]:
        return self._query("SELECT instance_uuid, host FROM claim")

    def addresses(self) -> list[str]:
        return [
            row[0] for row in self._query("SELECT p.device_id FROM fixed_address f JOIN port p ON p.id = f.port_id")
        ]

    def unfinished(self) -> list[Any]:
        return self._query("SELECT kind, state, step, subject FROM operation WHERE state IN ('ready', 'running')")

    def _query(self, sql: str) -> list[Any]:
        import sqlite3

        connection = sqlite3.connect(f"file:{self.folder}/ctl/store.sqlite?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def _flavor(self) -> str:
        if not hasattr(self, "_nano"):
            flavors = self.session.get(f"{self.url}/v2.1/flavors").json()["flavors"]
            self._nano = next(flavor["id"] for flavor in flavors if flavor["name"] == "m1.nano")
        return str(self._nano)

    def _image(self) -> str:
        body = {"name": "blank", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        image = self.session.post(f"{self.url}/image/v2/images", json=body).json()["id"]
        answer = self.session.put(
            f"{self.url}/image/v2/images/{image}/file",
            data=bytes(1024),
            headers={"Content-Type": "application/octet-stream"},
        )
        assert answer.status_code == 204, answer.text
        return str(image)

    def _network(self) -> str:
        network = self.session.post(f"{self.url}/network/v2.0/networks", json={"network": {"name": "n"}}).json()[
            "network"
        ]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.200.0.0/20"}
        assert self.session.post(f"{self.url}/network/v2.0/subnets", json={"subnet": subnet}).status_code == 201
        return str(network)

    def _settings(self, host: str, process: str, **more: Any) -> MeshSettings:
        return MeshSettings(
            state_dir=str(self.folder / host / "mesh"),
            host=host,
            process=process,
            listen="127.0.0.1",
            advertise="127.0.0.1",
            mdns=False,
            **more,
        )


def until(true: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Wait for a truthy value; it is looked for again and again, so that no fixed pause decides."""
    timeout_s *= 3  # named is what an idle machine needs with room to spare; a busy one is no fault
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        gevent.sleep(0.02)
    return value
