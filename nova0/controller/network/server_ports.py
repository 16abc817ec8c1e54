"""The ports of a server, from its boot to its end. Inside a store closure; asked again, each does nothing more."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.network_tables import NetworkRow, PortRow
from nova0.controller.network import addresses, making
from nova0.controller.network.groups import ids_of
from nova0.controller.network.requested import available
from nova0.controller.network.revision import networks_naming, ports_changed, touch

_OF_SERVER = (  # written out as in Table.one: every step of a boot asks; device_id alone is a free text of its maker
    'SELECT * FROM "port" WHERE "device_id" = ? AND "device_owner" GLOB \'compute:*\' '
    'ORDER BY "position", "created_at", "id"'
)


def allocate(instance: InstanceRow, requested: Any) -> list[PortRow]:
    """Give a server its ports; asked again it gets the same. `requested` as validate_request returned it
    ("auto" and None are taken too). ApiError when a pool is used up, or a port or network has gone meanwhile."""
    held = rows_of(instance.uuid)
    if held or requested == "none":
        return held
    if requested is None or requested == "auto":
        usable = [row for row in available(instance.project_id) if making.subnet_of(row.id) is not None]
        requested = [{"uuid": row.id} for row in usable[:1]]
    owner = f"compute:{instance.availability_zone or 'nova'}"
    groups = ids_of(list(instance.security_groups), instance.project_id) if requested else []
    made: list[PortRow] = []
    known: addresses.Used = {}
    for position, entry in enumerate(requested):
        if entry.get("port"):
            made.append(_adopt(entry["port"], instance, owner, position))
        else:
            made.append(_make(entry, instance, owner, position, groups, known))
    ports_changed(made)
    return made


def _adopt(port_id: str, instance: InstanceRow, owner: str, position: int) -> PortRow:
    row = PortRow.one("id", port_id)
    if row is None:
        raise errors.bad_request(f"Port {port_id} could not be found: it was deleted after the server was asked for.")
    if row.device_id not in ("", instance.uuid):
        raise errors.conflict(f"Port {port_id} is in use by {row.device_id}.")
    row.device_id, row.device_owner, row.position, row.updated_at = instance.uuid, owner, position, now()
    row.revision += 1
    row.save()
    return row


def _make(
    entry: dict[str, Any],
    instance: InstanceRow,
    owner: str,
    position: int,
    groups: list[str],
    known: addresses.Used,
) -> PortRow:
    id = entry["uuid"]
    network = NetworkRow.one("id", id)
    if network is None:
        raise errors.bad_request(f"Network {id} could not be found: it was deleted after the server was asked for.")
    if making.subnet_of(id) is None:
        raise errors.bad_request(f"Network {id} requires a subnet in order to boot instances on.")
    return making.port(
        network,
        address=entry.get("fixed_ip"),
        known=known,
        project_id=instance.project_id,
        device_id=instance.uuid,
        device_owner=owner,
        security_groups=groups if network.port_security_enabled else [],
        port_security_enabled=network.port_security_enabled,
        made_by_us=True,
        position=position,
        tags=[entry["tag"]] if entry.get("tag") else [],
    )


def rows_of(instance_uuid: str) -> list[PortRow]:
    """A server's ports, in their order."""
    return list(PortRow.raw(_OF_SERVER, instance_uuid))


def heard_by(instance_uuid: str) -> list[str]:
    """Networks whose hosts hear of this server's ports: its own, and those with rules that name its groups.
    For `networks_changed` after a boot; for a delete, ask before `release`."""
    rows = rows_of(instance_uuid)
    groups = {group for row in rows for group in row.security_groups}
    return sorted({row.network_id for row in rows} | networks_naming(groups))


def bind(instance_uuid: str, host: str | None) -> None:
    """Its ports are on `host` now (None: nowhere); not ACTIVE before the host has wired them."""
    rows = [row for row in rows_of(instance_uuid) if row.host != host]
    for row in rows:
        row.host, row.status = host, "DOWN"
        _save(row)
    touch({row.network_id for row in rows})


def activate(instance_uuid: str) -> None:
    """Its host has wired its ports."""
    for row in rows_of(instance_uuid):
        if row.status != "ACTIVE" and row.host is not None:
            row.status = "ACTIVE"
            _save(row)


def release(instance_uuid: str) -> None:
    """The server is gone: ports made for it are deleted, a user's own set free."""
    rows = rows_of(instance_uuid)
    ports_changed(rows)
    ours = [row.id for row in rows if row.made_by_us]
    addresses.give_back(ours)
    PortRow.delete().where(PortRow.id.in_(ours)).execute()
    for row in rows:
        if not row.made_by_us:
            row.device_id, row.device_owner, row.host, row.status = "", "", None, "DOWN"
            _save(row)


def _save(row: PortRow) -> None:
    row.revision, row.updated_at = row.revision + 1, now()
    row.save()
