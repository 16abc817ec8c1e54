"""What a network's guests take for their gateway: a namespace with a leg on the bridge, and an uplink to the host.

Inside are the gateway's address (the same on every host), 169.254.169.254, DHCP, the metadata service, routes
and connection tracking of their own, so two networks may have the same range, or the host's. Out goes
what is new from the guests, under the address of the uplink pair; nothing new comes in.

A router between networks will be the same with more legs; its floating addresses are DNAT inside.
"""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nova0 import atomic_file
from nova0.host.network import links, nft
from nova0.host.network.namespace import Namespace
from nova0.objects.errors import NetworkError
from nova0.objects.network import NetworkView

METADATA = nft.METADATA
UPLINKS = ipaddress.ip_network("169.254.0.0/17")  # nobody's guests may have it, and no neighbour routes it
MOST = UPLINKS.num_addresses // 2 - 1
SETTINGS = (  # of the namespace
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/arp_ignore", "1"),  # a guest asks for the leg's addresses, not for the uplink's
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
)


@dataclass(frozen=True)
class Pair:
    """The addresses of an uplink: the host's end and the namespace's, told by the network's number here."""

    number: int

    @property
    def outside(self) -> str:
        return str(UPLINKS[2 * self.number])

    @property
    def inside(self) -> str:
        return str(UPLINKS[2 * self.number + 1])


class Gateways:
    """`nat`: whether guests reach the world at all. Numbers are kept in `directory`/<network id>/number."""

    def __init__(self, host: str, cluster_id: str, directory: Path, nat: bool) -> None:
        self.host, self.cluster_id, self.directory, self.nat = host, cluster_id, directory, nat
        self._numbers: dict[str, int] = {}

    def has_uplink(self, view: NetworkView) -> bool:
        return self.nat and bool(view.gateway and view.cidr)

    def devices(self, view: NetworkView) -> set[str]:
        """The host's ends of what a view needs."""
        return {view.door, view.uplink} if self.has_uplink(view) else {view.door}

    def number(self, network_id: str) -> int:
        """The network's number on this host: of its uplink's addresses and its zone of connection tracking. The
        lowest that is free is kept for it. Raises NetworkError when there are none."""
        known = self._numbers.get(network_id)
        if known is not None:
            return known
        place = self.directory / network_id / "number"
        known = self._numbers[network_id] = _number(place) or self._free_number(place)
        return known

    def forget(self, network_id: str) -> None:
        self._numbers.pop(network_id, None)

    def pair(self, view: NetworkView) -> tuple[str, str] | None:
        """Addresses of its uplink, outside and inside; None where it has none."""
        pair = Pair(self.number(view.id))
        return (pair.outside, pair.inside) if self.has_uplink(view) else None

    def _free_number(self, place: Path) -> int:
        used = {_number(path) for path in self.directory.glob("*/number")} | self._taken()
        free = next((number for number in range(1, MOST) if number not in used), None)
        if free is None:
            raise NetworkError(f"{self.host}: more than {MOST} networks on one host: use more hosts")
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.write(place, f"{free}\n", 0o644)
        return free

    def build(self, view: NetworkView, known: dict[str, links.Device], namespace: Namespace) -> None:
        """Leg, uplink, addresses, routes and rules. `known`: this cluster's devices as they are."""
        step, inside, pair = f"building the gateway of {view.name}", namespace.path, Pair(self.number(view.id))
        try:
            namespace.run(_set)
        except OSError as error:
            raise NetworkError(f"{self.host}: {step}: {error}") from error
        there = {link["ifname"]: link for link in links.ask(self.host, "ip", "-j", "addr", "show", inside=inside)}
        uplink = self.has_uplink(view)
        new_leg = self._pair(view.door, "door", view.id, view.leg, known, there, inside)
        renumbered = False
        lines = [*new_leg]
        lines.append(f"link set dev {view.door} mtu {view.mtu} master {view.bridge} up")
        if uplink:
            new_up = self._pair(view.uplink, "uplink", view.id, "up", known, there, inside)
            renumbered = not new_up and _addresses(there["up"]) != {f"{pair.inside}/31"}
            lines += new_up
            if renumbered:
                lines.append(f"addr flush dev {view.uplink}")
            lines.append(f"addr replace {pair.outside}/31 dev {view.uplink}")
            lines.append(f"link set dev {view.uplink} up")
        elif view.uplink in known:
            lines.append(f"link del dev {view.uplink}")
        links.change(self.host, step, "ip", lines)
        lines = ["link set dev lo up", f"link set dev {view.leg} address {view.gateway_mac} mtu {view.mtu} up"]
        wanted = {f"{METADATA}/32"}
        if view.gateway and view.cidr:
            wanted.add(f"{view.gateway}/{ipaddress.ip_network(view.cidr, strict=False).prefixlen}")
        here = set() if new_leg else _addresses(there[view.leg])
        if not new_leg:
            lines.append(f"route flush dev {view.leg} proto boot")
        lines += [f"addr del {address} dev {view.leg}" for address in sorted(here - wanted)]
        for address in sorted(wanted - here):
            how = "scope link" if address.startswith(METADATA) else "brd +"
            lines.append(f"addr add {address} {how} dev {view.leg}")
        if view.cidr and not view.gateway:
            net = ipaddress.ip_network(view.cidr, strict=False)
            lines.append(f"route replace {net} dev {view.leg} scope link src {METADATA}")
        if uplink:
            if renumbered:
                lines.append("addr flush dev up")
            lines.append(f"addr replace {pair.inside}/31 dev up")
            lines.append("link set dev up up")
            lines.append(f"route replace default via {pair.outside} dev up")
        links.change(self.host, step, "ip", lines, inside=inside)
        nft.load(self.host, nft.gateway_rules(view), inside=inside)

    def _pair(
        self,
        name: str,
        kind: str,
        network_id: str,
        other: str,
        known: dict[str, links.Device],
        there: dict[str, Any],
        inside: str,
    ) -> list[str]:
        """Lines that make a pair into the namespace, unless it leads there already."""
        if name in known and other in there and there[other]["ifindex"] == known[name].peer:
            return []
        if name in known:  # into a namespace that is gone
            links.change_where_possible(self.host, "ip", [f"link del dev {name}"])
        elif links.exists(self.host, name):
            raise NetworkError(f"{self.host}: a device {name} exists and is not ours")
        return [
            f"link add name {name} type veth peer name {other} netns {inside}",
            f'link set dev {name} alias "{links.alias(self.cluster_id, kind, network_id)}"',
            f"link set dev {name} addrgenmode none",
        ]

    def _taken(self) -> set[int]:
        """Numbers whose addresses this host uses for something: they have an address or a route of their own."""
        found = set()
        for route in links.ask(self.host, "ip", "-j", "-4", "route", "show", "table", "all"):
            with contextlib.suppress(ValueError):
                net = ipaddress.ip_network(route["dst"])
                if net.prefixlen >= 24 and net.subnet_of(UPLINKS):  # type: ignore[arg-type]
                    first = int(net.network_address) - int(UPLINKS.network_address)
                    found |= set(range(first // 2, (first + net.num_addresses - 1) // 2 + 1))
        return found


def _number(path: Path) -> int | None:
    try:
        number = int(path.read_text())
    except (OSError, ValueError):
        return None
    return number if 0 < number < MOST else None


def _set() -> None:
    for name, value in SETTINGS:
        with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/net/{name}", "w") as file:
            file.write(value)


def _addresses(link: dict[str, Any] | None) -> set[str]:
    return {
        f"{address['local']}/{address['prefixlen']}"
        for address in (link or {}).get("addr_info", [])
        if address.get("family") == "inet"
    }
