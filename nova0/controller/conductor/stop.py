"""Stop: the guest is asked to shut down; after the patience given its power is cut."""

from __future__ import annotations

from nova0.controller.conductor.power import PowerOperation
from nova0.objects.host import GuestInfo
from nova0.objects.states import VmState

PATIENCE_S = 60.0  # the field's shutdown_timeout


class Stop(PowerOperation):
    kind = "stop"
    rests = VmState.STOPPED

    def on_host(self, host: str, generation: int) -> GuestInfo:
        patience_s = float(self.data.get("patience_s", PATIENCE_S))
        return self.ask(host, "stop", self.uuid, generation, patience_s)
