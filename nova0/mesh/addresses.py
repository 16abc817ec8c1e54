"""Which address of this machine others are told, and how HOST[:PORT] is read."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Any

import ifaddr

from nova0.mesh.settings import DOOR_PORT, MeshSettings

_SCOPE = re.compile(r"[A-Za-z0-9._@-]{1,15}")  # the name of an interface, or its number


def own_address(settings: MeshSettings) -> str:
    """As configured, else as bound, else the one of the route to a seed or outside, else loopback."""
    if settings.advertise:
        return settings.advertise
    if settings.listen not in ("", "0.0.0.0", "::", "*"):  # noqa: S104
        return settings.listen
    for target in (*(parse_seed(seed)[0] for seed in settings.join), "192.0.2.1"):
        with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # chooses a route, sends nothing
            except OSError:
                continue
            found = with_scope(probe.getsockname())
            if found != "0.0.0.0" and not found.startswith("127."):  # noqa: S104
                return found
    own = addresses_of()
    for address in own:
        if not address.startswith(("127.", "169.254.", "fe80:")) and address != "::1":
            return address
    return next((address for address in own if address.startswith("fe80:")), "127.0.0.1")


def addresses_of(names: tuple[str, ...] = ()) -> list[str]:
    """Of this machine, or of its interfaces and addresses named; IPv4 first, link-local ones with their scope.
    Ends of pairs that stay on the machine are none, unless named."""
    found = []
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            if not names and _leads_nowhere(address):
                continue
            if isinstance(address.ip, str):
                plain = text = address.ip
            else:
                plain, _, scope = address.ip
                text = f"{plain}%{adapter.name}" if scope else plain
            if not names or {plain, text, adapter.name} & set(names):
                found.append(text)
    return sorted(found, key=lambda text: (":" in text, text.startswith("fe80:")))


def networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Those this machine has an address in."""
    found = []
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            plain = address.ip if isinstance(address.ip, str) else address.ip[0]
            if _leads_nowhere(address):
                continue
            found.append(ipaddress.ip_network(f"{plain}/{address.network_prefix}", strict=False))
    return found


def _leads_nowhere(address: ifaddr.IP) -> bool:
    """A link-local IPv4 address with room for two at most: a pair into a namespace, as guests' networks have, where no
    other machine is."""
    return isinstance(address.ip, str) and address.ip.startswith("169.254.") and address.network_prefix >= 31


def is_one(text: str) -> bool:
    """Is it an IPv4 or IPv6 address, maybe with a scope, and no name?"""
    plain, percent, scope = text.partition("%")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return False
    return not percent or (address.version == 6 and _SCOPE.fullmatch(scope) is not None)


def seen_from_here(address: str, by: str) -> str:
    """An address another told of: the scope of a link-local one holds on its machine only; here it is that of
    the interface over which we hear the teller (`by`)."""
    plain, percent, _ = address.partition("%")
    if not percent:
        return address
    scope = by.partition("%")[2]
    return f"{plain}%{scope}" if scope else address


def resolve(host: str) -> list[str]:
    """Every address of a name, IPv4 and IPv6, as it is preferred here; an address is itself. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(with_scope(row[4]) for row in found))


def with_scope(name: tuple[Any, ...]) -> str:
    """The address in a socket's name; Python gives the scope of a link-local one as a number beside it."""
    address = str(name[0])
    if len(name) < 4 or not name[3] or "%" in address:
        return address
    try:
        return f"{address}%{socket.if_indextoname(name[3])}"
    except OSError:  # the interface has gone
        return address


def parse_seed(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [v6]:PORT; without a port the usual door. Raises ValueError naming the text."""
    host, port = text.strip(), str(DOOR_PORT)
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    elif ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            host = ""
    if "%" in host and not host.partition("%")[2]:
        host = ""
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return host, int(port)


def remembered_ports(state_dir: Path, process: str) -> list[int]:
    """rpc, pub, ear, door, stream of the last start; peers remember them too."""
    try:
        ports = [int(word) for word in (state_dir / f"ports.{process}").read_text().split()]
    except (FileNotFoundError, ValueError):
        return [0] * 5
    return [*ports, 0][:5] if len(ports) in (4, 5) else [0] * 5
