"""Finding servers: by id for one caller, and the ports, groups and faults that belong to what is shown of them.

All functions run inside a transaction of the store.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nova0.controller.compute.refusals import NotFound
from nova0.controller.context import RequestContext
from nova0.controller.db.compute_tables import FaultRow, InstanceRow
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortRow, SecurityGroupRow


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address of a server, with the port and network it is on."""

    port_id: str
    port_status: str
    network_id: str
    network_name: str
    mac: str
    ip: str
    subnet_id: str
    security_groups: tuple[str, ...]  # ids

    @property
    def version(self) -> int:
        return 6 if ":" in self.ip else 4


def is_uuid(text: str) -> bool:
    try:
        uuids.UUID(text)
    except ValueError:
        return False
    return True


def get(uuid: str, context: RequestContext, *, deleted: bool = False) -> InstanceRow:
    """A server of the caller's project (any, for an admin). `deleted`: gone ones too. Raises NotFound."""
    row = InstanceRow.one("uuid", uuid)
    if row is None or (row.deleted_at is not None and not deleted) or not context.can_see(row.project_id):
        raise NotFound(f"Instance {uuid} could not be found.")
    return row


def addresses_of(servers: Iterable[str]) -> dict[str, list[Address]]:
    """Addresses by server, in the order of its ports; ports without an address are left out."""
    wanted = list(servers)
    found: dict[str, list[Address]] = {uuid: [] for uuid in wanted}
    if not wanted:
        return found
    query: Any = (
        PortRow.select(
            PortRow.device_id,
            PortRow.id,
            PortRow.status,
            PortRow.network_id,
            NetworkRow.name,
            PortRow.mac_address,
            FixedAddressRow.ip_address,
            FixedAddressRow.subnet_id,
            PortRow.security_groups,
        )
        .join(NetworkRow, on=(NetworkRow.id == PortRow.network_id))
        .join(FixedAddressRow, on=(FixedAddressRow.port_id == PortRow.id))
        .where(PortRow.device_id.in_(wanted))
        .order_by(PortRow.position, PortRow.created_at, FixedAddressRow.id)
        .tuples()
    )
    for device, port, status, network, name, mac, ip, subnet, groups in query:
        found[device].append(
            Address(
                port_id=port,
                port_status=status,
                network_id=network,
                network_name=name or network,
                mac=mac,
                ip=ip,
                subnet_id=subnet,
                security_groups=tuple(groups or ()),
            )
        )
    return found


def bare_addresses_of(servers: list[str]) -> list[tuple[str, str]]:
    """(server, address) of their ports, in no order."""
    query: Any = (
        PortRow.select(PortRow.device_id, FixedAddressRow.ip_address)
        .join(FixedAddressRow, on=(FixedAddressRow.port_id == PortRow.id))
        .where(PortRow.device_id.in_(servers))
    )
    return list(query.tuples())


def ports_of(server: str) -> list[PortRow]:
    return list(PortRow.select().where(PortRow.device_id == server).order_by(PortRow.position, PortRow.created_at))


def group_names(ids: Iterable[str]) -> dict[str, str]:
    """Names of security groups by id."""
    wanted = list(set(ids))
    if not wanted:
        return {}
    query: Any = SecurityGroupRow.select(SecurityGroupRow.id, SecurityGroupRow.name).where(
        SecurityGroupRow.id.in_(wanted)
    )
    return dict(query.tuples())


def faults_of(servers: Iterable[str]) -> dict[str, FaultRow]:
    """The newest fault of each."""
    wanted = list(servers)
    if not wanted:
        return {}
    rows = FaultRow.select().where(FaultRow.instance_uuid.in_(wanted)).order_by(FaultRow.id)
    return {row.instance_uuid: row for row in rows}
