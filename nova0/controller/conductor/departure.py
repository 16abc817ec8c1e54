"""A host leaves the cluster for good: what the store says of its servers, its room and its name.

Its guests are about to be removed, so its servers end in ERROR, on no host, with a fault that says so: their
users see why, and delete them like any other. Deletes under way end as with a host that was fenced.
"""

from __future__ import annotations

import datetime
from typing import Any

from nova0.controller.compute import host_changes
from nova0.controller.conductor import claims, journal
from nova0.controller.conductor.operation import World, record_fault, set_instance, supersede
from nova0.controller.db.compute_tables import AggregateRow, HostRow, InstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.network import books as networks
from nova0.objects.states import PowerState, VmState

AT_ONCE = 50  # servers settled in one transaction, of which there is one at a time
_UNFINISHED = ("ready", "running")


def leave(world: World, host: str) -> list[str]:
    """Settle everything of `host` and forget it; the uuids of the servers that end in ERROR. Asked again it goes on
    where it was. The caller sees to it that the host runs nothing new meanwhile."""
    world.store.write(lambda: _close(host))
    settled: list[str] = []
    while some := world.store.write(lambda: _settle(host)):
        for uuid, network_ids in some:
            settled.append(uuid)
            world.scheduler.release(uuid)
            world.networks_changed(network_ids)
    world.store.write(lambda: _forget(host))
    return settled


def _close(host: str) -> None:
    """In a transaction: nothing more is placed there, and nothing waits for its word."""
    if HostRow.change({"host": host}, disabled=True, disabled_reason="leaves the cluster", forced_down=True):
        host_changes.changed(host)


def _settle(host: str) -> list[tuple[str, list[str]]]:
    """In a transaction: some of its servers, each with the networks that are to hear of it."""
    deleting = OperationRow.select(OperationRow.subject).where(
        OperationRow.kind == "delete", OperationRow.state.in_(_UNFINISHED)
    )
    here: Any = InstanceRow.select(InstanceRow.uuid).where(
        InstanceRow.host == host, InstanceRow.deleted_at.is_null(), InstanceRow.uuid.not_in(deleting)
    )
    return [(uuid, _end(uuid, host)) for (uuid,) in list(here.limit(AT_ONCE).tuples())]


def _end(uuid: str, host: str) -> list[str]:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    message = f"host {host} left the cluster on {date}, its guests were removed"
    heard_by = networks.heard_by(uuid)
    for operation in OperationRow.select().where(OperationRow.subject == uuid, OperationRow.state.in_(_UNFINISHED)):
        journal.action_finished(int(operation.data["action_id"]), message)
    supersede(uuid, by=f"{host}, which left the cluster")
    claims.free(uuid)
    networks.bind(uuid, None)
    InstanceRow.update(generation=InstanceRow.generation + 1).where(InstanceRow.uuid == uuid).execute()
    set_instance(
        uuid,
        vm_state=VmState.ERROR,
        task_state=None,
        power_state=PowerState.NOSTATE,
        host=None,
        node=None,
        host_leased_until=None,
        admin_password=None,
    )
    record_fault(uuid, message, host)
    return heard_by


def _forget(host: str) -> None:
    """In a transaction: the host is none any more; whoever joins under its name begins anew."""
    for aggregate in AggregateRow.select():
        if host in aggregate.hosts:
            aggregate.hosts = [other for other in aggregate.hosts if other != host]
            aggregate.save()
    HostRow.delete().where(HostRow.host == host).execute()
    host_changes.changed()
