"""A server's row and its surroundings as the nouns that travel to its host. Runs inside a store closure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from nova0.controller.compute import flavors
from nova0.controller.conductor import fitting
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
    known already); without its password, which only the making of its guest needs (`plan`)."""
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
        availability_zone=fields.name(row.availability_zone or "nova"),
        launch_index=row.launch_index,
        reservation_id=row.reservation_id,
        created_at=row.created_at,
        number=row.id,
        cluster_id=cluster_id,
    )


PAGE = 200  # servers told to a host at once
PAGE_BYTES = 2 << 20
VIEW_ADDRESSES = 50_000  # in the rules of a view, or of a server, that are told whole: more would fill a frame


def page_for(host: str, after: int, cluster_id: str) -> list[Instance]:
    """The servers the store places on `host` with numbers above `after`, by number: at most PAGE and about
    PAGE_BYTES of them. Their ports are without rules: those are told with the networks."""
    here = (InstanceRow.host == host) & InstanceRow.deleted_at.is_null()
    page: list[Instance] = []
    size = 0
    while not page:  # a page of servers that do not fit is not the end
        rows = list(InstanceRow.select().where(here, InstanceRow.id > after).order_by(InstanceRow.id).limit(PAGE))
        if not rows:
            break
        made = _instances(rows, cluster_id)
        for row in rows:
            after = row.id
            for one in fitting.each("server", [row], lambda row: row.uuid, made):
                page.append(one)
                size += len(msgspec.msgpack.encode(one))
            if size > PAGE_BYTES:
                break
    return page


def _instances(rows: list[InstanceRow], cluster_id: str) -> Callable[[InstanceRow], Instance]:
    """A maker of these servers, their ports read together; alone, where one of them cannot be read."""
    try:
        ports = networks.ports_of_each([row.uuid for row in rows], rules=False)
    except fitting.REFUSED:
        return lambda row: _instances([row], cluster_id)(row) if len(rows) > 1 else instance_of(row, cluster_id)
    return lambda row: instance_of(row, cluster_id, tuple(ports[row.uuid]))


def plan(row: InstanceRow, host: str, cluster_id: str) -> tuple[Instance, list[NetworkView]]:
    """The server and the views of its networks as `host` must carry them, its own ports included. Views of large
    networks are left out: the host asks for them, in pieces, if it does not have them. Raises
    msgspec.ValidationError naming the field that the host would refuse."""
    ports = networks.ports_of(row.uuid)
    if sum(_length(port) for port in ports) > VIEW_ADDRESSES:  # then their rules come with the networks
        ports = networks.ports_of_each([row.uuid], rules=False)[row.uuid]
    ids = dict.fromkeys(port.network_id for port in networks.rows_of(row.uuid))
    views = [networks.view(network_id, host) for network_id in ids if not networks.is_large(network_id)]
    views = [view for view in views if sum(_length(port) for port in view.ports) <= VIEW_ADDRESSES]
    instance = msgspec.structs.replace(instance_of(row, cluster_id, tuple(ports)), admin_password=row.admin_password)
    return checked(instance), [fitting_view(view) for view in views]


def _length(port: Port) -> int:
    return sum(len(rule.remotes) for rule in port.rules)
