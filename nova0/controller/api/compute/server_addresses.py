"""Where a server is on its networks: addresses, interfaces, security groups. Read only, but for what is refused."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.compute.views.server import addresses_by_network
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances, security_groups
from nova0.controller.compute.instances import Address
from nova0.controller.compute.refusals import NotBuilt, NotFound
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.network_tables import PortRow, SecurityGroupRow, SecurityGroupRuleRow


@route("GET", "/servers/<server_id>/ips", needs="reader")
def addresses(request: Request, server_id: str) -> dict[str, Any]:
    return {"addresses": addresses_by_network(_addresses(request, server_id))}


@route("GET", "/servers/<server_id>/ips/<label>", needs="reader")
def addresses_of_network(request: Request, server_id: str, label: str) -> dict[str, Any]:
    found = addresses_by_network(_addresses(request, server_id))
    if label not in found:
        raise NotFound("Instance is not a member of specified network")
    return {label: found[label]}


@route("GET", "/servers/<server_id>/os-interface", needs="reader")
def interfaces(request: Request, server_id: str) -> dict[str, Any]:
    return {"interfaceAttachments": _interfaces(request, server_id)}


@route("GET", "/servers/<server_id>/os-interface/<port_id>", needs="reader")
def interface(request: Request, server_id: str, port_id: str) -> dict[str, Any]:
    for view in _interfaces(request, server_id):
        if view["port_id"] == port_id:
            return {"interfaceAttachment": view}
    raise NotFound(f"Instance {server_id} does not have port {port_id}.")


@route("POST", "/servers/<server_id>/os-interface", needs="member")
@route("DELETE", "/servers/<server_id>/os-interface/<port_id>", needs="member")
def change_interfaces(request: Request, server_id: str, port_id: str = "") -> None:
    _server(request, server_id)
    raise NotBuilt("nova0 does not attach or detach interfaces of a server that exists yet.")


@route("GET", "/servers/<server_id>/os-security-groups", needs="reader")
def groups(request: Request, server_id: str) -> dict[str, Any]:
    def closure() -> tuple[list[SecurityGroupRow], list[SecurityGroupRuleRow]]:
        found = security_groups.of_server(instances.get(server_id, request.context))
        ids = [group.id for group in found]
        rules = SecurityGroupRuleRow.select().where(
            SecurityGroupRuleRow.security_group_id.in_(ids), SecurityGroupRuleRow.direction == "ingress"
        )
        return found, list(rules)

    found, rules = request.store.read(closure)
    names = {group.id: group for group in found}
    return {
        "security_groups": [
            {
                "id": group.id,
                "name": group.name,
                "description": group.description,
                "tenant_id": group.project_id,
                "rules": [_rule(rule, names) for rule in rules if rule.security_group_id == group.id],
            }
            for group in found
        ]
    }


def _server(request: Request, server_id: str) -> InstanceRow:
    return request.store.read(lambda: instances.get(server_id, request.context))


def _addresses(request: Request, server_id: str) -> list[Address]:
    def closure() -> list[Address]:
        instances.get(server_id, request.context)
        return instances.addresses_of([server_id])[server_id]

    return request.store.read(closure)


def _interfaces(request: Request, server_id: str) -> list[dict[str, Any]]:
    def closure() -> tuple[InstanceRow, list[PortRow], list[Address]]:
        row = instances.get(server_id, request.context)
        return row, instances.ports_of(server_id), instances.addresses_of([server_id])[server_id]

    row, ports, several = request.store.read(closure)
    return [_interface(request, row, port, [one for one in several if one.port_id == port.id]) for port in ports]


def _interface(request: Request, row: InstanceRow, port: PortRow, several: list[Address]) -> dict[str, Any]:
    view: dict[str, Any] = {
        "port_state": port.status,
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac_address,
        "fixed_ips": [{"subnet_id": address.subnet_id, "ip_address": address.ip} for address in several],
    }
    if request.at_least("2.70"):
        asked = row.requested_networks if isinstance(row.requested_networks, list) else []
        view["tag"] = asked[port.position].get("tag") if port.position < len(asked) else None
    return view


def _rule(rule: SecurityGroupRuleRow, names: dict[str, SecurityGroupRow]) -> dict[str, Any]:
    remote = names.get(rule.remote_group_id or "")
    everywhere = "::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0"
    return {
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": rule.port_range_min,
        "to_port": rule.port_range_max,
        "ip_range": {} if rule.remote_group_id else {"cidr": rule.remote_ip_prefix or everywhere},
        "group": {"name": remote.name, "tenant_id": remote.project_id} if remote else {},
    }
