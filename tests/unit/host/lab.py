"""A host on a bus inside this process, and a controller that says what a test tells it to."""

from __future__ import annotations

import hashlib
import uuid as uuids
from pathlib import Path
from typing import Any

import gevent
import msgspec

from nova0.host.compute.machine import Machine, Settings
from nova0.mesh.local import LocalBus, LocalNet
from nova0.mesh.streams.contents import BLOCK, Contents
from nova0.mesh.streams.stream import Stream
from nova0.mesh.streams.tickets import Ticket
from nova0.objects.errors import LeaveRefused
from nova0.objects.flavor import Flavor
from nova0.objects.host import Disowned, GuestInfo, HostState
from nova0.objects.image import ImageHolders, ImageRef
from nova0.objects.instance import Instance, Keypair
from nova0.objects.network import NetworkPieces, NetworkView, Port, in_piece
from nova0.rpcapi.compute import ComputeAPI
from nova0.rpcapi.conductor import ConductorAPI
from nova0.rpcapi.images import ImagesAPI
from nova0.rpcapi.network import NetworkAPI

NETWORK = "11111111-2222-4333-8444-555555555555"


class FakeConductor(ConductorAPI):
    """Grants leave, places nothing, disowns nothing, until told otherwise; remembers what it was told."""

    def __init__(self) -> None:
        self.lease_ms = 10_000
        self.refuse = False
        self.placed: list[Instance] = []
        self.page = 2  # instances told at once; networks one by one
        self.disowned: list[str] = []
        self.reason, self.ahead = "deleted", 1  # of what it disowns: why, and how far beyond the host's generation
        self.views: list[NetworkView] = []
        self.reports: list[HostState] = []
        self.compared: list[list[GuestInfo]] = []
        self.changes: list[tuple[str, int, int]] = []
        self.asked: list[tuple[str, int]] = []
        self.before_answer = lambda: None

    def leave(self, uuid: str, generation: int) -> int:
        self.asked.append((uuid, generation))
        self.before_answer()
        if self.refuse:
            raise LeaveRefused(f"{uuid}: placed elsewhere")
        return self.lease_ms

    def report(self, state: HostState) -> None:
        self.reports.append(state)

    def instances_after(self, number: int) -> list[Instance]:
        rest = sorted((one for one in self.placed if one.number > number), key=lambda one: one.number)
        return rest[: self.page]

    def compare(self, guests: list[GuestInfo]) -> list[Disowned]:
        self.compared.append(guests)
        held = {guest.uuid: guest.generation for guest in guests}
        return [
            Disowned(uuid=uuid, reason=self.reason, generation=held.get(uuid, 1) + self.ahead) for uuid in self.disowned
        ]

    def networks_after(self, after: str) -> NetworkPieces:
        marks = ["", *(f"{view.id} {uuids.UUID(int=number)}" for number, view in enumerate(self.views))]
        first = marks.index(after)
        more = first + 1 < len(self.views)
        pieces = tuple(in_piece(view) for view in self.views[first : first + 1])
        return NetworkPieces(pieces=pieces, after=marks[first + 1] if more else "")

    def power_changed(self, uuid: str, generation: int, power_state: int) -> None:
        self.changes.append((uuid, generation, power_state))


class FakeImages(ImagesAPI):
    """Images held in memory, `bus` carries them; `before` runs ahead of each piece and may raise."""

    def __init__(self, bus: LocalBus | None = None) -> None:
        self.bus = bus
        self.held: dict[str, bytes] = {}
        self.offsets: list[int] = []
        self.before = lambda offset: None

    def add(self, image_id: str, body: bytes, disk_format: str = "raw", **more: Any) -> ImageRef:
        self.held[image_id] = body
        return ImageRef(
            id=image_id,
            name=f"image {image_id}",
            size=len(body),
            sha512=hashlib.sha512(body).hexdigest(),
            disk_format=disk_format,
            **more,
        )

    def stat(self, image_id: str) -> ImageRef:
        return self.add(image_id, self.held[image_id])

    def holders(self, image_id: str) -> ImageHolders:
        known = self._contents(image_id)
        return ImageHolders(size=known.size, digest=known.digest, holders=["ctl"])

    def ticket(self, image_id: str, holder: str) -> Ticket:
        known, body = self._contents(image_id), self.held[image_id]

        def serve(stream: Stream) -> None:
            head = msgspec.msgpack.encode(known)
            stream.send(len(head).to_bytes(4, "big") + head)
            while number := stream.recv():
                offset = int.from_bytes(number, "big") * known.block
                self.before(offset)
                self.offsets.append(offset)
                stream.send(body[offset : offset + known.block])

        return self.bus.offer_stream("file", serve)

    def _contents(self, image_id: str) -> Contents:
        body = self.held[image_id]
        pieces = [body[start : start + BLOCK] for start in range(0, len(body), BLOCK)]
        return Contents(len(body), BLOCK, b"".join(hashlib.sha256(piece).digest() for piece in pieces))


class Lab:
    """One controller and the hosts a test asks for."""

    def __init__(self, directory: Path, timers: bool = False) -> None:
        self.directory, self.net = directory, LocalNet(timers=timers)
        self.conductor, self.images = FakeConductor(), FakeImages()
        self.machines: dict[str, Machine] = {}
        self.controller = self.controller_up()

    def controller_up(self) -> LocalBus:
        self.controller = self.net.bus("ctl", "controller", roles=("controller",))
        self.images.bus = self.controller
        self.controller.offer(self.conductor)
        self.controller.offer(self.images)
        self.controller.start()
        return self.controller

    def host(self, name: str = "lab1", **settings: Any) -> Machine:
        """Start (or start again) the host process of that name."""
        bus = self.net.bus(name, "host", roles=("host",))
        values = {"cluster_id": "c1", "state_dir": self.directory / name, "compute_driver": "fake"} | settings
        machine = self.machines[name] = Machine(bus, Settings(**values))
        machine.open()
        for agent in machine.agents():
            bus.offer(agent)
        bus.start()
        return machine

    def kill(self, name: str = "lab1") -> None:
        """As kill -9: no goodbye, nothing closed in order; only greenlets of the dead may not go on."""
        machine = self.machines.pop(name)
        self.net.kill(machine.bus)  # type: ignore[arg-type]
        machine.driver.listener.heard = lambda event: None
        machine.adoption.close()
        machine.power.close()
        machine.networks._keeper.kill()

    def compute(self, name: str = "lab1", **how: Any) -> ComputeAPI:
        return self.controller.stub(ComputeAPI, name, **how)

    def network(self, name: str = "lab1") -> NetworkAPI:
        return self.controller.stub(NetworkAPI, name)

    def close(self) -> None:
        for machine in self.machines.values():
            machine.bus.stop()
            machine.close()
        self.controller.stop()


def a_port(instance_uuid: str, number: int = 1, network_id: str = NETWORK) -> Port:
    return Port(
        id=str(uuids.uuid4()),
        network_id=network_id,
        network_name="lab",
        instance_uuid=instance_uuid,
        mac=f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}",
        ip=f"10.0.{number // 250}.{number % 250 + 2}",
        prefix_length=16,
        gateway="10.0.0.1",
        dns=("10.0.0.1",),
        hostname=f"vm{number}",
    )


def an_instance(number: int = 1, generation: int = 1, ports: int = 1, **more: Any) -> Instance:
    uuid = more.pop("uuid", str(uuids.uuid4()))
    values: dict[str, Any] = {
        "uuid": uuid,
        "generation": generation,
        "name": f"vm{number}",
        "hostname": f"vm{number}",
        "project_id": "p" * 32,
        "user_id": "u" * 32,
        "flavor": Flavor(flavor_id="1", name="m1.nano", vcpus=1, memory_mb=64, root_gb=1),
        "image": None,
        "ports": tuple(a_port(uuid, number) for _ in range(ports)),
        "keypair": Keypair(name="mine", public_key="ssh-ed25519 AAAA me@here"),
        "number": number,
        "cluster_id": "c1",
        "reservation_id": "r-12345678",
    }
    return Instance(**values | more)


def a_view(*instances: Instance, revision: int = 1, network_id: str = NETWORK) -> NetworkView:
    return NetworkView(
        id=network_id,
        name="lab",
        revision=revision,
        vni=101,
        cidr="10.0.0.0/16",
        gateway="10.0.0.1",
        gateway_mac="fa:16:3e:ff:ff:01",
        mtu=1450,
        ports=tuple(port for instance in instances for port in instance.ports if port.network_id == network_id),
    )


def eventually(truth: Any, patience_s: float = 5.0) -> Any:
    """Wait until `truth()` is true and return it."""
    with gevent.Timeout(patience_s, AssertionError(f"did not come true within {patience_s} s: {truth}")):
        while not (value := truth()):
            gevent.sleep(0.01)
        return value
