"""Services and hypervisors as operators see them: one nova-compute a host, scheduler and conductor of the controller.

Functions that read rows run inside a transaction of the store.
"""

from __future__ import annotations

import socket
import uuid as uuids
from dataclasses import dataclass

from nova0.config import CONF
from nova0.controller.compute import host_changes, zones
from nova0.controller.compute.refusals import Conflict, NotFound
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import AggregateRow, HostRow, InstanceRow
from nova0.controller.numbers import whole
from nova0.controller.services import Hosts

COMPUTE = "nova-compute"
OF_CONTROLLER = ("nova-conductor", "nova-scheduler")
_NAMESPACE = uuids.UUID("9c0f4a52-6f0e-4f0f-8f0a-6e6f76613000")


@dataclass(frozen=True, kw_only=True)
class Service:
    """`number` is the id below 2.53; `updated_at` when it was last heard, seconds since the epoch."""

    number: int
    uuid: str
    binary: str
    host: str
    zone: str
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    alive: bool
    updated_at: float | None


def controller_host() -> str:
    return str(CONF.host or socket.gethostname().split(".")[0])


def listed(hosts: Hosts) -> list[Service]:
    """All services, the controller's first."""
    here, found = controller_host(), []
    for number, binary in enumerate(OF_CONTROLLER, start=1):
        found.append(
            Service(
                number=number,
                uuid=str(uuids.uuid5(_NAMESPACE, f"{binary}@{here}")),
                binary=binary,
                host=here,
                zone=zones.INTERNAL,
                disabled=False,
                disabled_reason=None,
                forced_down=False,
                alive=True,  # they answer this very request
                updated_at=now(),
            )
        )
    named = zones.zones_of_hosts()
    for row in HostRow.select().order_by(HostRow.id):
        found.append(compute_service(row, hosts, named.get(row.host, zones.default_zone())))
    return found


def compute_service(row: HostRow, hosts: Hosts, zone: str) -> Service:
    """`state` comes from the mesh's liveness (seconds), unless an operator forced the host down."""
    life = hosts.life(row.host)
    heard = now() - life.age_s if life.age_s is not None else row.updated_at
    return Service(
        number=row.id + len(OF_CONTROLLER),
        uuid=row.service_uuid,
        binary=COMPUTE,
        host=row.host,
        zone=zone,
        disabled=row.disabled,
        disabled_reason=row.disabled_reason,
        forced_down=row.forced_down,
        alive=life.alive and not row.forced_down,
        updated_at=heard,
    )


def host_of_service(service_id: str) -> HostRow:
    """By uuid, or by number below 2.53. Raises NotFound."""
    number = whole(service_id)
    if number is not None:
        row = HostRow.get_or_none(HostRow.id == number - len(OF_CONTROLLER))
    else:
        row = HostRow.get_or_none(HostRow.service_uuid == service_id)
    if row is None:
        raise NotFound(f"Service {service_id} could not be found.")
    return row


def host_of_binary(host: str, binary: str) -> HostRow:
    row = HostRow.get_or_none(HostRow.host == host) if binary == COMPUTE else None
    if row is None:
        raise NotFound(f"Could not find binary {binary} on host {host}.")
    return row


def set_status(row: HostRow, *, disabled: bool | None, reason: str | None, forced_down: bool | None) -> None:
    """None leaves as it is; enabling clears the reason."""
    if disabled is not None:
        row.disabled, row.disabled_reason = disabled, reason if disabled else None
    if forced_down is not None:
        row.forced_down = forced_down
    row.save()
    host_changes.changed(row.host)


def remove(row: HostRow, hosts: Hosts) -> None:
    """Forget a host that is gone. Raises Conflict while it has servers or still answers."""
    servers = InstanceRow.select().where(InstanceRow.host == row.host).count()
    if servers:
        raise Conflict(
            f"Unable to delete compute service that is hosting instances: {row.host} has {servers}. "
            "Migrate or delete the instances first."
        )
    if hosts.life(row.host).alive:
        raise Conflict(f"The compute service on {row.host} is up: stop its agents first, or it would come back.")
    for aggregate in AggregateRow.select():
        if row.host in aggregate.hosts:
            aggregate.hosts = [host for host in aggregate.hosts if host != row.host]
            aggregate.save()
    row.delete_instance()
    host_changes.changed()
