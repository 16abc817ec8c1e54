"""Addresses of a subnet: its pools, the lowest free one, taking and giving back. Inside a store closure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from socket import inet_aton
from typing import Any

import peewee

from nova0.controller.api import errors
from nova0.controller.db.network_tables import FixedAddressRow, SubnetRow

Pool = dict[str, str]  # {"start", "end"}
Used = dict[str, set[int]]  # subnet id -> its addresses in use: read once where one transaction takes several


def default_gateway(cidr: IPv4Network) -> str | None:
    return str(cidr.network_address + 1) if cidr.num_addresses > 2 else None


def default_pools(cidr: IPv4Network, gateway: str | None) -> list[Pool]:
    """All hosts of the subnet but its gateway, as one or two ranges."""
    first, last = int(cidr.network_address) + 1, int(cidr.broadcast_address) - 1
    ranges = [(first, last)]
    if gateway is not None and first <= int(IPv4Address(gateway)) <= last:
        middle = int(IPv4Address(gateway))
        ranges = [(first, middle - 1), (middle + 1, last)]
    return [{"start": str(IPv4Address(low)), "end": str(IPv4Address(high))} for low, high in ranges if low <= high]


def check_pools(cidr: IPv4Network, gateway: str | None, pools: list[Pool]) -> None:
    """ApiError 400/409 naming the pool that is backwards, outside, overlapping, or holds the gateway."""
    for pool in pools:
        if ":" in pool["start"] + pool["end"]:
            raise errors.bad_request(f"allocation_pools: {pool['start']} is no IPv4 address.", "InvalidAllocationPool")
    ranges = sorted((int(IPv4Address(pool["start"])), int(IPv4Address(pool["end"]))) for pool in pools)
    first, last = int(cidr.network_address) + 1, int(cidr.broadcast_address) - 1
    before = -1
    for start, end in ranges:
        shown = f"{IPv4Address(start)}-{IPv4Address(end)}"
        if start > end:
            raise errors.bad_request(f"allocation_pools: {shown} ends before it starts.", "InvalidAllocationPool")
        if start < first or end > last:
            raise errors.bad_request(
                f"allocation_pools: {shown} is not within the hosts of {cidr}.", "OutOfBoundsAllocationPool"
            )
        if start <= before:
            raise errors.conflict(f"allocation_pools: {shown} overlaps another pool.", "OverlappingAllocationPools")
        if gateway is not None and start <= int(IPv4Address(gateway)) <= end:
            raise errors.conflict(
                f"Gateway ip {gateway} conflicts with allocation pool {shown}.", "GatewayConflictWithAllocationPools"
            )
        before = end


def used(subnet: SubnetRow) -> set[int]:
    query: Any = FixedAddressRow.select(FixedAddressRow.ip_address).where(FixedAddressRow.subnet_id == subnet.id)
    return {int.from_bytes(inet_aton(address)) for (address,) in query.tuples()}  # there may be ten thousand


def _ranges(subnet: SubnetRow) -> Iterator[tuple[int, int]]:
    for pool in subnet.allocation_pools:
        yield int(IPv4Address(pool["start"])), int(IPv4Address(pool["end"]))


def free_count(subnet: SubnetRow) -> int:
    """How many addresses of its pools nobody has."""
    taken = used(subnet)
    return sum(high - low + 1 - sum(1 for one in taken if low <= one <= high) for low, high in _ranges(subnet))


def take(subnet: SubnetRow, port_id: str, wanted: str | None = None, known: Used | None = None) -> str:
    """Give a port an address: `wanted`, which may lie outside the pools, else the lowest free one.

    ApiError: 400 not in the subnet, 409 in use, 409 exhausted.
    """
    known = {} if known is None else known
    if wanted is None:
        if subnet.id not in known:
            known[subnet.id] = used(subnet)
        taken = known[subnet.id]
        found = next((one for low, high in _ranges(subnet) for one in range(low, high + 1) if one not in taken), None)
        if found is None:
            raise errors.conflict(
                f"No more IP addresses available on network {subnet.network_id}: subnet {subnet.cidr} is used up; "
                "make another network with a larger subnet.",
                "IpAddressGenerationFailure",
            )
        wanted = str(IPv4Address(found))
    else:
        check_usable(subnet, wanted)
    try:
        FixedAddressRow.create(subnet_id=subnet.id, ip_address=wanted, port_id=port_id)
    except peewee.IntegrityError:
        raise errors.conflict(
            f"IP address {wanted} already allocated in subnet {subnet.id}", "IpAddressAlreadyAllocated"
        ) from None
    if subnet.id in known:
        known[subnet.id].add(int(IPv4Address(wanted)))
    return wanted


def check_usable(subnet: SubnetRow, wanted: str) -> None:
    """ApiError 400 when it is no host address of the subnet, or its gateway's."""
    cidr = IPv4Network(subnet.cidr)
    try:
        address = IPv4Address(wanted)
    except ValueError:
        raise errors.bad_request(f"fixed_ip: {wanted} is not an IPv4 address.", "InvalidInput") from None
    if address not in cidr or address in (cidr.network_address, cidr.broadcast_address):
        raise errors.bad_request(
            f"IP address {wanted} is not a valid IP for the specified subnet {cidr}.", "InvalidIpForSubnet"
        )
    if wanted == subnet.gateway_ip:
        raise errors.bad_request(f"IP address {wanted} is the gateway of subnet {cidr}.", "InvalidIpForSubnet")


def is_taken(subnet: SubnetRow, wanted: str) -> bool:
    return FixedAddressRow.get_or_none(subnet_id=subnet.id, ip_address=wanted) is not None


def give_back(port_ids: list[str]) -> None:
    FixedAddressRow.delete().where(FixedAddressRow.port_id.in_(port_ids)).execute()
