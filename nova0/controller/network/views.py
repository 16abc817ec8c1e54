"""Ports and networks as hosts and guests need them: the nouns that travel, rules compiled. Inside a store closure."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.db.base_table import part as json_part
from nova0.controller.db.compute_tables import HostRow, InstanceRow
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortRow, SubnetRow
from nova0.controller.network import making
from nova0.controller.network.groups import Compiler
from nova0.controller.network.server_ports import rows_of
from nova0.objects import fields
from nova0.objects.fields import guest_name, one_machines
from nova0.objects.network import Neighbour, NetworkView, Port

# Columns read for a port: plain tuples, since a network may hold hundreds and every boot reads them.
_COLUMNS = (
    PortRow.id,
    PortRow.mac_address,
    PortRow.host,
    PortRow.device_id,
    PortRow.security_groups,
    PortRow.port_security_enabled,
    PortRow.network_id,
    FixedAddressRow.ip_address,
)


def ports_of(instance_uuid: str) -> list[Port]:
    """A server's ports, in their order; only those with an address."""
    network_ids = list(dict.fromkeys(row.network_id for row in rows_of(instance_uuid)))
    order = [row.id for row in rows_of(instance_uuid)]
    compiler = Compiler()
    made: list[Port] = []
    for network_id in network_ids:
        network, subnet = NetworkRow.known("id", network_id), making.subnet_of(network_id)
        if subnet is not None:
            rows = _ports().where(PortRow.network_id == network_id, PortRow.device_id == instance_uuid).tuples()
            made += [_port(row, network, subnet, compiler, _hostnames([row])) for row in rows if row[0] in order]
    return sorted(made, key=lambda port: order.index(port.id))


def carried_by(host: str) -> list[str]:
    """Ids of the networks `host` must carry: those with a port of a server on it."""
    ids = PortRow.select(PortRow.network_id).where(PortRow.host == host).distinct().order_by(PortRow.network_id)
    return [row.network_id for row in ids]


def views_for(host: str) -> list[NetworkView]:
    """Every network `host` must carry."""
    return [view(network_id, host) for network_id in carried_by(host)]


def view(network_id: str, host: str) -> NetworkView:
    """One network as `host` must build it. ApiError 404 when there is none."""
    network = NetworkRow.one("id", network_id)
    if network is None:
        raise errors.not_found("Network", network_id)
    subnet = making.subnet_of(network_id)
    query = _ports().where(PortRow.network_id == network_id, PortRow.host.is_null(False)).order_by(PortRow.id)
    placed = list(query.tuples())
    here = [row for row in placed if row[2] == host]
    names = _hostnames(here)
    compiler, tunnels = Compiler(), _tunnel_addresses({row[2] for row in placed})
    return NetworkView(
        id=network.id,
        name=fields.name(network.name or ""),
        revision=network.revision,
        vni=network.vni,
        cidr=subnet.cidr if subnet else "",
        gateway=subnet.gateway_ip if subnet else None,
        gateway_mac=network.gateway_mac,
        mtu=network.mtu,
        dhcp=subnet.enable_dhcp if subnet else False,
        dns=tuple(subnet.dns_nameservers) if subnet else (),
        ports=tuple(_port(row, network, subnet, compiler, names) for row in here) if subnet is not None else (),
        neighbours=tuple(
            Neighbour(mac=row[1], ip=row[7], host=row[2], tunnel_address=tunnels.get(row[2], "")) for row in placed
        ),
    )


def _tunnel_addresses(hosts: set[str]) -> dict[str, str]:
    """host -> address its VXLAN endpoint listens on, as last reported; of these only: a cloud may have thousands.
    One that said something else has no tunnel, and no other host is told of it."""
    address: Any = HostRow.select(HostRow.host, json_part(HostRow.state, "$.tunnel_address"))
    said = address.where(HostRow.host.in_(list(hosts))).tuples()
    return {host: where for host, where in said if one_machines(where)}


def _ports() -> Any:
    """Ports with an address; `.tuples()` gives `_COLUMNS`."""
    return PortRow.select(*_COLUMNS).join(FixedAddressRow, on=(FixedAddressRow.port_id == PortRow.id))


def _hostnames(rows: list[tuple[Any, ...]]) -> dict[str, str]:
    """server uuid -> its host name, for the servers of these ports."""
    uuids = [row[3] for row in rows]
    query: Any = InstanceRow.select(InstanceRow.uuid, InstanceRow.hostname).where(InstanceRow.uuid.in_(uuids))
    return dict(query.tuples())


def _port(
    row: tuple[Any, ...], network: NetworkRow, subnet: SubnetRow, compiler: Compiler, names: dict[str, str]
) -> Port:
    port_id, mac, _, device_id, groups, secured, _, address = row
    return Port(
        id=port_id,
        network_id=network.id,
        network_name=fields.name(network.name or ""),
        instance_uuid=device_id,
        mac=mac,
        ip=address,
        prefix_length=int(subnet.cidr.rpartition("/")[2]),
        gateway=subnet.gateway_ip,
        dns=tuple(subnet.dns_nameservers),
        mtu=network.mtu,
        port_security=secured,
        rules=compiler.rules(groups) if secured else (),
        hostname=guest_name(names.get(device_id) or ""),
    )
