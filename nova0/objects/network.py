"""A network as one host must build it: the whole desired state in one value, so applying is idempotent."""

from __future__ import annotations

import msgspec


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One allowance of a security group, compiled: remote groups already expanded to addresses."""

    direction: str  # "ingress" | "egress"
    ethertype: str = "IPv4"  # "IPv4" | "IPv6"
    protocol: str | None = None  # None any; tcp, udp, icmp, icmpv6 or an IP protocol number as text
    port_min: int | None = None  # for icmp: type
    port_max: int | None = None  # for icmp: code
    remotes: tuple[str, ...] = ()  # CIDRs or addresses; empty with any_remote False matches nothing
    any_remote: bool = True


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A server's place on a network. Address, MAC and rules are the store's word."""

    id: str
    network_id: str
    network_name: str
    instance_uuid: str
    mac: str
    ip: str
    prefix_length: int
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    mtu: int = 1500
    port_security: bool = True  # False: no anti-spoofing, no rules
    rules: tuple[Rule, ...] = ()
    hostname: str = ""

    @property
    def tap(self) -> str:
        """Name of its device on the host (at most 15 characters)."""
        return "n0t" + self.id.replace("-", "")[:11]


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """Any port of the network, here or elsewhere, for forwarding entries and ARP answers."""

    mac: str
    ip: str
    host: str
    tunnel_address: str  # where its host takes VXLAN; "" while unknown


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """All a host must know to carry one network. `revision` grows with every change in the store;
    a host ignores a view older than the one it applied."""

    id: str
    name: str
    revision: int
    vni: int
    cidr: str
    gateway: str | None
    gateway_mac: str  # the same on every host (anycast)
    mtu: int
    dhcp: bool = True
    dns: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()  # those on the host this view is for
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def bridge(self) -> str:
        return bridge_name(self.id)

    @property
    def vxlan(self) -> str:
        return "n0x" + self.id.replace("-", "")[:11]


def bridge_name(network_id: str) -> str:
    """Name of the network's bridge on every host (at most 15 characters)."""
    return "n0b" + network_id.replace("-", "")[:11]
