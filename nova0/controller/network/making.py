"""Making networks and ports: ids on the wire (VNI, MAC) and the rows. Inside a store closure."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from nova0.controller.api import errors
from nova0.controller.db.base_table import new_id
from nova0.controller.db.network_tables import NetworkRow, PortRow, SubnetRow
from nova0.controller.db.operation_tables import FactRow
from nova0.controller.network import addresses

FIRST_VNI = 1001  # below: left to people who run VXLAN of their own on these hosts
LAST_VNI = 2**24 - 1
_NEXT_VNI = "next_vni"
_MAC_TRIES = 16


def gateway_mac(network_id: str) -> str:
    """The anycast gateway's MAC: the same on every host, from the network's id alone."""
    octets = hashlib.sha256(b"nova0 gateway " + network_id.encode()).digest()[:3]
    return "fa:16:3f:" + ":".join(f"{octet:02x}" for octet in octets)


def network(**values: Any) -> NetworkRow:
    """A network with a VNI no other has; numbers are not used again soon, as hosts may still clean up old ones."""
    network_id = new_id()
    return NetworkRow.create(id=network_id, vni=_next_vni(), gateway_mac=gateway_mac(network_id), **values)


def _next_vni() -> int:
    fact = FactRow.get_or_none(FactRow.name == _NEXT_VNI)
    start = vni = int(fact.value) if fact else FIRST_VNI
    while NetworkRow.get_or_none(NetworkRow.vni == vni) is not None:
        vni = vni + 1 if vni < LAST_VNI else FIRST_VNI
        if vni == start:
            raise errors.conflict("Every VXLAN network number is in use: delete a network.", "NoNetworkAvailable")
    after = vni + 1 if vni < LAST_VNI else FIRST_VNI
    FactRow.insert(name=_NEXT_VNI, value=after).on_conflict_replace().execute()
    return vni


def new_mac(network_id: str) -> str:
    """A free MAC on the network, of the field's prefix."""
    for _ in range(_MAC_TRIES):
        mac = "fa:16:3e:" + ":".join(f"{octet:02x}" for octet in os.urandom(3))
        if not PortRow.select(PortRow.id).where(PortRow.network_id == network_id, PortRow.mac_address == mac).exists():
            return mac
    raise errors.ApiError(
        503, f"No free MAC address found on network {network_id}.", kind="MacAddressGenerationFailure"
    )


def subnet_of(network_id: str) -> SubnetRow | None:
    """The network's subnet; one a network is offered."""
    return SubnetRow.one("network_id", network_id)


def port(
    network_row: NetworkRow,
    *,
    address: str | None = None,
    with_address: bool = True,
    known: addresses.Used | None = None,
    **values: Any,
) -> PortRow:
    """A port with an address (`address`, or the lowest free one) where the network has a subnet. ApiError 400/409."""
    row = PortRow.create(id=new_id(), network_id=network_row.id, **({"mac_address": new_mac(network_row.id)} | values))
    subnet = subnet_of(network_row.id)
    if address is not None and subnet is None:
        raise errors.bad_request(f"Network {network_row.id} has no subnet for address {address}.", "InvalidInput")
    if subnet is not None and with_address:
        addresses.take(subnet, row.id, address, known)
    return row
