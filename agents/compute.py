"""The compute agent: runs servers on this machine.

Read here what a compute host answers and does on a timer; how each step is done is in nova0/host/compute,
one file an operation.
"""

from __future__ import annotations

import logging

from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.host.compute import adopt, delete, power_off, prepare, start
from nova0.host.compute.machine import Machine
from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.surface import every
from nova0.objects.host import GuestInfo, HeldGuest, HostState
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkView
from nova0.rpcapi.compute import ComputeAPI

LOG = logging.getLogger(__name__)

declare(
    [
        cfg.IntOpt(
            "remove_unused_original_minimum_age_seconds",
            default=86400,
            min=0,
            help="Seconds a base image stays in the cache after its last use.",
        ),
    ]
)


class ComputeAgent(ComputeAPI):
    def __init__(self, machine: Machine) -> None:
        self.machine, self._guests = machine, machine.guests

    # the life of a server

    def prepare(self, instance: Instance, networks: list[NetworkView]) -> GuestInfo:
        return prepare.prepare(self._guests, instance, networks, self.machine.bus.progress)

    def start(self, uuid: str, generation: int) -> GuestInfo:
        return start.start(self._guests, uuid, generation)

    def stop(self, uuid: str, generation: int, patience_s: float) -> GuestInfo:
        return power_off.stop(self._guests, uuid, generation, patience_s)

    def reboot(self, uuid: str, generation: int, hard: bool) -> GuestInfo:
        return power_off.reboot(self._guests, uuid, generation, hard)

    def pause(self, uuid: str, generation: int) -> GuestInfo:
        return power_off.pause(self._guests, uuid, generation)

    def unpause(self, uuid: str, generation: int) -> GuestInfo:
        return power_off.unpause(self._guests, uuid, generation)

    def describe_anew(self, instance: Instance) -> None:
        self._guests.describe_anew(instance)

    def delete(self, uuid: str, generation: int) -> None:
        delete.delete(self._guests, uuid, generation)

    def release(self, uuids: list[str]) -> list[str]:
        return adopt.release(self._guests, uuids)

    # questions

    def inspect(self, uuid: str) -> GuestInfo | None:
        return self._guests.inspect(uuid)

    def guests(self) -> list[GuestInfo]:
        return self._guests.all()

    def held(self) -> list[HeldGuest]:
        return self._guests.for_people()

    def inventory(self) -> dict[str, list[str]]:
        return self._guests.inventory()

    def host_state(self) -> HostState:
        return self.machine.resources.state()

    def offer_image(self, image_id: str, digest: bytes, peer: str) -> Ticket:
        return self.machine.images.offer(image_id, digest, peer)

    def console_log(self, uuid: str, most_bytes: int) -> bytes:
        return self.machine.driver.console_log(uuid, most_bytes)

    # timers

    @every(60)
    def update_available_resource(self) -> None:
        """Tell the controller what this host can hold."""
        self.machine.tell(self.machine.resources.report)

    @every(60)
    def sync_power_states(self) -> None:
        """Tell it what is here; remove what the store disowned."""
        self.machine.tell(lambda: adopt.compare(self._guests))

    @every(2400)
    def run_image_cache_manager_pass(self) -> None:
        """Remove base images no server here is made of and nobody asked for lately."""
        if not self.machine.adoption.adopted.is_set():
            return  # the store has not yet said what the guests found here are made of
        unrecorded = self._guests.unrecorded()
        if unrecorded:
            LOG.warning("image cache: not cleaned: guests without a record may need any image: %s", unrecorded)
            return
        self.machine.images.age(self._guests.images_in_use(), CONF.remove_unused_original_minimum_age_seconds)
