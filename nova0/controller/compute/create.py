"""Making servers: everything a request names is looked up, checked and written in one transaction.

Either rows, claims on quota and the boot operations are all there when it returns, or nothing is.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nova0.controller.compute import boot_image, flavors, server_groups, zones
from nova0.controller.compute.refusals import BadRequest, Forbidden
from nova0.controller.conductor import journal
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import new_id
from nova0.controller.db.compute_tables import HostRow, InstanceRow, KeypairRow
from nova0.controller.db.network_tables import SecurityGroupRow
from nova0.controller.network import requested
from nova0.controller.quota import check
from nova0.objects.image import ImageRef
from nova0.objects.states import TaskState, VmState

HOSTNAME_MOST = 63
PASSWORD_LENGTH = 12
_UNMISTAKABLE = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # none that look alike
_RESERVATION_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A checked request for `at_most` (at least `at_least`) equal servers."""

    name: str
    flavor_id: str
    image_id: str
    at_least: int = 1
    at_most: int = 1
    hostname: str | None = None
    description: str | None = None
    key_name: str | None = None
    zone: str | None = None
    forced_host: str | None = None  # admins only: skips the scheduler's filters
    wanted_host: str | None = None  # admins only: does not
    networks: Any = None  # "auto" | "none" | [{uuid|port|fixed_ip|tag}] | None
    security_groups: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    user_data: str | None = None
    config_drive: bool = False
    hints: dict[str, Any] = field(default_factory=dict)
    block_devices: list[dict[str, Any]] = field(default_factory=list)
    disk_config: str | None = None
    admin_password: str | None = None
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None


def new_password() -> str:
    return "".join(secrets.choice(_UNMISTAKABLE) for _ in range(PASSWORD_LENGTH))


def boot(context: RequestContext, wanted: Wanted) -> list[InstanceRow]:
    """In a transaction of `Store.write`. Raises BadRequest, Forbidden naming the field."""
    flavor_row = flavors.find(wanted.flavor_id, context)
    if flavor_row is None or flavor_row.disabled:
        raise BadRequest(f"Flavor {wanted.flavor_id} could not be found.")
    flavor = flavors.as_object(flavor_row)
    image = boot_image.ref(wanted.image_id, context)
    if not flavor.root_gb and not context.is_admin:
        raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
    flavors.check_image_fits(
        flavor,
        min_ram_mb=image.min_ram_mb,
        min_disk_gb=image.min_disk_gb,
        size_bytes=boot_image.disk_bytes(image.id),
    )
    disk_config = _disk_config(wanted, image)
    key = _keypair(context, wanted)
    _check_place(wanted)
    requested_networks = requested.validate_request(context, wanted.networks, wanted.at_most)
    groups = _security_groups(context, wanted.security_groups)
    check.metadata_items(context.project_id, len(wanted.metadata))
    count = check.servers_allowed(
        context.project_id,
        at_least=wanted.at_least,
        at_most=wanted.at_most,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
    )
    uuids = [new_id() for _ in range(count)]
    group = server_groups.of_hint(wanted.hints.get("group"), context)
    if group is not None:
        server_groups.add(group, uuids)
    reservation = "r-" + "".join(secrets.choice(_RESERVATION_LETTERS) for _ in range(8))
    rows = []
    for index, uuid in enumerate(uuids):
        number = f"-{index + 1}" if wanted.at_most > 1 else ""
        row = InstanceRow.create(
            uuid=uuid,
            name=wanted.name + number,
            hostname=_hostname(wanted, number, uuid),
            description=wanted.description,
            project_id=context.project_id,
            user_id=context.user_id,
            vm_state=VmState.BUILDING,
            task_state=TaskState.SCHEDULING,
            requested_zone=wanted.zone,
            availability_zone=wanted.zone,
            forced_host=wanted.forced_host,
            wanted_host=wanted.wanted_host,
            flavor=msgspec.to_builtins(flavor),
            image=msgspec.to_builtins(image),
            key_name=key.name if key else None,
            key_data=key.public_key if key else None,
            user_data=wanted.user_data,
            config_drive=wanted.config_drive,
            metadata=wanted.metadata,
            system_metadata={f"image_{name}": value for name, value in image.properties.items()},
            tags=sorted(set(wanted.tags)),
            scheduler_hints=wanted.hints,
            requested_networks=requested_networks,
            security_groups=groups,
            block_devices=wanted.block_devices,
            disk_config=disk_config,
            admin_password=wanted.admin_password if wanted.config_drive else None,  # the only way into a guest
            access_ip_v4=wanted.access_ip_v4,
            access_ip_v6=wanted.access_ip_v6,
            launch_index=index,
            reservation_id=reservation,
        )
        batch = {"batch": reservation, "at_least": min(wanted.at_least, count)} if count > 1 else {}
        journal.begin("boot", uuid, context, batch)
        rows.append(row)
    return rows


def canonical(address: str | None) -> str | None:
    """An address in its shortest form; None for none."""
    return str(ipaddress.ip_address(address)) if address else None


def hostname_from(name: str, uuid: str) -> str:
    """A name as a host name: lower case, letters, digits and hyphens, at most 63; else made from the uuid."""
    plain = name.encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9-]", "", re.sub(r"[ _.]", "-", plain)).strip("-")[:HOSTNAME_MOST].strip("-")
    return plain or f"server-{uuid}"


def _hostname(wanted: Wanted, number: str, uuid: str) -> str:
    if wanted.hostname is not None:
        return wanted.hostname + number
    return hostname_from(wanted.name + number, uuid)


def _disk_config(wanted: Wanted, image: ImageRef) -> str:
    image_says = image.properties.get("auto_disk_config")
    if wanted.disk_config == "AUTO" and image_says is not None and image_says.lower() in ("false", "0", "disabled"):
        raise BadRequest(f"Requested image {image.id} has automatic disk resize disabled.")
    if wanted.disk_config is None and image_says is not None:
        return "AUTO" if image_says.lower() in ("true", "1") else "MANUAL"
    return wanted.disk_config or "MANUAL"


def _keypair(context: RequestContext, wanted: Wanted) -> KeypairRow | None:
    if wanted.key_name is None:
        return None
    row = KeypairRow.get_or_none(KeypairRow.user_id == context.user_id, KeypairRow.name == wanted.key_name)
    if row is None:
        raise BadRequest(f"Invalid key_name provided: key pair {wanted.key_name} not found for this user.")
    return row


def _check_place(wanted: Wanted) -> None:
    if wanted.zone is not None and not zones.exists(wanted.zone):
        raise BadRequest(f"The requested availability zone is not available: {wanted.zone}")
    host = wanted.forced_host or wanted.wanted_host
    if host is not None and HostRow.get_or_none(HostRow.host == host) is None:
        raise BadRequest(f"Compute host {host} could not be found.")


def _security_groups(context: RequestContext, asked: tuple[str, ...]) -> list[str]:
    """Names or ids as asked, without repeats, all of them the project's. None asked: "default"."""
    if not asked:
        return ["default"]
    rows = SecurityGroupRow.select(SecurityGroupRow.id, SecurityGroupRow.name).where(
        SecurityGroupRow.project_id == context.project_id
    )
    ids, names = set(), []
    for row in rows:
        ids.add(row.id)
        names.append(row.name)
    for group in dict.fromkeys(asked):
        if group in ids or names.count(group) == 1 or (group == "default" and "default" not in names):
            continue
        if names.count(group) > 1:
            raise BadRequest(
                f"Multiple security_group matches found for name '{group}', use an ID to be more specific."
            )
        raise BadRequest(f"Unable to find security_group with name or id '{group}'")
    return list(dict.fromkeys(asked))
