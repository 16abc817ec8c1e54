"""Pause: its processors stand still, its memory stays."""

from __future__ import annotations

from nova0.controller.conductor.power import PowerOperation
from nova0.objects.host import GuestInfo
from nova0.objects.states import VmState


class Pause(PowerOperation):
    kind = "pause"
    rests = VmState.PAUSED

    def on_host(self, host: str, generation: int) -> GuestInfo:
        return self.ask(host, "pause", self.uuid, generation)
