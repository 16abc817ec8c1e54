"""Delete: supersede whatever else is under way, have the host remove the guest, give everything back.

With its host silent the server is gone for its user at once; claim and addresses stay taken, and the
operation waits, until the host answers or is fenced: a guest that may still run keeps its address.
"""

from __future__ import annotations

from nova0.controller.conductor import claims
from nova0.controller.conductor.operation import (
    Commit,
    Done,
    HostSilent,
    Later,
    Operation,
    finish_action,
    record_fault,
    set_instance,
    supersede,
)
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import HostRow, InstanceRow, ServerGroupRow
from nova0.controller.network import books as networks
from nova0.mesh.errors import MeshError
from nova0.objects.states import PowerState, TaskState, VmState

LOOK_S = 3.0  # how often a silent host is looked for
PATIENCE_S = 8.0  # how long a user's delete waits for a host not known to be down


class Delete(Operation):
    kind = "delete"
    steps = ("supersede", "unhost", "release")

    def supersede(self) -> Done:
        """From here on no other operation on this server can write, and hosts refuse older calls."""

        def commit() -> None:
            supersede(self.uuid, by=self.row.uuid)
            InstanceRow.update(
                generation=InstanceRow.generation + 1, task_state=TaskState.DELETING, admin_password=None
            ).where(InstanceRow.uuid == self.uuid).execute()

        return Done(commit=commit)

    def unhost(self) -> Done | Later:
        """Guest, disks, taps and metadata gone from its host."""
        row = self.instance()
        if not row.host:
            return Done()
        try:
            self.ask(row.host, "delete", self.uuid, row.generation, patience_s=PATIENCE_S)
        except HostSilent:
            return Later(seconds=LOOK_S, commit=self._hide, next="await_host")
        return Done()

    def await_host(self) -> Done | Later:
        """The user's server is gone; its host still owes the removal."""
        row, host = self.placed()
        if self.world.store.read(lambda: _gone_for_good(host)):
            return Done(next="release")
        try:
            self.ask(host, "delete", self.uuid, row.generation, patience_s=0)
        except HostSilent:
            return Later(seconds=LOOK_S)
        except MeshError as error:
            self.next_round()
            self.data["error"] = error.message
            return Later(seconds=LOOK_S * 10)
        return Done(next="release")

    def release(self) -> Done:
        """Claim, ports and addresses given back; the row stays as history."""
        network_ids = self.world.store.read(lambda: networks.heard_by(self.uuid))

        def commit() -> None:
            claims.free(self.uuid)
            networks.release(self.uuid)
            self._hide()
            set_instance(self.uuid, host=None, node=None)

        def told() -> None:
            self.world.scheduler.release(self.uuid)
            self.world.networks_changed(network_ids)

        return Done(commit=commit, then=told)

    def gave_up(self, error: Exception) -> Commit:
        row = self.instance()
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"

        def commit() -> None:
            set_instance(self.uuid, vm_state=VmState.ERROR, task_state=None)
            record_fault(self.uuid, f"delete failed: {message}", row.host)

        return commit

    def _hide(self) -> None:
        """In a transaction: gone for its user, and what it was told in confidence with it. Asked again: the
        first time stays."""
        row = InstanceRow.known("uuid", self.uuid)
        if row.deleted_at is not None:
            return
        for group in ServerGroupRow.select().where(ServerGroupRow.members.contains(self.uuid)):
            group.members = [member for member in group.members if member != self.uuid]
            group.save()
        set_instance(
            self.uuid,
            vm_state=VmState.DELETED,
            task_state=None,
            power_state=PowerState.NOSTATE,
            deleted_at=now(),
            terminated_at=now(),
            admin_password=None,
            user_data=None,
        )
        finish_action(self)


def _gone_for_good(host: str) -> bool:
    """In a transaction: it was fenced, or it left the cluster, with everything it ran."""
    row = HostRow.one("host", host)
    return row is None or row.forced_down
