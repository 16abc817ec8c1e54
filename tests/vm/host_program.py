"""A program: the whole host process with libvirt and real networks, and a stand-in controller on the same bus.

Usage: host_program.py STATE_DIR IMAGE_DIR, then one JSON command a line on standard input, one JSON answer a
line on standard output. Commands: ["prepare", instance, view], ["start", uuid, generation], ["console", uuid],
["inspect", uuid], ["connect", network_id, ip, port], ["delete", uuid, generation], ["inventory"],
["adopted", [instance], [view]].
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from gevent import monkey

monkey.patch_all()

import msgspec  # noqa: E402

import nova0.host.virt.libvirt.driver  # noqa: E402, F401 (declares the options set below)
from nova0 import log  # noqa: E402
from nova0.config import CONF, load  # noqa: E402
from nova0.native import offload  # noqa: E402
from nova0.objects.instance import Instance  # noqa: E402
from nova0.objects.network import NetworkView  # noqa: E402
from tests.unit.host.lab import Lab  # noqa: E402


class Program:
    def __init__(self, state_dir: Path, image_dir: Path) -> None:
        self.lab = Lab(state_dir)
        manifest = json.loads((image_dir / "tiny.json").read_text())
        for part in ("disk", "kernel", "ramdisk"):
            self.lab.images.held[manifest[part]["sha512"][:32]] = (image_dir / manifest[part]["file"]).read_bytes()
        self.machine = self.lab.host("lab1", cluster_id="c1a5e2f0dddd", state_dir=state_dir, compute_driver="libvirt")

    def prepare(self, instance: Any, view: Any) -> Any:
        return self.lab.compute().prepare(msgspec.convert(instance, Instance), [msgspec.convert(view, NetworkView)])

    def start(self, uuid: str, generation: int) -> Any:
        return self.lab.compute().start(uuid, generation)

    def console(self, uuid: str) -> Any:
        return self.lab.compute().console_log(uuid, 100_000).decode(errors="replace")

    def inspect(self, uuid: str) -> Any:
        return self.lab.compute().inspect(uuid)

    def connect(self, network_id: str, ip: str, port: int) -> Any:
        return self.lab.network().connect(network_id, ip, port)

    def delete(self, uuid: str, generation: int) -> Any:
        return self.lab.compute().delete(uuid, generation)

    def inventory(self) -> Any:
        return self.lab.compute().inventory()

    def adopted(self, instances: Any, views: Any) -> Any:
        self.lab.conductor.placed = msgspec.convert(instances, list[Instance])
        self.lab.conductor.views = msgspec.convert(views, list[NetworkView])
        self.machine.adoption.adopt_soon()
        return self.machine.adoption.adopted.wait(20)


def main(state_dir: str, image_dir: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # the log takes what is printed from here on
    log.setup("INFO", f"{state_dir}/host.log")
    load([])
    CONF.set_override("connection_uri", "own", group="libvirt")
    CONF.set_override("virt_type", "qemu", group="libvirt")
    program = Program(Path(state_dir), Path(image_dir))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in iter(partial(offload, sys.stdin.readline), ""):
        name, *arguments = json.loads(line)
        try:
            answer = {"answer": msgspec.to_builtins(getattr(program, name)(*arguments))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    program.lab.close()


main(*sys.argv[1:])
