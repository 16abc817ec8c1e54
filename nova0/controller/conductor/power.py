"""What the power operations share: one step on the host, then the state it came to."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from nova0.controller.conductor.operation import Commit, Done, Operation, finish_action, set_instance
from nova0.objects.host import GuestInfo
from nova0.objects.states import VmState


class PowerOperation(Operation):
    """Subclasses say what to ask of the host and in which vm_state the server then rests."""

    steps = ("act",)
    rests: ClassVar[VmState]

    @abstractmethod
    def on_host(self, host: str, generation: int) -> GuestInfo:
        """Ask that host; what the guest is like then."""

    def act(self) -> Done:
        """Ask the host; record where the server rests."""
        row, host = self.placed()
        found = self.on_host(host, row.generation)

        def commit() -> None:
            set_instance(self.uuid, vm_state=self.rests, task_state=None, power_state=int(found.power_state))
            finish_action(self)

        return Done(commit=commit)

    def gave_up(self, error: Exception) -> Commit:
        """The server stays where it was; the action shows the error, and `compare` mends what differs."""
        return lambda: set_instance(self.uuid, task_state=None)
