"""Networks. Each is a VXLAN of its own number that all hosts can carry; its traffic leaves through each host."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import limits, listing
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.network_tables import NetworkRow, PortRow, SubnetRow
from nova0.controller.network import making, revision

_CHANGEABLE = {
    **listing.DESCRIBED,
    "admin_state_up": v.BOOLEAN,
    "shared": v.BOOLEAN,
    "router:external": v.BOOLEAN,
    "port_security_enabled": v.BOOLEAN,
    "mtu": {"type": "integer", "minimum": 576, "maximum": 9000},
}
_CREATE = v.obj(
    _CHANGEABLE
    | listing.OWNED
    | {
        "availability_zone_hints": {"type": "array", "maxItems": 10, "items": {"const": "nova"}},
        "provider:network_type": {"enum": ["vxlan"]},
        "provider:physical_network": {"type": "null"},
        "provider:segmentation_id": {"type": "integer", "minimum": 1, "maximum": making.LAST_VNI},
    }
)
_UPDATE = v.obj(_CHANGEABLE)
_FILTERS = ("status", "shared", "admin_state_up", "router:external", "mtu", "provider:network_type",
            "provider:physical_network", "provider:segmentation_id", "port_security_enabled")  # fmt: skip


def view(request: Request, row: NetworkRow, subnets: list[str]) -> dict[str, Any]:
    shown = listing.common(row) | {
        "admin_state_up": row.admin_state_up,
        "status": "ACTIVE" if row.admin_state_up else "DOWN",
        "shared": row.shared,
        "router:external": row.external,
        "port_security_enabled": row.port_security_enabled,
        "mtu": row.mtu,
        "subnets": subnets,
        "availability_zones": ["nova"],
        "availability_zone_hints": [],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
    }
    if request.context.is_admin:
        shown |= {
            "provider:network_type": "vxlan",
            "provider:physical_network": None,
            "provider:segmentation_id": row.vni,
        }
    return shown


def get(request: Request, network_id: str) -> NetworkRow:
    """Inside a store closure: a network the caller may use. ApiError 404."""
    return listing.get(request, NetworkRow, network_id, "Network", NetworkRow.shared)


def _subnets(network_id: str) -> list[str]:
    return [row.id for row in SubnetRow.select().where(SubnetRow.network_id == network_id)]


@route("GET", "/networks", needs="reader", query=listing.query(*_FILTERS))
def index(request: Request) -> dict[str, Any]:
    def closure() -> list[dict[str, Any]]:
        subnets: dict[str, list[str]] = {}
        for row in SubnetRow.select():
            subnets.setdefault(row.network_id, []).append(row.id)
        rows = listing.visible(request, NetworkRow, NetworkRow.shared)
        return [view(request, row, subnets.get(row.id, [])) for row in rows]

    return listing.page(request, "networks", request.store.read(closure))


@route("GET", "/networks/<id>", needs="reader", query=listing.FIELDS)
def show(request: Request, id: str) -> dict[str, Any]:
    found = request.store.read(lambda: view(request, get(request, id), _subnets(id)))
    return {"network": listing.only_fields(request, found)}


@route("POST", "/networks", needs="member", success=201)
def create(request: Request) -> dict[str, Any]:
    items, many = listing.wanted(request, "network", _CREATE, "networks")

    def closure() -> list[dict[str, Any]]:
        return [view(request, _create(request, item), []) for item in items]

    return listing.answer_created("network", "networks", request.store.write(closure), many)


def _create(request: Request, item: dict[str, Any]) -> NetworkRow:
    _only_admin(request, item)
    project_id = listing.owner(request, item)
    limits.check("network", project_id)
    row = making.network(project_id=project_id, **_values(item))
    vni = item.get("provider:segmentation_id")
    if vni is not None and vni != row.vni:
        if NetworkRow.get_or_none(NetworkRow.vni == vni) is not None:
            raise errors.conflict(f"provider:segmentation_id: {vni} is in use.", "TunnelIdInUse")
        row.vni = vni
        row.save()
    return row


def _values(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {key: item[key] for key in ("name", "description", "mtu") if key in item}
    for key in ("admin_state_up", "shared", "port_security_enabled"):
        if key in item:
            found[key] = v.truth(item[key])
    return found


def _only_admin(request: Request, item: dict[str, Any]) -> None:
    if "router:external" in item and v.truth(item["router:external"]):
        raise errors.bad_request("router:external: external networks are not offered; every network has a way out.")
    for key in item:
        sharing = key == "shared" and v.truth(item[key])
        if (sharing or key.startswith("provider:")) and not request.context.is_admin:
            raise errors.forbidden(f"{key}: only an admin may set it.", "PolicyNotAuthorized")


@route("PUT", "/networks/<id>", needs="member")
def update(request: Request, id: str) -> dict[str, Any]:
    [item], _ = listing.wanted(request, "network", _UPDATE)

    def closure() -> dict[str, Any]:
        row = listing.own(request, get(request, id), "Network")
        _only_admin(request, item)
        values = _values(item)
        if row.shared and values.get("shared") is False:
            _check_unshare(row)
        for key, value in values.items():
            setattr(row, key, value)
        row.revision, row.updated_at = row.revision + 1, now()
        row.save()
        return view(request, row, _subnets(id))

    changed = request.store.write(closure)
    listing.tell(request, [id])
    return {"network": changed}


def _check_unshare(row: NetworkRow) -> None:
    others = PortRow.select().where(PortRow.network_id == row.id, PortRow.project_id != row.project_id)
    if others.exists():
        raise errors.conflict(
            f"Unable to reconfigure sharing settings for network {row.id}. Multiple tenants are using it.",
            "InvalidSharedSetting",
        )


@route("DELETE", "/networks/<id>", needs="member", success=204)
def delete(request: Request, id: str) -> None:
    def closure() -> None:
        row = listing.own(request, get(request, id), "Network")
        if PortRow.select().where(PortRow.network_id == id).exists():
            raise errors.conflict(
                f"Unable to complete operation on network {id}. "
                "There are one or more ports still in use on the network.",
                "NetworkInUse",
            )
        revision.touch([id])
        SubnetRow.delete().where(SubnetRow.network_id == id).execute()
        row.delete_instance()

    request.store.write(closure)
