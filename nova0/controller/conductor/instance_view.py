"""A server's row and its surroundings as the nouns that travel to its host. Runs inside a store closure."""

from __future__ import annotations

from nova0.controller.compute import flavors
from nova0.controller.conductor.fitting import fitting_view
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.image import books as images
from nova0.controller.network import books as networks
from nova0.objects import fields
from nova0.objects.fields import checked, guest_name
from nova0.objects.flavor import Flavor
from nova0.objects.instance import Instance, Keypair
from nova0.objects.network import NetworkView, Port


def flavor_of(row: InstanceRow) -> Flavor:
    """The flavor as it was when the server was made."""
    return flavors.of_server(row.flavor)


def instance_of(row: InstanceRow, cluster_id: str, ports: tuple[Port, ...] | None = None) -> Instance:
    """The server as its host must know it, with its ports and compiled rules (`ports`, where they are
    known already)."""
    return Instance(
        uuid=row.uuid,
        generation=row.generation,
        name=fields.name(row.name),
        hostname=guest_name(row.hostname),
        project_id=row.project_id,
        user_id=row.user_id,
        flavor=flavor_of(row),
        image=images.of_server(row.image),
        ports=tuple(networks.ports_of(row.uuid)) if ports is None else ports,
        keypair=Keypair(name=fields.name(row.key_name or ""), public_key=row.key_data) if row.key_data else None,
        user_data=row.user_data,
        config_drive=row.config_drive,
        metadata=row.metadata or {},
        admin_password=row.admin_password,
        availability_zone=fields.name(row.availability_zone or "nova"),
        launch_index=row.launch_index,
        reservation_id=row.reservation_id,
        created_at=row.created_at,
        number=row.id,
        cluster_id=cluster_id,
    )


def plan(row: InstanceRow, host: str, cluster_id: str) -> tuple[Instance, list[NetworkView]]:
    """The server and the views of its networks as `host` must carry them, its own ports included. Its ports
    are taken from the views: their rules, which may name hundreds of addresses, are compiled once. Raises
    msgspec.ValidationError naming the field that the host would refuse."""
    rows = networks.rows_of(row.uuid)
    views = [fitting_view(networks.view(network_id, host)) for network_id in dict.fromkeys(r.network_id for r in rows)]
    order = {r.id: place for place, r in enumerate(rows)}
    ports = sorted((p for v in views for p in v.ports if p.id in order), key=lambda port: order[port.id])
    return checked(instance_of(row, cluster_id, tuple(ports))), views
