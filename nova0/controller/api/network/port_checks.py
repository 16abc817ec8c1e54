"""What a port may be given, and by whom: said before anything is written. Inside a store closure."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.request import Request
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortRow, SecurityGroupRow
from nova0.controller.network import making
from nova0.controller.network.groups import default_group

_ADMIN_ONLY = ("binding:host_id", "binding:profile")


def only_admin(request: Request, item: dict[str, Any]) -> None:
    for key in _ADMIN_ONLY:
        if item.get(key) and not request.context.is_admin:
            raise errors.forbidden(f"{key}: only an admin may set it.", "PolicyNotAuthorized")
    if item.get("binding:host_id"):
        raise errors.bad_request("binding:host_id: a port is bound where its server is; boot a server with it.")


def not_a_servers(item: dict[str, Any], row: PortRow | None = None) -> None:
    """Only a boot gives a port to a server: else a stranger's port could be hung on somebody's guest."""
    owner, device = item.get("device_owner") or "", item.get("device_id") or ""
    if row is not None and (owner, device) == (row.device_owner, row.device_id):
        return
    if owner.startswith(("compute:", "network:")) and (row is None or owner != row.device_owner):
        raise errors.forbidden(f"device_owner: {owner} is set by the cloud itself.", "PolicyNotAuthorized")
    kept = row is not None and device == row.device_id
    if device and not kept and InstanceRow.one("uuid", device) is not None:
        raise errors.bad_request(f"device_id: {device} is a server; a port is given to it when it is booted.")


def own_network(request: Request, network: NetworkRow, item: dict[str, Any]) -> None:
    """On a shared network a project may not weaken what its neighbours rely on."""
    for key in ("port_security_enabled", "mac_address"):
        if key in item and not request.context.can_see(network.project_id):
            raise errors.forbidden(f"{key}: only the network's owner may set it.", "PolicyNotAuthorized")


def groups_for(request: Request, project_id: str, wanted: list[str] | None, secure: bool) -> list[str]:
    if not secure:
        if wanted:
            raise errors.conflict(
                "Port security must be enabled in order to have security groups on a port.",
                "PortSecurityAndIPRequiredForSecurityGroups",
            )
        return []
    if wanted is None:
        return [default_group(project_id).id]
    table = SecurityGroupRow
    owners: Any = table.select(table.id, table.project_id).where(table.id.in_(wanted)).tuples()
    known = {id for id, owner in owners if request.context.can_see(owner)}
    for id in wanted:
        if id not in known:
            raise errors.not_found("Security group", id, "SecurityGroupNotFound")
    return wanted


def address_in(network_id: str, fixed: list[dict[str, str]] | None) -> str | None:
    """The address asked for in fixed_ips; None: any. ApiError 400."""
    if not fixed:
        return None
    subnet = making.subnet_of(network_id)
    named = fixed[0].get("subnet_id")
    if named is not None and (subnet is None or subnet.id != named):
        raise errors.bad_request(f"fixed_ips: subnet {named} is not on network {network_id}.", "InvalidInput")
    return fixed[0].get("ip_address")


def free_mac(network_id: str, mac: str) -> str:
    mac = mac.lower()
    if int(mac[:2], 16) & 1:
        raise errors.bad_request(f"mac_address: {mac} is a multicast address.", "InvalidInput")
    if (
        PortRow.get_or_none(network_id=network_id, mac_address=mac) is not None
        or NetworkRow.get_or_none(id=network_id, gateway_mac=mac) is not None
    ):
        raise errors.conflict(
            f"Unable to complete operation for network {network_id}. The mac address {mac} is in use.",
            "MacAddressInUse",
        )
    return mac


def not_under_a_guest(row: PortRow, item: dict[str, Any]) -> None:
    """What a running guest has can't be changed under it."""
    if not row.device_owner.startswith("compute:"):
        return
    for key, now_is in (
        ("device_id", row.device_id),
        ("device_owner", row.device_owner),
        ("mac_address", row.mac_address),
    ):
        if key in item and item[key] != now_is:
            raise errors.conflict(f"{key}: port {row.id} is in use by server {row.device_id}.", "PortInUse")
    if item.get("fixed_ips") is not None:
        have = {one.ip_address for one in FixedAddressRow.select().where(FixedAddressRow.port_id == row.id)}
        if {one.get("ip_address") for one in item["fixed_ips"]} != have:
            raise errors.conflict(f"fixed_ips: port {row.id} is in use by server {row.device_id}.", "PortInUse")
