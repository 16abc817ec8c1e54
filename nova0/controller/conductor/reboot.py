"""Reboot: soft through the guest's own shutdown, or hard by a power cycle."""

from __future__ import annotations

from nova0.controller.conductor.power import PowerOperation
from nova0.objects.host import GuestInfo
from nova0.objects.states import VmState


class Reboot(PowerOperation):
    kind = "reboot"
    rests = VmState.ACTIVE

    def on_host(self, host: str, generation: int) -> GuestInfo:
        return self.ask_to_start(host, "reboot", self.uuid, generation, bool(self.data.get("hard")))
