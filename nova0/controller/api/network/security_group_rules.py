"""Rules of security groups. Each change is told to every host that has a port it concerns."""

from __future__ import annotations

import ipaddress
from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import limits, listing
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.network_tables import SecurityGroupRow, SecurityGroupRuleRow
from nova0.controller.network import revision
from nova0.controller.numbers import whole

_PORT = {"type": ["integer", "null", "string"], "minimum": -999_999_999, "maximum": 999_999_999,
         "maxLength": 10, "pattern": "-?[0-9]{1,9}"}  # fmt: skip
_CREATE = v.obj(
    listing.OWNED
    | {
        "security_group_id": listing.TEXT,
        "direction": {"enum": ["ingress", "egress"]},
        "ethertype": {"enum": ["IPv4", "IPv6", "ipv4", "ipv6", None]},
        "protocol": {"type": ["string", "integer", "null"], "maxLength": 40, "minimum": -1, "maximum": 999},
        "port_range_min": _PORT,
        "port_range_max": _PORT,
        "remote_ip_prefix": {"anyOf": [v.CIDR, {"type": "null"}]},
        "remote_group_id": {"type": ["string", "null"], "maxLength": 255},
        "remote_address_group_id": {"type": "null"},
        "description": listing.DESCRIBED["description"] | {"type": ["string", "null"]},
    },
    ["security_group_id", "direction"],
)
_FILTERS = ("security_group_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max",
            "remote_ip_prefix", "remote_group_id")  # fmt: skip
_WITH_PORTS = {"tcp", "udp", "sctp", "dccp", "udplite", "6", "17", "132", "33", "136"}
_ICMP = {"icmp", "icmpv6", "ipv6-icmp", "1", "58"}
_NAMES = _WITH_PORTS | _ICMP | {"ah", "esp", "egp", "gre", "igmp", "ipip", "ospf", "pgm", "rsvp", "vrrp", "ipv6-encap",
                                "ipv6-frag", "ipv6-nonxt", "ipv6-opts", "ipv6-route"}  # fmt: skip
_SAME = (
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
)


def view(row: SecurityGroupRuleRow) -> dict[str, Any]:
    return listing.common(row) | {
        "security_group_id": row.security_group_id,
        "direction": row.direction,
        "ethertype": row.ethertype,
        "protocol": row.protocol,
        "port_range_min": row.port_range_min,
        "port_range_max": row.port_range_max,
        "remote_ip_prefix": row.remote_ip_prefix,
        "remote_group_id": row.remote_group_id,
        "remote_address_group_id": None,
        "normalized_cidr": row.remote_ip_prefix,
        "belongs_to_default_sg": False,
    }


@route("GET", "/security-group-rules", needs="reader", query=listing.query(*_FILTERS))
def index(request: Request) -> dict[str, Any]:
    def closure() -> list[dict[str, Any]]:
        defaults = {row.id for row in SecurityGroupRow.select().where(SecurityGroupRow.name == "default")}
        rows = listing.visible(request, SecurityGroupRuleRow)
        return [view(row) | {"belongs_to_default_sg": row.security_group_id in defaults} for row in rows]

    return listing.page(request, "security_group_rules", request.store.read(closure))


@route("GET", "/security-group-rules/<id>", needs="reader", query=listing.FIELDS)
def show(request: Request, id: str) -> dict[str, Any]:
    row = request.store.read(lambda: listing.get(request, SecurityGroupRuleRow, id, "Security group rule"))
    return {"security_group_rule": listing.only_fields(request, view(row))}


@route("POST", "/security-group-rules", needs="member", success=201)
def create(request: Request) -> dict[str, Any]:
    items, many = listing.wanted(request, "security_group_rule", _CREATE, "security_group_rules")
    told: list[str] = []

    def closure() -> list[dict[str, Any]]:
        rows = [_create(request, item) for item in items]
        told.extend(revision.touch(revision.networks_using({row.security_group_id for row in rows})))
        return [view(row) for row in rows]

    made = request.store.write(closure)
    listing.tell(request, told)
    return listing.answer_created("security_group_rule", "security_group_rules", made, many)


def _create(request: Request, item: dict[str, Any]) -> SecurityGroupRuleRow:
    group = listing.get(request, SecurityGroupRow, item["security_group_id"], "Security group")
    limits.check("security_group_rule", group.project_id)
    values = _values(item)
    if values["remote_group_id"]:
        listing.get(request, SecurityGroupRow, values["remote_group_id"], "Security group")
    table = SecurityGroupRuleRow
    columns = ((getattr(table, key), values[key]) for key in _SAME)
    same = [column.is_null() if value is None else column == value for column, value in columns]
    other = table.select(table.id).where(table.security_group_id == group.id, *same).first()
    if other is not None:
        raise errors.conflict(f"Security group rule already exists. Rule id is {other.id}.", "SecurityGroupRuleExists")
    return table.create(
        security_group_id=group.id, project_id=group.project_id, description=item.get("description") or "", **values
    )


def _values(item: dict[str, Any]) -> dict[str, Any]:
    """The rule as it is kept. ApiError 400 naming the field that does not fit the others."""
    ethertype = {"ipv4": "IPv4", "ipv6": "IPv6"}[(item.get("ethertype") or "IPv4").lower()]
    protocol = _protocol(item.get("protocol"))
    low, high = _ports(protocol, item.get("port_range_min"), item.get("port_range_max"))
    prefix, group = item.get("remote_ip_prefix"), item.get("remote_group_id")
    if prefix and group:
        raise errors.bad_request(
            "Only one of remote_ip_prefix or remote_group_id may be provided.", "SecurityGroupMultipleRemoteEntites"
        )
    if prefix:
        network = ipaddress.ip_network(prefix, strict=False)
        if f"IPv{network.version}" != ethertype:
            raise errors.bad_request(
                f"remote_ip_prefix: {prefix} does not match ethertype {ethertype}.",
                "SecurityGroupRuleParameterConflict",
            )
        prefix = str(network)
    return {
        "direction": item["direction"],
        "ethertype": ethertype,
        "protocol": protocol,
        "port_range_min": low,
        "port_range_max": high,
        "remote_ip_prefix": prefix or None,
        "remote_group_id": group or None,
    }


def _protocol(given: str | int | None) -> str | None:
    if given is None:
        return None
    text = str(given).lower()
    if text in ("any", "0", "-1"):
        return None
    if text in _NAMES or whole(text, most=255) is not None:
        return text
    raise errors.bad_request(
        f"protocol: {given} is not supported; use a name such as tcp, udp, icmp or a number from 0 to 255.",
        "SecurityGroupRuleInvalidProtocol",
    )


def _ports(protocol: str | None, low: Any, high: Any) -> tuple[int | None, int | None]:
    low, high = (None if one is None else int(one) for one in (low, high))
    if low is None and high is None:
        return None, None
    if protocol in _ICMP:
        return _icmp(low, high)
    for name, value in (("port_range_min", low), ("port_range_max", high)):
        if value is not None and not 0 <= value <= 65535:
            raise errors.bad_request(f"{name}: Invalid value for port {value}", "SecurityGroupInvalidPortValue")
    if protocol is None:
        raise errors.bad_request("port_range_min: ports need a protocol.", "SecurityGroupProtocolRequiredWithPorts")
    if protocol not in _WITH_PORTS:
        raise errors.bad_request(
            f"port_range_min: protocol {protocol} has no ports.", "SecurityGroupInvalidProtocolForPort"
        )
    if low is None or high is None or low > high:
        raise errors.bad_request(
            f"For TCP/UDP protocols, port_range_min must be <= port_range_max; got {low} and {high}.",
            "SecurityGroupInvalidPortRange",
        )
    return low, high


def _icmp(kind: int | None, code: int | None) -> tuple[int, int | None]:
    """Type and code, which stand where other protocols have ports."""
    for what, name, value in (("type", "port_range_min", kind), ("code", "port_range_max", code)):
        if value is not None and not 0 <= value <= 255:
            raise errors.bad_request(
                f"{name}: Invalid value for ICMP {what} {value}. It must be 0 to 255.", "SecurityGroupInvalidIcmpValue"
            )
    if kind is None:
        raise errors.bad_request(
            f"port_range_min: ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.",
            "SecurityGroupMissingIcmpType",
        )
    return kind, code


@route("DELETE", "/security-group-rules/<id>", needs="member", success=204)
def delete(request: Request, id: str) -> None:
    def closure() -> list[str]:
        row = listing.get(request, SecurityGroupRuleRow, id, "Security group rule")
        row.delete_instance()
        return revision.touch(revision.networks_using([row.security_group_id]))

    listing.tell(request, request.store.write(closure))
