"""Start: a stopped server runs again, with the leave of the controller."""

from __future__ import annotations

from nova0.controller.conductor.power import PowerOperation
from nova0.objects.host import GuestInfo
from nova0.objects.states import VmState


class Start(PowerOperation):
    kind = "start"
    rests = VmState.ACTIVE

    def on_host(self, host: str, generation: int) -> GuestInfo:
        return self.ask_to_start(host, "start", self.uuid, generation)
