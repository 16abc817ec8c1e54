"""Bodies and queries of servers."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v

NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": v.VISIBLE}
DESCRIPTION = {"type": ["string", "null"], "maxLength": 255, "pattern": v.PRINTABLE}
HOSTNAME = {"type": "string", "minLength": 2, "maxLength": 63, "pattern": r"[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]"}
FQDN = {"type": "string", "minLength": 2, "maxLength": 255, "pattern": r"[a-zA-Z0-9][a-zA-Z0-9.-]*[a-zA-Z0-9]"}
KEY = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"[a-zA-Z0-9_:. -]+"}
METADATA = v.mapping(v.TEXT, KEY, most=1024)  # a project's quota says more
TAG = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": r"[^,/\x00-\x1f\x7f]*"}
TAGS = {"type": "array", "maxItems": 50, "items": TAG}
COUNT = {"type": ["integer", "string"], "pattern": r"[0-9]+", "minimum": 1, "maximum": 999_999_999, "maxLength": 9}
MOST_PARTS = 64  # networks, disks or groups of one server
_ABSENT = {"enum": ["", None]}
ACCESS_V4 = {"anyOf": [{**v.IP, "pattern": r"[0-9.]+"}, _ABSENT]}
ACCESS_V6 = {"anyOf": [{**v.IP, "pattern": r"[0-9a-fA-F.]*:[0-9a-fA-F:.]*"}, _ABSENT]}
DISK_CONFIG = {"type": "string", "enum": ["AUTO", "MANUAL"]}
_SERVERS = {**v.UUID, "type": ["string", "array"], "maxItems": MOST_PARTS, "items": v.UUID}
_SCALAR: dict[str, Any] = {
    "type": ["string", "number", "boolean", "null"],
    "maxLength": 255,
    "minimum": -(2**53),
    "maximum": 2**53,
}
# what a filter of one's own may want
_ANY_HINT = {**_SCALAR, "type": [*_SCALAR["type"], "array"], "maxItems": 16, "items": _SCALAR}
HINTS = {
    "type": "object",
    "maxProperties": 32,
    "propertyNames": v.KEY,
    "properties": {
        "group": v.UUID,
        "different_host": _SERVERS,
        "same_host": _SERVERS,
        "query": {
            "type": ["string", "object"],
            "maxLength": 1024,
            "maxProperties": 32,
            "propertyNames": v.KEY,
            "additionalProperties": _ANY_HINT,
        },
        "target_cell": v.NAME,
        "different_cell": {"type": ["string", "array"], "maxLength": 255, "maxItems": MOST_PARTS, "items": v.TEXT},
        "build_near_host_ip": v.IP,
        "cidr": {"type": "string", "maxLength": 45, "pattern": r"/[0-9a-f.:]+"},
    },
    "additionalProperties": _ANY_HINT,
}
_NETWORK = {"uuid": v.UUID, "port": {**v.UUID, "type": ["string", "null"]}, "fixed_ip": v.IP}
_DEVICE = {
    "type": "object",
    "properties": {
        "boot_index": {
            "type": ["string", "integer", "null"],
            "pattern": r"-?[0-9]+|None",
            "maxLength": 5,
            "minimum": -9999,
            "maximum": 9999,
        },
        "uuid": {"type": "string", "minLength": 1, "maxLength": 255},
        "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
        "destination_type": {"type": "string", "enum": ["local", "volume"]},
        "volume_size": {"type": ["integer", "string"], "maxLength": 10, "minimum": 0, "maximum": 2**31 - 1},
        "delete_on_termination": v.BOOLEAN,
        "device_name": {"type": ["string", "null"], "maxLength": 255},
        "device_type": {"type": ["string", "null"], "maxLength": 255},
        "disk_bus": {"type": ["string", "null"], "maxLength": 255},
        "guest_format": {"type": ["string", "null"], "maxLength": 255},
        "no_device": {"type": ["boolean", "string", "null"], "maxLength": 255},
        "volume_id": v.TEXT,
        "snapshot_id": v.TEXT,
        "image_id": v.TEXT,
        "virtual_name": {"type": "string", "maxLength": 255},
    },
    "additionalProperties": False,
}
_PERSONALITY = {
    "type": "array",
    "maxItems": MOST_PARTS,
    "items": v.obj({"path": v.TEXT, "contents": {"type": "string", "maxLength": 65535}}),
}


def _networks(version: int) -> dict[str, Any]:
    fields = _NETWORK | ({"tag": TAG} if 32 <= version <= 36 or version >= 42 else {})
    listed = {"type": "array", "maxItems": MOST_PARTS, "items": v.obj(fields)}
    return {"oneOf": [listed, {"type": "string", "enum": ["none", "auto"]}]} if version >= 37 else listed


def _create(version: int) -> dict[str, Any]:
    """The body of POST /servers at 2.`version`."""
    device = dict(_DEVICE["properties"])  # type: ignore[call-overload]
    if version == 32 or version >= 42:
        device["tag"] = TAG
    if version >= 67:
        device["volume_type"] = {"type": ["string", "null"], "maxLength": 255}
    devices = {"type": "array", "maxItems": MOST_PARTS, "items": {**_DEVICE, "properties": device}}
    fields: dict[str, Any] = {
        "name": NAME,
        "imageRef": {"type": "string", "maxLength": 255},
        "flavorRef": {
            "type": ["string", "integer"],
            "minLength": 1,
            "maxLength": 255,
            "minimum": 0,
            "maximum": 2**63 - 1,
        },
        "adminPass": {"type": "string", "maxLength": 255},
        "metadata": METADATA,
        "networks": _networks(version),
        "OS-DCF:diskConfig": DISK_CONFIG,
        "accessIPv4": ACCESS_V4,
        "accessIPv6": ACCESS_V6,
        "availability_zone": {"type": ["string", "null"], "minLength": 1, "maxLength": 255},
        "block_device_mapping": devices,
        "block_device_mapping_v2": devices,
        "config_drive": {"anyOf": [v.BOOLEAN, {"enum": ["", None]}]},
        "key_name": {"type": "string", "minLength": 1, "maxLength": 255},
        "min_count": COUNT,
        "max_count": COUNT,
        "return_reservation_id": v.BOOLEAN,
        "security_groups": {
            "type": "array",
            "maxItems": MOST_PARTS,
            "items": v.obj({"name": v.NAME}, ["name"], extra=True),
        },
        "user_data": {"type": ["string", "null"], "maxLength": 65535},
        "os:scheduler_hints": HINTS,
    }
    required = ["name", "flavorRef"]
    if version < 57:
        fields["personality"] = _PERSONALITY
    if version >= 19:
        fields["description"] = DESCRIPTION
    if version >= 37:
        required.append("networks")
    if version >= 52:
        fields["tags"] = TAGS
    if version >= 63:
        fields["trusted_image_certificates"] = {
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": 50,
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    if version >= 74:
        fields["host"] = fields["hypervisor_hostname"] = v.NAME
    if version >= 90:
        fields["hostname"] = HOSTNAME if version < 94 else FQDN
    return v.obj(
        {"server": v.obj(fields, required), "os:scheduler_hints": HINTS, "OS-SCH-HNT:scheduler_hints": HINTS},
        ["server"],
    )


CREATE = {f"2.{version}": _create(version) for version in (1, 19, 32, 33, 37, 42, 52, 57, 63, 67, 74, 90, 94)}


def _update(version: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": NAME,
        "OS-DCF:diskConfig": DISK_CONFIG,
        "accessIPv4": ACCESS_V4,
        "accessIPv6": ACCESS_V6,
    }
    if version >= 19:
        fields["description"] = DESCRIPTION
    if version >= 90:
        fields["hostname"] = HOSTNAME if version < 94 else FQDN
    return v.wrapped("server", fields)


UPDATE = {f"2.{version}": _update(version) for version in (1, 19, 90, 94)}

_QUERY_NAMES = [
    "user_id",
    "project_id",
    "tenant_id",
    "launch_index",
    "image",
    "image_ref",
    "kernel_id",
    "ramdisk_id",
    "hostname",
    "key_name",
    "instance_type_id",
    "flavor",
    "status",
    "name",
    "vm_state",
    "task_state",
    "power_state",
    "host",
    "node",
    "access_ip_v4",
    "access_ip_v6",
    "auto_disk_config",
    "availability_zone",
    "config_drive",
    "created_at",
    "display_description",
    "display_name",
    "description",
    "ip",
    "ip6",
    "launched_at",
    "locked_by",
    "progress",
    "reservation_id",
    "root_device_name",
    "terminated_at",
    "updated_at",
    "uuid",
    "deleted",
    "soft_deleted",
    "all_tenants",
    "changes-since",
    "metadata",
    "system_metadata",
    "limit",
    "marker",
    "sort_key",
    "sort_dir",
]


def _query(version: int) -> dict[str, Any]:
    names = list(_QUERY_NAMES)
    if version >= 26:
        names += ["tags", "tags-any", "not-tags", "not-tags-any"]
    if version >= 66:
        names.append("changes-before")
    if version >= 73:
        names.append("locked")
    return {name: v.LONG_TEXT for name in names}


QUERY = {f"2.{version}": _query(version) for version in (1, 26, 66, 73)}
