"""Many simulated hosts in one process: each has the sockets of a host (bench.d/scale.py), beats, reports, and answers.

    host_world.py FOLDER FIRST LAST PERIOD_S FULL PAUSE_S

What a host's agents say is said as they say it: at its start it reports, fetches its servers and networks and lets
its guests be compared; every PERIOD_S seconds it reports and compares again. `prepare` and `start` answer at once;
`start` asks the conductor's leave first. No guest is run. Each host keeps its own book of what it was given, by which
it is judged afterwards; `books` on standard input makes it say it.

Hosts from number FULL on are light: they hold the link to the controller and the socket it dials, but subscribe to
no news and do not speak at its ear; what a beat says comes as a ping over the link. PAUSE_S lies between two starts.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import msgspec  # noqa: E402
import zmq  # noqa: E402
from gevent.fileobject import FileObject  # noqa: E402
from gevent.hub import Waiter  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scale_parts.simulated import Agent, World  # noqa: E402

from nova0.mesh import wire  # noqa: E402
from nova0.mesh.codec import codecs_of, encode, wire_form  # noqa: E402
from nova0.mesh.errors import MeshError, from_wire  # noqa: E402
from nova0.mesh.link import Pending  # noqa: E402
from nova0.mesh.peer import Peer  # noqa: E402
from nova0.objects.errors import InstanceNotFound  # noqa: E402
from nova0.objects.host import GuestInfo, HostState  # noqa: E402
from nova0.objects.instance import Instance  # noqa: E402
from nova0.objects.network import NetworkView  # noqa: E402
from nova0.objects.states import PowerState  # noqa: E402
from nova0.rpcapi.compute import ComputeAPI  # noqa: E402
from nova0.rpcapi.conductor import ConductorAPI  # noqa: E402

VCPUS, MEMORY_MB, DISK_GB = 4, 4096, 40  # of each host; ratios are 1, nothing is reserved
RARE_EVERY = 100  # each so manieth host has the trait that the rare flavor requires
RARE_TRAIT = "CUSTOM_RARE"
ASK_S = 60.0


class Host(Agent):
    """One simulated host. `guests`: uuid -> (MiB, running)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.name = self._card.host
        self.guests: dict[str, list[Any]] = {}
        self.most_mb = self._asked_before = 0
        self.compute = Compute(self)
        self._adopted = False

    @property
    def light(self) -> bool:
        return int(self.name.removeprefix("sim")) >= self.world.full

    # what it says

    def beat(self) -> None:
        if self.light:
            self.light_beat()
        else:
            super().beat()

    def welcomed(self, peer: Peer, welcome: wire.Welcome) -> None:
        if self.light:
            self.world.count("greeted")
        else:
            super().welcomed(peer, welcome)
        if not self._adopted:
            self._adopted = True
            gevent.spawn(self._live)

    def state(self) -> HostState:
        rare = int(self.name.removeprefix("sim")) % RARE_EVERY == 0
        return HostState(
            host=self.name,
            hypervisor_hostname=self.name,
            hypervisor_type="fake",
            hypervisor_version=1000,
            virt_type="fake",
            arch="x86_64",
            vcpus=VCPUS,
            memory_mb=MEMORY_MB,
            disk_gb=DISK_GB,
            cpu_allocation_ratio=1.0,
            ram_allocation_ratio=1.0,
            disk_allocation_ratio=1.0,
            traits=[RARE_TRAIT] if rare else [],
            address=self._card.address,
            cpu_info={"arch": "x86_64", "model": "fake", "topology": {"sockets": VCPUS, "cores": 1, "threads": 1}},
            supported=[("x86_64", "fake", "hvm")],
            running=len(self.guests),
            metrics={"said": time.time()},  # by which the controller's view is dated
        )

    def _live(self) -> None:
        """As nova0.host.compute.adopt and the timers of agents/compute.py do it."""
        self._say("report", lambda: (self.state(),))
        self._say("instances_of")
        self._say("compare", lambda: (self._told(),))
        self._say("networks_of")
        self.world.count("adopted")
        period = self.world.period_s
        gevent.sleep(random.uniform(0, period))  # noqa: S311  (hosts start at different moments)
        due = time.monotonic()
        while True:
            self._say("report", lambda: (self.state(),))
            self._say("compare", lambda: (self._told(),))
            due += period
            gevent.sleep(max(0.0, due - time.monotonic()))

    def _told(self) -> list[GuestInfo]:
        return [self.info(uuid) for uuid in self.guests]

    def info(self, uuid: str) -> GuestInfo:
        power = PowerState.RUNNING if self.guests[uuid][1] else PowerState.SHUTDOWN
        return GuestInfo(uuid=uuid, generation=1, power_state=power, host=self.name, leased=self.guests[uuid][1])

    def _say(self, method: str, arguments: Any = tuple) -> None:
        try:
            self.ask(method, *arguments())
            self.world.count(f"{method} answered")
        except (MeshError, gevent.Timeout) as error:
            self.world.count(f"{method} failed: {str(error)[:80]}")

    def ask(self, method: str, *args: Any) -> Any:
        """A call of the conductor over the link to the controller. Raises the mesh's errors."""
        codec, now = codecs_of(ConductorAPI)[method], time.monotonic()
        self._asked_before += 1
        message = wire.Call(
            0, wire.made_id(f"{self.name}.1", self._asked_before), ConductorAPI.topic, method,
            msgspec.Raw(codec.pack_arguments(args, {})), 0, {},
        )  # fmt: skip
        pending = Pending(message, Waiter(), None, ASK_S, now + ASK_S, now, now)
        link = self.links[0]
        with gevent.Timeout(ASK_S):
            try:
                link.call(pending)
                good, body = pending.waiter.get()
            finally:
                link.forget(pending)
        if not good:
            raise body if isinstance(body, MeshError) else from_wire(body)
        return codec.unpack_result(body)

    # what it is asked

    def _asked(self, route: bytes, frame: zmq.Frame) -> None:
        for message in wire.read_frame(frame.buffer):
            if isinstance(message, wire.Hello):
                self._rpc.put(wire.Welcome(wire.HIGHEST, self._card, members=[]), route)
            elif isinstance(message, wire.Ping):
                self._rpc.put(wire.Pong(message.nonce, message.node), route)
            elif isinstance(message, wire.Call) and message.topic == ComputeAPI.topic:
                arguments = codecs_of(ComputeAPI)[message.method].unpack_arguments(message.arguments)
                gevent.spawn(self._work, route, message.id, message.method, arguments)
            elif isinstance(message, wire.Call):
                self._rpc.put(wire.Answer(message.id, msgspec.Raw(encode(0.0))), route)

    def _work(self, route: bytes, number: int, method: str, arguments: dict[str, Any]) -> None:
        self.world.count(f"asked to {method}")
        try:
            answer = getattr(self.compute, method)(**arguments)
        except (MeshError, gevent.Timeout) as error:
            self._rpc.put(wire.Failure(number, wire_form(error)), route)
        else:
            self._rpc.put(wire.Answer(number, msgspec.Raw(encode(answer))), route)

    def light_beat(self) -> None:
        """Where descriptors are short: what says that it lives comes over its link."""
        self.number += 1
        for link in self.links:
            if not link.say(wire.Ping(self.number)):
                self.world.count("beats not sent")


class Compute:
    """What the agents of one host answer: at once, and from its own book."""

    def __init__(self, host: Host) -> None:
        self._host, self._guests = host, host.guests

    def prepare(self, instance: Instance, networks: list[NetworkView]) -> GuestInfo:
        if instance.uuid not in self._guests:
            self._guests[instance.uuid] = [instance.flavor.memory_mb, False]
            now_mb = sum(memory_mb for memory_mb, _ in self._guests.values())
            self._host.most_mb = max(self._host.most_mb, now_mb)
        return self._host.info(instance.uuid)

    def start(self, uuid: str, generation: int) -> GuestInfo:
        if uuid not in self._guests:
            raise InstanceNotFound(f"{self._host.name}: {uuid} is not prepared here")
        self._host.ask("leave", uuid, generation)
        self._guests[uuid][1] = True
        return self._host.info(uuid)

    def delete(self, uuid: str, generation: int) -> None:
        self._guests.pop(uuid, None)

    def inspect(self, uuid: str) -> GuestInfo | None:
        return self._host.info(uuid) if uuid in self._guests else None


class HostWorld(World):
    kind = Host

    def __init__(self, folder: Path, first: int, last: int, period_s: float, full: int, pause_s: float) -> None:
        self.period_s, self.full, self.pause_s = period_s, full, pause_s
        super().__init__(folder, first, last)

    def _start(self) -> None:
        for agent in self.agents.values():
            agent.start()
            gevent.sleep(self.pause_s)

    def run(self) -> None:
        for run in (self._beat, self._tell, self._start):
            gevent.spawn(run)
        for line in FileObject(sys.stdin.fileno(), "r", close=False):
            if line.strip() == "books":
                hosts = {host.name: [host.most_mb, list(host.guests)] for host in self.agents.values() if host.guests}
                print(json.dumps({"books": hosts}), flush=True)


if __name__ == "__main__":
    words = sys.argv
    HostWorld(Path(words[1]), int(words[2]), int(words[3]), float(words[4]), int(words[5]), float(words[6])).run()
