"""A server as a client sees it, by microversion and by who asks.

`gather` runs in a transaction and reads all that belongs to the rows in a few queries for the whole
page; `brief`, `full` and `updated` then only arrange.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from nova0.controller.api.compute.views.links import bookmark, pair
from nova0.controller.api.compute.views.times import micro, seconds_z
from nova0.controller.api.request import Request
from nova0.controller.compute import instances, server_groups, zones
from nova0.controller.compute.instances import Address
from nova0.controller.db.base_table import Unreadable
from nova0.controller.db.compute_tables import FaultRow, HostRow, InstanceRow
from nova0.objects import states
from nova0.objects.states import VmState

_WITH_PROGRESS = {"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"}
_IMAGE_PROPERTY = re.compile(r"[a-zA-Z0-9_:. ]{1,255}")


@dataclass(kw_only=True)
class Gathered:
    """Everything beside the rows that their views need."""

    addresses: dict[str, list[Address]] = field(default_factory=dict)
    group_names: dict[str, str] = field(default_factory=dict)
    faults: dict[str, FaultRow] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, HostRow] = field(default_factory=dict)
    server_groups: dict[str, list[str]] = field(default_factory=dict)
    put_out: dict[str, tuple[str, float]] = field(default_factory=dict)


def gather(request: Request, rows: list[InstanceRow], *, one: bool = False) -> Gathered:
    """In a transaction. `one`: also what only a single server shows (its server group)."""
    uuids = [row.uuid for row in rows]
    addresses = instances.addresses_of(uuids)
    failed = [row.uuid for row in rows if row.vm_state in (VmState.ERROR, VmState.DELETED)]
    hosts: dict[str, HostRow] = {}
    if request.context.is_admin and request.at_least("2.16"):
        names = {row.host for row in rows if row.host}
        hosts = {host.host: host for host in HostRow.select().where(HostRow.host.in_(names))} if names else {}
    groups: dict[str, list[str]] = {}
    if one and request.at_least("2.71"):
        groups = {uuid: [group] for uuid in uuids if (group := server_groups.of_server(uuid))}
    return Gathered(
        addresses=addresses,
        group_names=instances.group_names(
            group for several in addresses.values() for address in several for group in address.security_groups
        ),
        faults=instances.faults_of(failed),
        zones=zones.zones_of_hosts() if any(row.host for row in rows) else {},
        hosts=hosts,
        server_groups=groups,
        put_out=request.services.hosts.put_out(),
    )


def brief(request: Request, row: InstanceRow) -> dict[str, Any]:
    return {"id": row.uuid, "name": row.name, "links": pair(request, "servers", row.uuid)}


def full(request: Request, row: InstanceRow, known: Gathered, *, one: bool = False) -> dict[str, Any]:
    """GET /servers/detail and, with `one`, GET /servers/{id}."""
    view = _common(request, row, known)
    admin = request.context.is_admin
    for label, several in view["addresses"].items():
        for shown, address in zip(several, _of_label(known.addresses.get(row.uuid, []), label), strict=True):
            shown["OS-EXT-IPS:type"] = "fixed"
            shown["OS-EXT-IPS-MAC:mac_addr"] = address.mac
    view["OS-EXT-AZ:availability_zone"] = _zone(row, known)
    view["config_drive"] = "True" if row.config_drive else ""
    view["key_name"] = row.key_name
    view["OS-SRV-USG:launched_at"] = micro(row.launched_at)
    view["OS-SRV-USG:terminated_at"] = micro(row.terminated_at)
    view["OS-EXT-STS:task_state"] = row.task_state
    view["OS-EXT-STS:vm_state"] = row.vm_state
    view["OS-EXT-STS:power_state"] = row.power_state
    view["os-extended-volumes:volumes_attached"] = []
    groups = security_group_names(row, known)
    if groups:  # the field leaves the key out where there are none
        view["security_groups"] = [{"name": name} for name in groups]
    if admin:
        view["OS-EXT-SRV-ATTR:host"] = row.host
        view["OS-EXT-SRV-ATTR:hypervisor_hostname"] = row.node
        view["OS-EXT-SRV-ATTR:instance_name"] = f"instance-{row.id:08x}"
        if request.at_least("2.3"):
            view["OS-EXT-SRV-ATTR:reservation_id"] = row.reservation_id
            view["OS-EXT-SRV-ATTR:launch_index"] = row.launch_index
            properties = (row.image or {}).get("properties", {})
            view["OS-EXT-SRV-ATTR:kernel_id"] = properties.get("kernel_id", "")
            view["OS-EXT-SRV-ATTR:ramdisk_id"] = properties.get("ramdisk_id", "")
            view["OS-EXT-SRV-ATTR:root_device_name"] = row.root_device_name
            view["OS-EXT-SRV-ATTR:user_data"] = row.user_data
        if request.at_least("2.16"):
            view["host_status"] = host_status(request, row.host, known.hosts)
    if request.at_least("2.90") or (admin and request.at_least("2.3")):
        view["OS-EXT-SRV-ATTR:hostname"] = row.hostname
    if not (one and request.at_least("2.71")):
        view.pop("server_groups", None)
    return view


def updated(request: Request, row: InstanceRow, known: Gathered) -> dict[str, Any]:
    """PUT /servers/{id}: a smaller body before 2.75, the full one from it."""
    return full(request, row, known, one=True) if request.at_least("2.75") else _common(request, row, known)


def security_group_names(row: InstanceRow, known: Gathered) -> list[str]:
    """Of its ports; before it has any, those asked for."""
    addresses = known.addresses.get(row.uuid, [])
    if not addresses:
        return list(dict.fromkeys(row.security_groups)) if row.requested_networks != "none" else []
    ids = dict.fromkeys(group for address in addresses for group in address.security_groups)
    return [known.group_names[group] for group in ids if group in known.group_names]


def host_status(request: Request, host: str | None, hosts: dict[str, HostRow]) -> str:
    """UP, DOWN, MAINTENANCE, UNKNOWN; empty without a host."""
    if not host:
        return ""
    known = hosts.get(host)
    if known is None:
        return "UNKNOWN"
    if known.forced_down:
        return "DOWN"
    if known.disabled:
        return "MAINTENANCE"
    return "UP" if request.services.hosts.life(host).alive else "DOWN"


def _of_host_put_out(request: Request, host: str, why: str, since: float) -> dict[str, Any]:
    message = "Its host was put out of the cloud: whether the server still runs there is not known. Delete it, or ask "
    fault: dict[str, Any] = {"code": 500, "created": seconds_z(since), "message": message + "your administrator."}
    if request.context.is_admin:
        fault["details"] = (
            f"{why}. Switch it off, then `nova0 fence {host}`, and delete its servers; or have that machine, disks as "
            "they are, join again with a new token, and the server shows its state as before."
        )
    return fault


def _of_broken_record(row: InstanceRow) -> dict[str, Any]:
    message = "Its record in the store cannot be read: delete it, or ask your administrator."
    return {"code": 500, "created": seconds_z(row.updated_at or row.created_at), "message": message}


def host_id(project_id: str, host: str | None) -> str:
    """Lets a user see whether two servers share a host, without its name."""
    return hashlib.sha224((project_id + host).encode()).hexdigest() if host else ""


def addresses_by_network(several: list[Address]) -> dict[str, list[dict[str, Any]]]:
    view: dict[str, list[dict[str, Any]]] = {}
    for address in several:
        view.setdefault(address.network_name, []).append({"version": address.version, "addr": address.ip})
    return view


def _of_label(several: list[Address], label: str) -> list[Address]:
    return [address for address in several if address.network_name == label]


def _zone(row: InstanceRow, known: Gathered) -> str:
    if row.host:
        return known.zones.get(row.host, zones.default_zone())
    return row.requested_zone or row.availability_zone or ""


def _common(request: Request, row: InstanceRow, known: Gathered) -> dict[str, Any]:
    put_out = known.put_out.get(row.host or "") if row.vm_state in states.AT_ITS_HOST else None
    status = "UNKNOWN" if put_out else states.status(row.vm_state, row.task_state)
    broken = any(isinstance(value, Unreadable) for value in row.__data__.values()) or "flavor_id" not in row.flavor
    view: dict[str, Any] = {
        "id": row.uuid,
        "name": row.name,
        "status": status,
        "tenant_id": row.project_id,
        "user_id": row.user_id,
        "metadata": row.metadata,
        "hostId": host_id(row.project_id, row.host),
        "image": _image(request, row),
        "flavor": _flavor(request, row),
        "created": seconds_z(row.created_at),
        "updated": seconds_z(row.updated_at or row.created_at),
        "addresses": addresses_by_network(known.addresses.get(row.uuid, [])),
        "accessIPv4": row.access_ip_v4 or "",
        "accessIPv6": row.access_ip_v6 or "",
        "links": pair(request, "servers", row.uuid),
        "OS-DCF:diskConfig": row.disk_config,
    }
    if status in _WITH_PROGRESS:
        view["progress"] = row.progress
    fault = known.faults.get(row.uuid)
    if fault is not None:
        view["fault"] = {"code": fault.code, "created": seconds_z(fault.created_at), "message": fault.message}
        if fault.details and (request.context.is_admin or fault.code != 500):
            view["fault"]["details"] = fault.details
    if broken:
        view["status"], view["fault"] = "UNKNOWN", _of_broken_record(row)
    if put_out:
        view["fault"] = _of_host_put_out(request, str(row.host), *put_out)
    if request.at_least("2.9"):
        view["locked"] = row.locked_by is not None
    if request.at_least("2.19"):
        view["description"] = row.description
    if request.at_least("2.26"):
        view["tags"] = list(row.tags)
    if request.at_least("2.63"):
        view["trusted_image_certificates"] = None
    if request.at_least("2.71"):
        view["server_groups"] = known.server_groups.get(row.uuid, [])
    if request.at_least("2.73"):
        view["locked_reason"] = row.locked_reason
    if request.at_least("2.96"):
        view["pinned_availability_zone"] = row.requested_zone
    if request.at_least("2.100"):
        view["scheduler_hints"] = row.scheduler_hints
    return view


def _image(request: Request, row: InstanceRow) -> Any:
    if not row.image:
        return ""
    image_id = row.image.get("id")
    if image_id is None:
        return ""
    view: dict[str, Any] = {"id": image_id, "links": [bookmark(request, "images", image_id)]}
    if request.at_least("2.98"):
        properties = row.image.get("properties", {})
        view["properties"] = {key: text[:255] for key, text in properties.items() if _IMAGE_PROPERTY.fullmatch(key)}
    return view


def _flavor(request: Request, row: InstanceRow) -> dict[str, Any]:
    flavor = row.flavor
    if not request.at_least("2.47"):
        flavor_id = flavor.get("flavor_id", "")
        return {"id": flavor_id, "links": [bookmark(request, "flavors", flavor_id)]}
    return {
        "vcpus": flavor.get("vcpus", 0),
        "ram": flavor.get("memory_mb", 0),
        "disk": flavor.get("root_gb", 0),
        "ephemeral": flavor.get("ephemeral_gb", 0),
        "swap": flavor.get("swap_mb", 0),
        "original_name": flavor.get("name", ""),
        "extra_specs": flavor.get("extra_specs", {}),
    }
