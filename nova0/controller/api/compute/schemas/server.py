"""Bodies and queries of servers."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^(?=.*\S)[^\x00-\x1f\x7f]*$"}
DESCRIPTION = {"type": ["string", "null"], "maxLength": 255, "pattern": PRINTABLE}
HOSTNAME = {"type": "string", "minLength": 2, "maxLength": 63, "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$"}
FQDN = {
    "type": "string",
    "minLength": 2,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9.-]*[a-zA-Z0-9]+$",
}
METADATA = {
    "type": "object",
    "patternProperties": {r"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
TAG = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": r"^[^,/]*$"}
TAGS = {"type": "array", "maxItems": 50, "items": TAG}
COUNT = {"type": ["integer", "string"], "pattern": r"^[0-9]+$", "minimum": 1, "minLength": 1, "maxLength": 9}
_ABSENT = {"enum": ["", None]}
ACCESS_V4 = {"anyOf": [{"type": "string", "format": "ip", "pattern": r"^[0-9.]+$"}, _ABSENT]}
ACCESS_V6 = {"anyOf": [{"type": "string", "format": "ip", "pattern": ":"}, _ABSENT]}
DISK_CONFIG = {"type": "string", "enum": ["AUTO", "MANUAL"]}
HINTS = {
    "type": "object",
    "properties": {
        "group": {"type": "string", "format": "uuid"},
        "different_host": {
            "type": ["string", "array"],
            "format": "uuid",
            "items": {"type": "string", "format": "uuid"},
        },
        "same_host": {"type": ["string", "array"], "format": "uuid", "items": {"type": "string", "format": "uuid"}},
        "query": {"type": ["string", "object"]},
        "target_cell": {"type": "string", "minLength": 1, "maxLength": 255},
        "different_cell": {"type": ["string", "array"], "items": {"type": "string"}},
        "build_near_host_ip": {"type": "string", "format": "ip"},
        "cidr": {"type": "string", "pattern": r"^/[0-9a-f.:]+$"},
    },
    "additionalProperties": True,
}
_FIXED_IP = {"type": "string", "format": "ip"}
_NETWORK = {
    "uuid": {"type": "string", "format": "uuid"},
    "port": {"type": ["string", "null"], "format": "uuid"},
    "fixed_ip": _FIXED_IP,
}
_DEVICE = {
    "type": "object",
    "properties": {
        "boot_index": {"type": ["string", "integer", "null"], "pattern": r"^-?[0-9]+$|^None$"},
        "uuid": {"type": "string", "minLength": 1, "maxLength": 255},
        "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
        "destination_type": {"type": "string", "enum": ["local", "volume"]},
        "volume_size": {"type": ["integer", "string"]},
        "delete_on_termination": v.BOOLEAN,
        "device_name": {"type": ["string", "null"], "maxLength": 255},
        "device_type": {"type": ["string", "null"], "maxLength": 255},
        "disk_bus": {"type": ["string", "null"], "maxLength": 255},
        "guest_format": {"type": ["string", "null"], "maxLength": 255},
        "no_device": {},
        "volume_id": {"type": "string"},
        "snapshot_id": {"type": "string"},
        "image_id": {"type": "string"},
        "virtual_name": {"type": "string", "maxLength": 255},
    },
    "additionalProperties": False,
}
_PERSONALITY = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"path": {"type": "string"}, "contents": {"type": "string"}},
        "additionalProperties": False,
    },
}


def _networks(version: int) -> dict[str, Any]:
    fields = _NETWORK | ({"tag": TAG} if 32 <= version <= 36 or version >= 42 else {})
    listed = {"type": "array", "items": v.obj(fields)}
    return {"oneOf": [listed, {"type": "string", "enum": ["none", "auto"]}]} if version >= 37 else listed


def _create(version: int) -> dict[str, Any]:
    """The body of POST /servers at 2.`version`."""
    device = dict(_DEVICE["properties"])  # type: ignore[call-overload]
    if version == 32 or version >= 42:
        device["tag"] = TAG
    if version >= 67:
        device["volume_type"] = {"type": ["string", "null"], "maxLength": 255}
    devices = {"type": "array", "items": {**_DEVICE, "properties": device}}
    fields: dict[str, Any] = {
        "name": NAME,
        "imageRef": {"type": "string", "maxLength": 255},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1},
        "adminPass": {"type": "string", "maxLength": 255},
        "metadata": METADATA,
        "networks": _networks(version),
        "OS-DCF:diskConfig": DISK_CONFIG,
        "accessIPv4": ACCESS_V4,
        "accessIPv6": ACCESS_V6,
        "availability_zone": {"type": ["string", "null"], "minLength": 1, "maxLength": 255},
        "block_device_mapping": {"type": "array", "items": {**_DEVICE, "properties": device}},
        "block_device_mapping_v2": devices,
        "config_drive": {"anyOf": [v.BOOLEAN, {"enum": ["", None]}]},
        "key_name": {"type": "string", "minLength": 1, "maxLength": 255},
        "min_count": COUNT,
        "max_count": COUNT,
        "return_reservation_id": v.BOOLEAN,
        "security_groups": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": v.NAME}, "required": ["name"]},
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
            "items": {"type": "string", "minLength": 1},
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

_TEXT = {"type": "string"}
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
    return {name: _TEXT for name in names}


QUERY = {f"2.{version}": _query(version) for version in (1, 26, 66, 73)}
