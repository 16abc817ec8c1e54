"""Ports and networks as hosts and guests need them: the nouns that travel, rules compiled. Inside a store closure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from peewee import fn

from nova0.controller.api import errors
from nova0.controller.db.base_table import part as json_part
from nova0.controller.db.compute_tables import HostRow, InstanceRow
from nova0.controller.db.network_tables import FixedAddressRow, NetworkRow, PortRow, SubnetRow
from nova0.controller.network import making
from nova0.controller.network.groups import Compiler
from nova0.objects import fields
from nova0.objects.fields import guest_name, one_machines
from nova0.objects.network import Neighbour, NetworkPiece, NetworkPieces, NetworkView, Port, in_piece

PIECE = 1000  # ports in a page of a host's networks
EACH = 10  # ports that a network costs beside its own
LARGE = 200  # ports of a network whose view is told whole when a server is prepared
AT_ONCE = 500  # values in one statement, which SQLite bounds
LAST = "~"  # comes after every id
Fit = Callable[[str, Callable[[], NetworkPiece]], list[NetworkPiece]]

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
    return ports_of_each([instance_uuid])[instance_uuid]


def ports_of_each(instance_uuids: list[str], *, rules: bool = True) -> dict[str, list[Port]]:
    """server -> its ports, in their order; only those with an address. Without `rules` they have none: a host has
    them from the views of its networks."""
    found: dict[str, list[Port]] = {uuid: [] for uuid in instance_uuids}
    of_servers = PortRow.device_id.in_(instance_uuids) & (fn.SUBSTR(PortRow.device_owner, 1, 8) == "compute:")
    rows = list(_ports().where(of_servers).order_by(PortRow.position, PortRow.created_at, PortRow.id).tuples())
    known: dict[str, tuple[NetworkRow, SubnetRow | None]] = {
        network_id: (NetworkRow.known("id", network_id), making.subnet_of(network_id))
        for network_id in {row[6] for row in rows}
    }
    compiler = Compiler(group for row in rows for group in row[4]) if rules else None
    names = _hostnames(rows)
    for row in rows:
        network, subnet = known[row[6]]
        if subnet is not None:
            found[row[3]].append(_port(row, network, subnet, compiler, names))
    return found


def carried_by(host: str) -> list[str]:
    """Ids of the networks `host` must carry: those with a port of a server on it."""
    ids = PortRow.select(PortRow.network_id).where(PortRow.host == host).distinct().order_by(PortRow.network_id)
    return [row.network_id for row in ids]


def views_for(host: str) -> list[NetworkView]:
    """Every network `host` must carry."""
    return [view(network_id, host) for network_id in carried_by(host)]


def pieces_for(host: str, after: str, fit: Fit = lambda network_id, make: [make()]) -> NetworkPieces:
    """The page after `after` ("" for the first) of what `host` must carry: about PIECE ports and neighbours. `fit`
    gets each network's id and who makes its piece, and gives the piece, or none to leave it out."""
    at, _, after_port = after.partition(" ")
    from_here = PortRow.network_id > at if after_port == LAST else PortRow.network_id >= at
    here = PortRow.select(PortRow.network_id).where(PortRow.host == host, from_here)
    pieces: list[NetworkPiece] = []
    left = PIECE
    for row in here.distinct().order_by(PortRow.network_id):
        if left <= 0:
            break
        rows = _placed(row.network_id, after_port if row.network_id == at else "", left)
        pieces += fit(row.network_id, partial(_piece, row.network_id, host, rows))
        if len(rows) == left:
            return NetworkPieces(pieces=tuple(pieces), after=f"{row.network_id} {rows[-1][0]}")
        left -= len(rows) + EACH
        at, after_port = row.network_id, LAST
    else:
        return NetworkPieces(pieces=tuple(pieces), after="")
    return NetworkPieces(pieces=tuple(pieces), after=f"{at} {after_port}")


def _piece(network_id: str, host: str, rows: list[tuple[Any, ...]]) -> NetworkPiece:
    return in_piece(_view(NetworkRow.known("id", network_id), host, rows))


def view(network_id: str, host: str) -> NetworkView:
    """One network as `host` must build it. ApiError 404 when there is none."""
    network = NetworkRow.one("id", network_id)
    if network is None:
        raise errors.not_found("Network", network_id)
    return _view(network, host, _placed(network_id))


def is_large(network_id: str) -> bool:
    """Whether its view is no longer told whole: to prepare one server a host need not hear of thousands."""
    placed = PortRow.select(PortRow.id).where(PortRow.network_id == network_id, PortRow.host.is_null(False))
    return int(placed.limit(LARGE + 1).count()) > LARGE


def _placed(network_id: str, after: str = "", most: int | None = None) -> list[tuple[Any, ...]]:
    """Its ports that are on a host, by id."""
    here = (PortRow.network_id == network_id) & PortRow.host.is_null(False) & (PortRow.id > after)
    return list(_ports().where(here).order_by(PortRow.id).limit(most).tuples())


def _view(network: NetworkRow, host: str, placed: list[tuple[Any, ...]]) -> NetworkView:
    subnet = making.subnet_of(network.id)
    here = [row for row in placed if row[2] == host]
    names, tunnels = _hostnames(here), _tunnel_addresses({row[2] for row in placed})
    compiler = Compiler(group for row in here for group in row[4])
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
    uuids = list({row[3] for row in rows})
    found: dict[str, str] = {}
    for start in range(0, len(uuids), AT_ONCE):
        some: Any = InstanceRow.select(InstanceRow.uuid, InstanceRow.hostname)
        found |= dict(some.where(InstanceRow.uuid.in_(uuids[start : start + AT_ONCE])).tuples())
    return found


def _port(
    row: tuple[Any, ...], network: NetworkRow, subnet: SubnetRow, compiler: Compiler | None, names: dict[str, str]
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
        rules=compiler.rules(groups) if secured and compiler is not None else (),
        hostname=guest_name(names.get(device_id) or ""),
    )
