"""Subnets: the addresses of a network. One IPv4 subnet a network is offered; a second is refused clearly."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import limits, listing, networks
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, SubnetRow
from nova0.controller.network import addresses, revision

_POOL = v.obj({"start": v.IP, "end": v.IP}, ["start", "end"])
_CHANGEABLE = {
    **listing.DESCRIBED,
    "gateway_ip": {"anyOf": [v.IP, {"type": "null"}]},
    "enable_dhcp": v.BOOLEAN,
    "allocation_pools": {"anyOf": [{"type": "array", "maxItems": 64, "items": _POOL}, {"type": "null"}]},
    "dns_nameservers": {
        "anyOf": [{"type": "array", "items": v.IP, "maxItems": 5, "uniqueItems": True}, {"type": "null"}]
    },
    "host_routes": {"anyOf": [{"type": "array", "maxItems": 0}, {"type": "null"}]},
}
_CREATE = v.obj(
    _CHANGEABLE
    | listing.OWNED
    | {
        "network_id": v.UUID,
        "cidr": v.CIDR,
        "ip_version": {"enum": [4, "4", 6, "6"]},
        "subnetpool_id": {"type": "null"},
        "prefixlen": {"type": "null"},
        "segment_id": {"type": "null"},
        "ipv6_ra_mode": {"type": "null"},
        "ipv6_address_mode": {"type": "null"},
        "service_types": {"type": "array", "maxItems": 0},
    },
    ["network_id", "cidr", "ip_version"],
)
_UPDATE = v.obj(_CHANGEABLE)
_FILTERS = ("network_id", "cidr", "ip_version", "gateway_ip", "enable_dhcp", "subnetpool_id", "shared", "segment_id")

_NOT_FOR_GUESTS = {  # what a guest could not use; any other range may be in use elsewhere, also on its host
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "the link itself, metadata too",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "broadcast and nothing else",
}


def view(row: SubnetRow) -> dict[str, Any]:
    return listing.common(row) | {
        "network_id": row.network_id,
        "ip_version": row.ip_version,
        "cidr": row.cidr,
        "gateway_ip": row.gateway_ip,
        "enable_dhcp": row.enable_dhcp,
        "allocation_pools": row.allocation_pools,
        "dns_nameservers": row.dns_nameservers,
        "host_routes": row.host_routes,
        "subnetpool_id": None,
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        "service_types": [],
    }


def _shared() -> Any:
    return SubnetRow.network_id.in_(NetworkRow.select(NetworkRow.id).where(NetworkRow.shared))


def get(request: Request, subnet_id: str) -> SubnetRow:
    return listing.get(request, SubnetRow, subnet_id, "Subnet", _shared())


@route("GET", "/subnets", needs="reader", query=listing.query(*_FILTERS))
def index(request: Request) -> dict[str, Any]:
    views = request.store.read(lambda: [view(row) for row in listing.visible(request, SubnetRow, _shared())])
    return listing.page(request, "subnets", views)


@route("GET", "/subnets/<id>", needs="reader", query=listing.FIELDS)
def show(request: Request, id: str) -> dict[str, Any]:
    return {"subnet": listing.only_fields(request, request.store.read(lambda: view(get(request, id))))}


@route("POST", "/subnets", needs="member", success=201)
def create(request: Request) -> dict[str, Any]:
    items, many = listing.wanted(request, "subnet", _CREATE, "subnets")
    rows = request.store.write(lambda: [_create(request, item) for item in items])
    listing.tell(request, [row.network_id for row in rows])
    return listing.answer_created("subnet", "subnets", [view(row) for row in rows], many)


def _create(request: Request, item: dict[str, Any]) -> SubnetRow:
    network = listing.own(request, networks.get(request, item["network_id"]), "Network")
    cidr = _cidr(item)
    _check_alone(network, cidr)
    limits.check("subnet", network.project_id)
    gateway = item["gateway_ip"] if "gateway_ip" in item else addresses.default_gateway(cidr)
    _check_gateway(cidr, gateway)
    pools = item.get("allocation_pools")
    if pools:
        addresses.check_pools(cidr, gateway, pools)
    row = SubnetRow.create(
        network_id=network.id,
        project_id=network.project_id,
        name=item.get("name", ""),
        description=item.get("description", ""),
        cidr=str(cidr),
        gateway_ip=gateway,
        enable_dhcp=v.truth(item.get("enable_dhcp", True)),
        allocation_pools=pools or addresses.default_pools(cidr, gateway),
        dns_nameservers=_dns(item.get("dns_nameservers")),
    )
    revision.touch([network.id])
    return row


def _cidr(item: dict[str, Any]) -> IPv4Network:
    if str(item["ip_version"]) == "6" or ":" in item["cidr"]:
        raise errors.bad_request("cidr: IPv6 subnets are not offered; use an IPv4 range.", "InvalidInput")
    if "/" not in item["cidr"]:
        raise errors.bad_request(f"cidr: {item['cidr']} has no prefix length, e.g. /24.", "InvalidInput")
    try:
        cidr = IPv4Network(item["cidr"])
    except ValueError:
        cidr = IPv4Network(item["cidr"], strict=False)
        raise errors.bad_request(
            f"cidr: {item['cidr']} has host bits set; did you mean {cidr}?", "InvalidInput"
        ) from None
    if cidr.prefixlen > 30 or cidr.prefixlen < 8:
        raise errors.bad_request(f"cidr: {cidr} must have a prefix of /8 to /30.", "InvalidInput")
    for kept, purpose in _NOT_FOR_GUESTS.items():
        if cidr.overlaps(kept):
            raise errors.bad_request(
                f"cidr: {cidr} can't be given to guests: {kept} is for {purpose}. Use e.g. 10.20.0.0/24.",
                "InvalidInput",
            )
    return cidr


def _check_alone(network: NetworkRow, cidr: IPv4Network) -> None:
    """One subnet a network: hosts build one gateway and one range of each."""
    for other in SubnetRow.select().where(SubnetRow.network_id == network.id):
        if IPv4Network(other.cidr).overlaps(cidr):
            raise errors.bad_request(
                f"Invalid input for operation: Requested subnet with cidr: {cidr} for network: {network.id} "
                f"overlaps with another subnet ({other.cidr}).",
                "InvalidInput",
            )
        raise errors.bad_request(
            f"network_id: network {network.id} has subnet {other.cidr} already; one subnet a network is offered: "
            "make another network.",
            "InvalidInput",
        )


def _check_gateway(cidr: IPv4Network, gateway: str | None) -> None:
    if gateway is None:
        return
    if ":" in gateway or IPv4Address(gateway) not in cidr:
        raise errors.bad_request(f"gateway_ip: {gateway} is not in {cidr}.", "InvalidInput")
    if IPv4Address(gateway) in (cidr.network_address, cidr.broadcast_address):
        raise errors.bad_request(f"gateway_ip: {gateway} is no host address of {cidr}.", "InvalidInput")


def _dns(servers: list[str] | None) -> list[str]:
    if any(":" in one for one in servers or ()):
        raise errors.bad_request("dns_nameservers: only IPv4 addresses are offered.", "InvalidInput")
    return servers or []


@route("PUT", "/subnets/<id>", needs="member")
def update(request: Request, id: str) -> dict[str, Any]:
    [item], _ = listing.wanted(request, "subnet", _UPDATE)

    def closure() -> SubnetRow:
        row = listing.own(request, get(request, id), "Subnet")
        cidr = IPv4Network(row.cidr)
        if "gateway_ip" in item and item["gateway_ip"] != row.gateway_ip:
            _change_gateway(row, cidr, item["gateway_ip"])
        if item.get("allocation_pools"):
            addresses.check_pools(cidr, row.gateway_ip, item["allocation_pools"])
            row.allocation_pools = item["allocation_pools"]
        if "dns_nameservers" in item:
            row.dns_nameservers = _dns(item["dns_nameservers"])
        if "enable_dhcp" in item:
            row.enable_dhcp = v.truth(item["enable_dhcp"])
        for key in ("name", "description"):
            if key in item:
                setattr(row, key, item[key])
        row.revision, row.updated_at = row.revision + 1, now()
        row.save()
        revision.touch([row.network_id])
        return row

    row = request.store.write(closure)
    listing.tell(request, [row.network_id])
    return {"subnet": view(row)}


def _change_gateway(row: SubnetRow, cidr: IPv4Network, gateway: str | None) -> None:
    _check_gateway(cidr, gateway)
    if gateway is not None:
        if addresses.is_taken(row, gateway):
            raise errors.conflict(f"gateway_ip: {gateway} is in use by a port.", "GatewayIpInUse")
        if row.allocation_pools == addresses.default_pools(cidr, row.gateway_ip):
            row.allocation_pools = addresses.default_pools(cidr, gateway)
        addresses.check_pools(cidr, gateway, row.allocation_pools)
    row.gateway_ip = gateway


@route("DELETE", "/subnets/<id>", needs="member", success=204)
def delete(request: Request, id: str) -> None:
    def closure() -> str:
        row = listing.own(request, get(request, id), "Subnet")
        if FixedAddressRow.select().where(FixedAddressRow.subnet_id == id).exists():
            raise errors.conflict(
                f"Unable to complete operation on subnet {id}: "
                "One or more ports have an IP allocation from this subnet.",
                "SubnetInUse",
            )
        row.delete_instance()
        revision.touch([row.network_id])
        return row.network_id

    listing.tell(request, [request.store.write(closure)])
