"""One whole host process with libvirt and real networks: a server's life, and a kill -9 in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from nova0.host.image.tiny.build import PROPERTIES
from nova0.objects.image import ImageRef
from nova0.objects.states import PowerState
from tests.vm.guests import instance as an_instance
from tests.vm.guests import key, ssh
from tests.vm.networks import PING, Network, tcp

pytestmark = [pytest.mark.root, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
CLUSTER = "c1a5e2f0dddd"
PATIENCE_S = 60


class HostProcess:
    """The program in the host's namespace, asked line by line."""

    def __init__(self, host, image_dir: Path) -> None:
        words = ["ip", "netns", "exec", host.namespace, sys.executable, "-m", "tests.vm.host_program"]
        self.process = subprocess.Popen(
            [*words, str(host.state_dir), str(image_dir)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert json.loads(self.process.stdout.readline()) == "ready"

    def ask(self, *command):
        self.process.stdin.write(json.dumps(msgspec.to_builtins(command)) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        assert "error" not in said, said
        return said["answer"]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)


def image_of(built) -> ImageRef:
    manifest = json.loads(built.manifest.read_text())
    parts = {
        part: ImageRef(
            id=manifest[part]["sha512"][:32],
            name=f"tiny-{part}",
            size=manifest[part]["size"],
            sha512=manifest[part]["sha512"],
            disk_format=manifest[part]["disk_format"],
            properties=dict(PROPERTIES) if part == "disk" else {},
        )
        for part in ("disk", "kernel", "ramdisk")
    }
    return msgspec.structs.replace(parts["disk"], kernel=parts["kernel"], ramdisk=parts["ramdisk"])


@pytest.mark.covers("S045", "S078", "S081", "S248", "S227")
def test_a_server_lives_through_a_kill_of_its_host_process_and_leaves_nothing(host, tiny_image, tmp_path):
    key_path, keypair = key(tmp_path)
    network = Network(83)
    port = network.port(host, 9, PING, tcp(22))
    server = an_instance(
        9, ports=(port,), keypair=keypair, image=image_of(tiny_image), config_drive=True, cluster_id=CLUSTER
    )
    view = network.view(host)
    process = HostProcess(host, tiny_image.disk.parent)
    try:
        assert process.ask("prepare", server, view)["power_state"] == PowerState.SHUTDOWN
        started = process.ask("start", server.uuid, 1)
        assert (started["power_state"], started["leased"]) == (PowerState.RUNNING, True)
        deadline = time.monotonic() + PATIENCE_S
        while "login:" not in (console := process.ask("console", server.uuid)):
            assert time.monotonic() < deadline, console
            time.sleep(0.3)
        assert "vm9" in console
        assert process.ask("connect", network.id, port.ip, 22).startswith("SSH-2.0")
        assert ssh(host, key_path, port, "hostname").strip() == "vm9"
        asks_metadata = "wget -qO- http://169.254.169.254/latest/meta-data/instance-id"
        assert ssh(host, key_path, port, asks_metadata).strip() == "i-00000009"
        held = process.ask("inventory")
        assert held["guests"] == held["disks"] == held["metadata"] == [server.uuid]
        assert held["taps"] == [port.tap] and held["rules"] == [port.id]

        process.kill()
        assert ssh(host, key_path, port, "hostname").strip() == "vm9"
        process = HostProcess(host, tiny_image.disk.parent)
        assert process.ask("adopted", [server], [view])
        found = process.ask("inspect", server.uuid)
        assert (found["power_state"], found["generation"], found["leased"]) == (PowerState.RUNNING, 1, True)
        assert ssh(host, key_path, port, asks_metadata).strip() == "i-00000009"

        process.ask("delete", server.uuid, 2)
        assert {kind: what for kind, what in process.ask("inventory").items() if what} == {}
    finally:
        process.end()
