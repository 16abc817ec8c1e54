"""A network as one host must build it: the whole desired state in one value, so applying is idempotent."""

from __future__ import annotations

import msgspec

from nova0.objects.fields import (
    AddressOrNone,
    CidrOrNone,
    Direction,
    Ethertype,
    Generation,
    GuestName,
    HostName,
    Ipv4,
    Mac,
    Mtu,
    Name,
    PageMark,
    PrefixLength,
    Remote,
    RuleNumber,
    Uuid,
    Vni,
    Word,
)


class Rule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One allowance of a security group, compiled: remote groups already expanded to addresses."""

    direction: Direction
    ethertype: Ethertype = "IPv4"
    protocol: Word | None = None  # None any; tcp, udp, icmp, icmpv6 or an IP protocol number as text
    port_min: RuleNumber | None = None  # for icmp: type
    port_max: RuleNumber | None = None  # for icmp: code
    remotes: tuple[Remote, ...] = ()  # CIDRs or addresses; empty with any_remote False matches nothing
    any_remote: bool = True


class Port(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A server's place on a network. Address, MAC and rules are the store's word."""

    id: Uuid
    network_id: Uuid
    network_name: Name
    instance_uuid: Uuid
    mac: Mac
    ip: Ipv4
    prefix_length: PrefixLength
    gateway: Ipv4 | None = None
    dns: tuple[Ipv4, ...] = ()
    mtu: Mtu = 1500
    port_security: bool = True  # False: no anti-spoofing, no rules
    rules: tuple[Rule, ...] = ()
    hostname: GuestName = ""

    @property
    def tap(self) -> str:
        """Name of its device on the host (at most 15 characters)."""
        return "n0t" + self.id.replace("-", "")[:11]


class Neighbour(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Any port of the network, here or elsewhere, for forwarding entries and ARP answers."""

    mac: Mac
    ip: Ipv4
    host: HostName
    tunnel_address: AddressOrNone  # where its host takes VXLAN; "" while unknown


class NetworkView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All a host must know to carry one network. `revision` grows with every change in the store;
    a host ignores a view older than the one it applied."""

    id: Uuid
    name: Name
    revision: Generation
    vni: Vni
    cidr: CidrOrNone
    gateway: Ipv4 | None
    gateway_mac: Mac  # the same on every host (anycast)
    mtu: Mtu
    dhcp: bool = True
    dns: tuple[Ipv4, ...] = ()
    ports: tuple[Port, ...] = ()  # those on the host this view is for
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def bridge(self) -> str:
        return bridge_name(self.id)

    @property
    def vxlan(self) -> str:
        return "n0x" + self.id.replace("-", "")[:11]

    @property
    def door(self) -> str:
        """The bridge's port towards the network's namespace; `leg` is its other end, the gateway of the guests."""
        return "n0d" + self.id.replace("-", "")[:11]

    @property
    def leg(self) -> str:
        return "n0g" + self.id.replace("-", "")[:11]

    @property
    def uplink(self) -> str:
        """The host's end of the pair through which the namespace reaches the world."""
        return "n0u" + self.id.replace("-", "")[:11]


class NetworkPiece(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a network's view: some of its ports and neighbours. Rules are told once for all ports that have
    the same: in a group of thousands each names all others."""

    view: NetworkView  # its ports without rules
    rules: tuple[tuple[Rule, ...], ...] = ()
    of_ports: tuple[int, ...] = ()  # which of these each port has


class NetworkPieces(msgspec.Struct, frozen=True, kw_only=True):
    """A page of what a host must carry. `after`: what to ask the next page with; "" when there is none. Pieces of
    one network follow one another."""

    pieces: tuple[NetworkPiece, ...]
    after: PageMark


def in_piece(view: NetworkView) -> NetworkPiece:
    """A view with the rules taken out of its ports."""
    numbers: dict[tuple[Rule, ...], int] = {}
    by_identity: dict[int, int] = {}  # rules that are one object need no second look at their thousands of addresses
    of_ports = []
    for port in view.ports:
        number = by_identity.get(id(port.rules))
        if number is None:
            number = by_identity[id(port.rules)] = numbers.setdefault(port.rules, len(numbers))
        of_ports.append(number)
    bare = msgspec.structs.replace(view, ports=tuple(without_rules(port) for port in view.ports))
    return NetworkPiece(view=bare, rules=tuple(numbers), of_ports=tuple(of_ports))


def whole(pieces: list[NetworkPiece]) -> NetworkView:
    """One network's view from all its pieces, of the lowest revision among them: what changed between them is asked
    for again. Raises ValueError for a piece that does not fit."""
    views = [piece.view for piece in pieces]
    ports = []
    for piece in pieces:
        for port, number in zip(piece.view.ports, piece.of_ports, strict=True):
            if not 0 <= number < len(piece.rules):
                raise ValueError(f"network {piece.view.id}: port {port.id} has no such rules")
            ports.append(msgspec.structs.replace(port, rules=piece.rules[number]))
    neighbours = tuple(neighbour for view in views for neighbour in view.neighbours)
    revision = min(view.revision for view in views)
    return msgspec.structs.replace(views[0], revision=revision, ports=tuple(ports), neighbours=neighbours)


def without_rules(port: Port) -> Port:
    return msgspec.structs.replace(port, rules=()) if port.rules else port


def bridge_name(network_id: str) -> str:
    """Name of the network's bridge on every host (at most 15 characters)."""
    return "n0b" + network_id.replace("-", "")[:11]
