"""Networks through compute, to 2.35: list and show, for clients that look a network up by its old address."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute.refusals import Gone, NotFound
from nova0.controller.db.network_tables import NetworkRow, SubnetRow

_ABSENT = [
    "bridge",
    "vpn_public_port",
    "dhcp_start",
    "bridge_interface",
    "updated_at",
    "cidr_v6",
    "deleted_at",
    "gateway",
    "rxtx_base",
    "priority",
    "project_id",
    "vpn_private_address",
    "deleted",
    "vlan",
    "broadcast",
    "netmask",
    "injected",
    "cidr",
    "vpn_public_address",
    "multi_host",
    "dns1",
    "dns2",
    "host",
    "gateway_v6",
    "netmask_v6",
    "created_at",
    "mtu",
    "dhcp_server",
    "enable_dhcp",
    "share_address",
]


@route("GET", "/os-networks", needs="reader", until="2.35")
def listed(request: Request) -> dict[str, Any]:
    return {"networks": [_full(row) for row, _ in _visible(request)]}


@route("GET", "/os-networks/<network_id>", needs="reader", until="2.35")
def show(request: Request, network_id: str) -> dict[str, Any]:
    return {"network": _full(_one(request, network_id)[0])}


@route("GET", "/os-tenant-networks", needs="reader", until="2.35")
def project_list(request: Request) -> dict[str, Any]:
    return {"networks": [_short(row, cidr) for row, cidr in _visible(request)]}


@route("GET", "/os-tenant-networks/<network_id>", needs="reader", until="2.35")
def project_show(request: Request, network_id: str) -> dict[str, Any]:
    return {"network": _short(*_one(request, network_id))}


@route("POST", "/os-networks", needs="member")
@route("DELETE", "/os-networks/<network_id>", needs="member")
@route("POST", "/os-networks/<network_id>/action", needs="member")
@route("POST", "/os-tenant-networks", needs="member")
@route("DELETE", "/os-tenant-networks/<network_id>", needs="member")
def change(request: Request, network_id: str = "") -> None:
    raise Gone("Networks are made and changed through the network service only (/network/v2.0).")


def _visible(request: Request) -> list[tuple[NetworkRow, str]]:
    def closure() -> list[tuple[NetworkRow, str]]:
        query = NetworkRow.select().order_by(NetworkRow.created_at)
        if not request.context.is_admin:
            query = query.where((NetworkRow.project_id == request.context.project_id) | NetworkRow.shared)
        subnets: Any = SubnetRow.select(SubnetRow.network_id, SubnetRow.cidr).tuples()
        cidrs: dict[str, str] = dict(subnets)
        return [(row, cidrs.get(row.id, "None")) for row in query]

    return request.store.read(closure)


def _one(request: Request, network_id: str) -> tuple[NetworkRow, str]:
    for row, cidr in _visible(request):
        if row.id == network_id:
            return row, cidr
    raise NotFound("Network not found")


def _full(row: NetworkRow) -> dict[str, Any]:
    """The field's full row with all but id and name empty, as it does where the network service has them."""
    return {name: None for name in _ABSENT} | {"id": row.id, "label": row.name}


def _short(row: NetworkRow, cidr: str) -> dict[str, Any]:
    return {"id": row.id, "label": row.name, "cidr": cidr}
