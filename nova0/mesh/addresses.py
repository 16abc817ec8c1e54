"""Which address of this machine others are told, and how HOST[:PORT] is read."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import ifaddr

from nova0.mesh.settings import DOOR_PORT, MeshSettings


def own_address(settings: MeshSettings) -> str:
    """As configured, else as bound, else the one of the route to a seed or outside, else loopback."""
    if settings.advertise:
        return settings.advertise
    if settings.listen not in ("", "0.0.0.0", "::", "*"):  # noqa: S104
        return settings.listen
    for target in (*(parse_seed(seed)[0] for seed in settings.join), "192.0.2.1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # chooses a route, sends nothing
            except OSError:
                continue
            found = str(probe.getsockname()[0])
            if found != "0.0.0.0" and not found.startswith("127."):  # noqa: S104
                return found
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            if address.is_IPv4 and isinstance(address.ip, str) and not address.ip.startswith(("127.", "169.254.")):
                return address.ip
    return "127.0.0.1"


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
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return host, int(port)


def remembered_ports(state_dir: Path, process: str) -> list[int]:
    """rpc, pub, ear, door, stream of the last start; peers remember them too."""
    try:
        ports = [int(word) for word in (state_dir / f"ports.{process}").read_text().split()]
    except (FileNotFoundError, ValueError):
        return [0] * 5
    return [*ports, 0][:5] if len(ports) in (4, 5) else [0] * 5
