"""Leave to start: the controller's word that a server may run on a host, for a short time.

Until it is given the server may be moved elsewhere; once given, its host alone can say what became of it.
"""

from __future__ import annotations

from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import Store
from nova0.objects.errors import LeaveRefused, Stale
from nova0.objects.states import VmState

LEASE_MS = 20_000  # from before the host asked; a guest must be started within it

_MAY_START = ("boot", "start", "reboot")
_UNDER_WAY = "SELECT kind FROM operation WHERE subject = ? AND state IN ('ready', 'running')"  # as in Table.one


def grant(store: Store, host: str, uuid: str, generation: int) -> int:
    """Milliseconds of lease for `host` to start the server. Raises LeaveRefused or Stale."""

    def closure() -> int:
        row = InstanceRow.one("uuid", uuid)
        if row is None or row.deleted_at is not None:
            raise LeaveRefused(f"{host}: server {uuid} is deleted: remove its guest")
        if row.generation != generation:
            raise Stale(f"{host}: server {uuid} is at generation {row.generation}, not {generation}")
        if row.host != host:
            raise LeaveRefused(f"{host}: server {uuid} is placed on {row.host or 'no host'}")
        under_way = OperationRow.raw(_UNDER_WAY, uuid).tuples()
        wanted = any(kind in _MAY_START for (kind,) in under_way)
        # A host that was rebooted may start again what should be running, where it is set to.
        if not wanted and not (row.vm_state == VmState.ACTIVE and row.task_state is None):
            raise LeaveRefused(f"{host}: nobody asked to start server {uuid}")
        InstanceRow.change({"uuid": uuid}, host_leased_until=now() + LEASE_MS / 1000)
        return LEASE_MS

    return store.write(closure)
