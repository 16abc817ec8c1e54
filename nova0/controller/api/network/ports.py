"""Ports: a place on a network with a MAC, an address and security groups; servers get theirs by booting."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import limits, listing, networks, port_checks
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortRow
from nova0.controller.network import addresses, making, revision

_FIXED = v.obj({"subnet_id": v.UUID, "ip_address": v.IP})
_IDS = {"type": "array", "items": v.UUID, "maxItems": 64, "uniqueItems": True}
_PLAIN = {**v.TEXT, "pattern": v.PRINTABLE}
_CHANGEABLE = {
    **listing.DESCRIBED,
    "admin_state_up": v.BOOLEAN,
    "security_groups": {"anyOf": [_IDS, {"type": "null"}]},
    "port_security_enabled": v.BOOLEAN,
    "fixed_ips": {"anyOf": [{"type": "array", "items": _FIXED, "maxItems": 1}, {"type": "null"}]},
    "device_id": _PLAIN,
    "device_owner": _PLAIN,
    "mac_address": v.MAC,
    "binding:host_id": {"type": ["string", "null"], "maxLength": 255},
    "binding:vnic_type": {"enum": ["normal"]},
    "binding:profile": {**v.obj({}, extra=True), "type": ["object", "null"]},
}
_CREATE = v.obj(_CHANGEABLE | listing.OWNED | {"network_id": v.UUID}, ["network_id"])
_UPDATE = v.obj(_CHANGEABLE)
_FILTERS = ("network_id", "mac_address", "device_id", "device_owner", "status", "admin_state_up", "fixed_ips",
            "security_groups", "binding:host_id", "port_security_enabled")  # fmt: skip

_COLUMNS = {
    "id": PortRow.id, "name": PortRow.name, "network_id": PortRow.network_id, "mac_address": PortRow.mac_address,
    "device_id": PortRow.device_id, "device_owner": PortRow.device_owner, "status": PortRow.status,
    "project_id": PortRow.project_id, "tenant_id": PortRow.project_id,
}  # fmt: skip


def view(request: Request, row: PortRow, fixed: list[FixedAddressRow]) -> dict[str, Any]:
    shown = listing.common(row) | {
        "network_id": row.network_id,
        "mac_address": row.mac_address,
        "admin_state_up": row.admin_state_up,
        "status": row.status,
        "device_id": row.device_id,
        "device_owner": row.device_owner,
        "security_groups": row.security_groups,
        "port_security_enabled": row.port_security_enabled,
        "fixed_ips": [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in fixed],
        "binding:vnic_type": row.vnic_type,
    }
    if request.context.is_admin:
        shown |= {
            "binding:host_id": row.host or "",
            "binding:profile": row.binding_profile,
            "binding:vif_type": "tap" if row.host else "unbound",
            "binding:vif_details": {"port_filter": True} if row.host else {},
        }
    return shown


def _fixed(port_id: str) -> list[FixedAddressRow]:
    return list(FixedAddressRow.select().where(FixedAddressRow.port_id == port_id))


def _get(request: Request, id: str) -> PortRow:
    return listing.get(request, PortRow, id, "Port")


@route("GET", "/ports", needs="reader", query=listing.query(*_FILTERS))
def index(request: Request) -> dict[str, Any]:
    def read(after: str) -> list[dict[str, Any]]:
        selected = listing.equal(request, listing.visible(request, PortRow), _COLUMNS)
        rows = list(selected.where(PortRow.id > after).order_by(PortRow.id).limit(listing.PIECE))
        fixed: dict[str, list[FixedAddressRow]] = {}
        for one in FixedAddressRow.select().where(FixedAddressRow.port_id.in_([row.id for row in rows])):
            fixed.setdefault(one.port_id, []).append(one)
        return [view(request, row, fixed.get(row.id, [])) for row in rows]

    return listing.page_of(request, "ports", listing.in_pieces(request, read))


@route("GET", "/ports/<id>", needs="reader", query=listing.FIELDS)
def show(request: Request, id: str) -> dict[str, Any]:
    found = request.store.read(lambda: view(request, _get(request, id), _fixed(id)))
    return {"port": listing.only_fields(request, found)}


@route("POST", "/ports", needs="member", success=201)
def create(request: Request) -> dict[str, Any]:
    items, many = listing.wanted(request, "port", _CREATE, "ports")
    told: list[str] = []

    def closure() -> list[dict[str, Any]]:
        known: addresses.Used = {}
        rows = [_create(request, item, known) for item in items]
        told.extend(revision.ports_changed(rows))
        return [view(request, row, _fixed(row.id)) for row in rows]

    made = request.store.write(closure)
    listing.tell(request, told)
    return listing.answer_created("port", "ports", made, many)


def _create(request: Request, item: dict[str, Any], known: addresses.Used) -> PortRow:
    network = networks.get(request, item["network_id"])
    port_checks.only_admin(request, item)
    port_checks.not_a_servers(item)
    project_id = listing.owner(request, item)
    limits.check("port", project_id)
    secure = v.truth(item.get("port_security_enabled", network.port_security_enabled))
    port_checks.own_network(request, network, item)
    groups = port_checks.groups_for(request, project_id, item.get("security_groups"), secure)
    values: dict[str, Any] = {
        key: item[key] for key in ("name", "description", "device_id", "device_owner") if key in item
    }
    if item.get("mac_address"):
        values["mac_address"] = port_checks.free_mac(network.id, item["mac_address"])
    fixed = item.get("fixed_ips")
    return making.port(
        network,
        address=port_checks.address_in(network.id, fixed),
        with_address=fixed is None or len(fixed) > 0,
        known=known,
        project_id=project_id,
        admin_state_up=v.truth(item.get("admin_state_up", True)),
        security_groups=groups,
        port_security_enabled=secure,
        binding_profile=item.get("binding:profile") or {},
        **values,
    )


@route("PUT", "/ports/<id>", needs="member")
def update(request: Request, id: str) -> dict[str, Any]:
    [item], _ = listing.wanted(request, "port", _UPDATE)
    told: list[str] = []

    def closure() -> dict[str, Any]:
        row = _get(request, id)
        before = list(row.security_groups)
        port_checks.only_admin(request, item)
        port_checks.not_under_a_guest(row, item)
        port_checks.not_a_servers(item, row)
        _update(request, row, item)
        row.revision, row.updated_at = row.revision + 1, now()
        row.save()
        told.extend(revision.ports_changed([row], before))
        return view(request, row, _fixed(id))

    changed = request.store.write(closure)
    listing.tell(request, told)
    return {"port": changed}


def _update(request: Request, row: PortRow, item: dict[str, Any]) -> None:
    port_checks.own_network(request, NetworkRow.get(NetworkRow.id == row.network_id), item)
    for key in ("name", "description", "device_id", "device_owner"):
        if key in item:
            setattr(row, key, item[key])
    if "admin_state_up" in item:
        row.admin_state_up = v.truth(item["admin_state_up"])
    if item.get("mac_address") and item["mac_address"].lower() != row.mac_address:
        row.mac_address = port_checks.free_mac(row.network_id, item["mac_address"])
    if item.get("binding:profile") is not None:
        row.binding_profile = item["binding:profile"]
    if "port_security_enabled" in item:
        row.port_security_enabled = v.truth(item["port_security_enabled"])
    groups = item.get("security_groups", row.security_groups)
    row.security_groups = port_checks.groups_for(
        request, row.project_id, [] if groups is None else groups, row.port_security_enabled
    )
    if item.get("fixed_ips") is not None:
        _readdress(row, item["fixed_ips"])


def _readdress(row: PortRow, fixed: list[dict[str, str]]) -> None:
    have = _fixed(row.id)
    wanted = port_checks.address_in(row.network_id, fixed)
    if fixed and have and wanted in (None, have[0].ip_address):
        return
    addresses.give_back([row.id])
    subnet = making.subnet_of(row.network_id)
    if fixed and subnet is not None:
        addresses.take(subnet, row.id, wanted)


@route("DELETE", "/ports/<id>", needs="member", success=204)
def delete(request: Request, id: str) -> None:
    def closure() -> list[str]:
        row = _get(request, id)
        if row.device_id and row.device_owner.startswith("compute:"):
            raise errors.conflict(
                f"Port {id} is in use by server {row.device_id}: delete the server, and the port goes or is free.",
                "PortInUse",
            )
        told = revision.ports_changed([row])
        addresses.give_back([id])
        row.delete_instance()
        return told

    listing.tell(request, request.store.write(closure))
