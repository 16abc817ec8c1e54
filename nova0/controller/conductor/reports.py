"""What hosts tell of themselves and their guests, and what the store makes of it."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from nova0.controller.conductor import journal
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import new_id, now
from nova0.controller.db.compute_tables import HostRow, InstanceRow, PastInstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.objects.host import Disowned, GuestInfo, HostState
from nova0.objects.states import PowerState, TaskState, VmState

log = logging.getLogger(__name__)

MOST_NAMED = 8  # guests in one line of the log
AT_REST = {
    (VmState.ACTIVE, PowerState.RUNNING),
    (VmState.STOPPED, PowerState.SHUTDOWN),
    (VmState.PAUSED, PowerState.PAUSED),
}


def host_reported(state: HostState) -> bool:
    """In a transaction: keep a host's capacity; a host never seen becomes one. True if it is new."""
    columns = {
        "state": msgspec.to_builtins(state),
        "vcpus": state.vcpus,
        "memory_mb": state.memory_mb,
        "disk_gb": state.disk_gb,
        "updated_at": now(),
    }
    if HostRow.change({"host": state.host}, **columns):
        return False
    HostRow.create(host=state.host, **columns)
    return True


def differing(host: str, guests: list[GuestInfo]) -> list[GuestInfo]:
    """In a transaction: those of a host's guests that are not where and as the store has them: for `compare`. Every
    host tells of all its guests each minute, and nearly always there are none."""
    columns: Any = InstanceRow.select(
        InstanceRow.uuid, InstanceRow.host, InstanceRow.vm_state, InstanceRow.power_state
    ).where(InstanceRow.uuid.in_([guest.uuid for guest in guests]))
    known = {uuid: (where, vm_state, power) for uuid, where, vm_state, power in columns.tuples()}
    here = {(host, vm_state, power) for vm_state, power in AT_REST}
    return [guest for guest in guests if known.get(guest.uuid) not in here or known[guest.uuid][2] != guest.power_state]


def absent(host: str, guests: list[GuestInfo]) -> list[str]:
    """In a transaction: the servers that the store places on a host, which told of no such guest: for `missing`."""
    there = (InstanceRow.host == host) & InstanceRow.deleted_at.is_null() & InstanceRow.task_state.is_null()
    seen = {guest.uuid for guest in guests}
    query: Any = InstanceRow.select(InstanceRow.uuid).where(there, InstanceRow.power_state != PowerState.NOSTATE)
    return [uuid for (uuid,) in query.tuples() if uuid not in seen]


def missing(host: str, uuids: list[str]) -> None:
    """In a transaction: note that these servers are not on their host."""
    for uuid in uuids:
        row = InstanceRow.one("uuid", uuid)
        if row is None or row.host != host or row.deleted_at is not None or row.task_state is not None:
            continue
        if not _busy(uuid):
            _missing(row)


def compare(host: str, guests: list[GuestInfo]) -> list[Disowned]:
    """In a transaction: hold a host's guests against the store. Returns those it must remove: deleted or
    placed elsewhere, unless an operation is at work on them. Power states are taken up."""
    disowned = []
    unknown = []
    for guest in guests:
        row = _known(guest.uuid)
        if row is None:
            # What was deleted is remembered: this store never knew it, and so may be the wrong or an old one.
            unknown.append(guest.uuid)
            continue
        if isinstance(row, PastInstanceRow) or row.host != host:
            if not _busy(guest.uuid):
                disowned.append(_disowned(row))
            continue
        power_reported(row, guest.power_state)
    if unknown:
        log.warning(
            "%s has %d guests that this store never knew, which are left alone: %s%s",
            *(host, len(unknown), ", ".join(unknown[:MOST_NAMED]), ", ..." if len(unknown) > MOST_NAMED else ""),
        )
    return disowned


def disowned_still(host: str, uuid: str) -> Disowned | None:
    """In a transaction: what is to be said of that guest now; None when it is the host's again, or at work on."""
    row = _known(uuid)
    if row is None or (isinstance(row, InstanceRow) and row.host == host) or _busy(uuid):
        return None
    return _disowned(row)


def _known(uuid: str) -> InstanceRow | PastInstanceRow | None:
    """The server's row, or what stays of one that was deleted so long ago that its row has aged out."""
    return InstanceRow.one("uuid", uuid) or PastInstanceRow.one("uuid", uuid)


def _disowned(row: InstanceRow | PastInstanceRow) -> Disowned:
    reason = "moved" if row.deleted_at is None else "deleted"
    return Disowned(uuid=row.uuid, reason=reason, generation=row.generation)


def power_reported(row: InstanceRow, power_state: int) -> None:
    """In a transaction: a guest was found in a power state. The store's wish decides what follows: a guest
    that stopped by itself is STOPPED; one that runs though it should not is stopped; nothing is started."""
    if row.vm_state == VmState.ACTIVE and row.power_state == power_state == PowerState.RUNNING:
        return  # as nearly always
    if row.task_state is not None or row.deleted_at is not None or _busy(row.uuid):
        return
    if row.power_state != power_state:
        InstanceRow.update(power_state=power_state).where(InstanceRow.uuid == row.uuid).execute()
    gone = power_state in (PowerState.SHUTDOWN, PowerState.CRASHED)
    if row.vm_state in (VmState.ACTIVE, VmState.PAUSED) and gone:
        log.info("server %s stopped by itself on %s", row.uuid, row.host)
        InstanceRow.update(vm_state=VmState.STOPPED, updated_at=now()).where(InstanceRow.uuid == row.uuid).execute()
        journal.record_action("stop", row.uuid, system_context(row), finished=True)
    elif row.vm_state == VmState.STOPPED and power_state == PowerState.RUNNING:
        log.warning("server %s runs on %s though it should be stopped: stopping it", row.uuid, row.host)
        InstanceRow.update(task_state=TaskState.POWERING_OFF).where(InstanceRow.uuid == row.uuid).execute()
        journal.begin("stop", row.uuid, system_context(row), {"patience_s": 0})
    elif row.vm_state == VmState.PAUSED and power_state == PowerState.RUNNING:
        InstanceRow.update(vm_state=VmState.ACTIVE, updated_at=now()).where(InstanceRow.uuid == row.uuid).execute()
    elif row.vm_state == VmState.ACTIVE and power_state == PowerState.PAUSED:
        log.warning("server %s is paused on %s though nobody asked for it", row.uuid, row.host)


def system_context(row: InstanceRow) -> RequestContext:
    """The context of what the cloud does by itself, on behalf of the server's owner."""
    return RequestContext(request_id=f"req-{new_id()}", user_id=row.user_id, project_id=row.project_id)


def _missing(row: InstanceRow) -> None:
    if row.vm_state in (VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED) and row.power_state != PowerState.NOSTATE:
        log.warning("server %s should be on %s, but that host has no such guest", row.uuid, row.host)
        InstanceRow.update(power_state=PowerState.NOSTATE).where(InstanceRow.uuid == row.uuid).execute()


def _busy(uuid: str) -> bool:
    return (
        OperationRow.select().where(OperationRow.subject == uuid, OperationRow.state.in_(("ready", "running"))).exists()
    )
