"""The `networks` of a server create: which may be asked for, refused in the field's words. Inside a store closure."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.context import RequestContext
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortRow
from nova0.controller.network import addresses, making

Wanted = list[dict[str, Any]]  # [{"uuid" | "port", "fixed_ip"?, "tag"?}]


def validate_request(context: RequestContext, requested: Any, count: int = 1) -> Wanted | str:
    """`requested` ("auto", "none", None or a list) as it is to be kept with the server: a list, or "none".

    None and "auto" become the one network the project may use. ApiError 400, 403, 409 for what can't be.
    """
    if requested == "none":
        return "none"
    if requested is None or requested == "auto":
        return _only_network(context, count, must=requested == "auto")
    seen_ports: set[str] = set()
    seen_networks: set[str] = set()  # looked at once: to count what is free takes a while
    kept: Wanted = []
    for one in requested:
        entry = {key: one[key] for key in ("uuid", "port", "fixed_ip", "tag") if one.get(key) is not None}
        if "port" in entry:
            _check_port(context, entry, count)
            if entry["port"] in seen_ports:
                raise errors.bad_request(f"networks: port {entry['port']} is named twice.")
            seen_ports.add(entry["port"])
            entry.pop("uuid", None)
        elif "uuid" in entry:
            if "fixed_ip" in entry or entry["uuid"] not in seen_networks:
                _check_network(context, entry, count)
            if "fixed_ip" not in entry:
                seen_networks.add(entry["uuid"])
        else:
            raise errors.bad_request("networks: each entry needs uuid or port.")
        kept.append(entry)
    return kept or _only_network(context, count, must=False)


def available(project_id: str) -> list[NetworkRow]:
    """Networks a project's servers may use: its own and shared ones."""
    table = NetworkRow
    own = (table.project_id == project_id) | table.shared
    return list(table.select().where(own, ~table.external).order_by(table.created_at))


def _only_network(context: RequestContext, count: int, *, must: bool) -> Wanted | str:
    usable = [row for row in available(context.project_id) if making.subnet_of(row.id) is not None]
    if len(usable) > 1:
        raise errors.conflict("Multiple possible networks found, use a Network ID to be more specific.")
    if not usable:
        if must:
            raise errors.bad_request(
                "Unable to automatically allocate a network: the project has none; make one first."
            )
        return "none"
    entry = {"uuid": usable[0].id}
    _check_network(context, entry, count)
    return [entry]


def _check_network(context: RequestContext, entry: dict[str, Any], count: int) -> None:
    row = NetworkRow.get_or_none(NetworkRow.id == entry["uuid"])
    if row is None or not (row.shared or context.can_see(row.project_id)):
        raise errors.bad_request(f"Network {entry['uuid']} could not be found.")
    subnet = making.subnet_of(row.id)
    if subnet is None:
        raise errors.bad_request(f"Network {row.id} requires a subnet in order to boot instances on.")
    wanted = entry.get("fixed_ip")
    if wanted is not None:
        if count > 1:
            raise errors.bad_request("Invalid fixed IP Address: one address can't be given to several servers.")
        addresses.check_usable(subnet, wanted)
        if addresses.is_taken(subnet, wanted):
            raise errors.bad_request(f"Fixed IP address {wanted} is already in use.")
    elif addresses.free_count(subnet) < count:
        raise errors.bad_request(f"No more fixed IP addresses on network {row.id}: {count} wanted.")


def _check_port(context: RequestContext, entry: dict[str, Any], count: int) -> None:
    row = PortRow.get_or_none(PortRow.id == entry["port"])
    if row is None or not context.can_see(row.project_id):
        raise errors.bad_request(f"Port id {entry['port']} could not be found.")
    if "fixed_ip" in entry:
        raise errors.bad_request(f"networks: fixed_ip can't be given with port {row.id}, which has its own.")
    if count > 1:
        raise errors.bad_request("Unable to launch multiple instances with a single configured port ID.")
    if row.device_id:
        raise errors.conflict(f"Port {row.id} is still in use.")
    if FixedAddressRow.get_or_none(FixedAddressRow.port_id == row.id) is None:
        raise errors.bad_request(f"Port {row.id} requires a FixedIP in order to be used.")
