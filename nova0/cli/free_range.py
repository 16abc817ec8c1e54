"""Picks a private range for the first network that this machine does not reach already."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from pathlib import Path

from nova0.cli.failure import Failure

Network = ipaddress.IPv4Network
CANDIDATES = [
    *(Network(f"10.{second}.0.0/24") for second in range(80, 250)),
    *(Network(f"172.{second}.0.0/24") for second in range(24, 32)),
    *(Network(f"192.168.{third}.0/24") for third in range(130, 250)),
]


def choose(taken: Iterable[Network]) -> Network:
    """The first candidate that overlaps nothing taken. Failure when there is none."""
    taken = [network for network in taken if network.prefixlen > 0]
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(network) for network in taken):
            return candidate
    raise Failure("every private range is routed here already: make a network with `openstack network create`")


def routed_here(table: Path = Path("/proc/net/route"), resolver: Path = Path("/etc/resolv.conf")) -> list[Network]:
    """What this machine's routes and name servers take up."""
    found = []
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        lines = []
    for line in lines:
        columns = line.split()
        address, mask = _host_order(columns[1]), _host_order(columns[7])
        found.append(Network((address, bin(mask).count("1")), strict=False))
    try:
        words = [line.split() for line in resolver.read_text().splitlines()]
    except OSError:
        words = []
    for word in words:
        if len(word) > 1 and word[0] == "nameserver" and ":" not in word[1]:
            found.append(Network(f"{word[1]}/32"))
    return found


def _host_order(hexadecimal: str) -> int:
    number: int = struct.unpack("<I", bytes.fromhex(hexadecimal))[0]
    return number
