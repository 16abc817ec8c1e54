"""Unpause: its processors go on."""

from __future__ import annotations

from nova0.controller.conductor.power import PowerOperation
from nova0.objects.host import GuestInfo
from nova0.objects.states import VmState


class Unpause(PowerOperation):
    kind = "unpause"
    rests = VmState.ACTIVE

    def on_host(self, host: str, generation: int) -> GuestInfo:
        return self.ask(host, "unpause", self.uuid, generation)
