"""A cluster on loopback inside one process: real sockets, keys and doors, a folder for each machine."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gevent
from contract import until

from nova0.mesh.identity import create_cluster, is_member
from nova0.mesh.joining import join, mint_token
from nova0.mesh.node import Node
from nova0.mesh.settings import MeshSettings


class Cluster:
    """`bus(host, process, roles)` makes a node, joining its machine first; the first controller founds."""

    def __init__(self, folder, **settings):
        self.folder, self.more = folder, settings
        self.nodes: list[Node] = []
        self.processes: list[Process] = []
        self.controller: MeshSettings | None = None

    def settings(self, host, process="host", roles=("host",), **more):
        return MeshSettings(
            state_dir=str(self.folder / host),
            host=host,
            process=process,
            roles=roles,
            **{"listen": "127.0.0.1", "mdns": False, **self.more, **more},
        )

    def token(self, **more):
        return mint_token(self.controller, **more)

    def bus(self, host="lab1", process="host", roles=("host",), **more):
        made = self.settings(host, process, roles, **more)
        if self.controller is None:
            assert "controller" in roles, "the first node founds the cluster"
            create_cluster(made.state_dir, host)
            self.controller = made
        elif not is_member(made.state_dir):
            founder = next(n for n in self.nodes if n.settings is self.controller)
            founder.start()
            join(made, self.token(roles=roles))
        node = Node(made)
        self.nodes.append(node)
        return node

    def member(self, host, **more):
        """Settings of a machine that has joined; nothing runs on it yet."""
        made = self.settings(host, **more)
        join(made, self.token())
        return made

    def process(self, settings, namespace="", program="one_node.py", **environment):
        started = Process(settings, namespace, program, **environment)
        self.processes.append(started)
        return started

    def close(self):
        for process in self.processes:
            process.kill()
        for node in reversed(self.nodes):
            node.stop()


class Process:
    """`program` under a name of its own; `lines` is what it said so far."""

    def __init__(self, settings: MeshSettings, namespace: str = "", program: str = "one_node.py", **environment: str):
        plain = {k: v for k, v in dataclasses.asdict(settings).items() if not callable(v)}
        self.node = settings.node
        self.lines: list[str] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [
                *(("ip", "netns", "exec", namespace) if namespace else ()),
                sys.executable,
                str(Path(__file__).with_name(program)),
                json.dumps(plain),
            ],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **environment},
        )
        self._reader = gevent.spawn(self._read)

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def ready(self):
        until(lambda: "READY" in self.lines or self.process.poll() is not None, 15, f"{self.node} is ready")
        assert self.process.poll() is None, self.log()
        return self

    def log(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
