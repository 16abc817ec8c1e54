"""Packets and frames made by hand, for tests that send what no kernel would."""

from __future__ import annotations

import socket
import struct

EVERY = b"\xff" * 6


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ether(target: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    return target + source + struct.pack("!H", kind) + payload


def arp(operation: int, sender: bytes, sender_ip: str, target: bytes, target_ip: str, **more: int) -> bytes:
    """`more`: htype, ptype, hlen, plen where they are not those of IPv4 on Ethernet."""
    kinds = {"htype": 1, "ptype": 0x800, "hlen": 6, "plen": 4, **more}
    head = struct.pack("!HHBBH", *kinds.values(), operation)
    return head + sender + socket.inet_aton(sender_ip) + target + socket.inet_aton(target_ip)


def ip_packet(
    source: str, target: str, protocol: int, payload: bytes, *,
    options: bytes = b"", fragment: int = 0, identification: int = 7, ttl: int = 64,
) -> bytes:  # fmt: skip
    """`fragment`: the field as it stands, flags and offset."""
    length = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH", 0x40 + length // 4, 0, length + len(payload), identification, fragment, ttl, protocol, 0
    )
    head += socket.inet_aton(source) + socket.inet_aton(target) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(port: int, source_port: int, words: bytes) -> bytes:
    return struct.pack("!HHHH", source_port, port, 8 + len(words), 0) + words


def udp_packet(
    source: str, target: str, port: int, source_port: int = 5000, words: bytes = b"x", options: bytes = b""
) -> bytes:
    return ip_packet(source, target, 17, udp(port, source_port, words), options=options)


def fragments(packet: bytes, *cuts: int) -> list[bytes]:
    """An IPv4 packet without options in pieces that end at `cuts` (bytes of its payload, each a multiple of 8)."""
    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
    ends = [*cuts, len(packet) - 20]
    number, pieces = checksum(packet[20:]), []
    for start, end in zip([0, *cuts], ends, strict=True):
        field = start // 8 | (0x2000 if end < ends[-1] else 0)
        words = packet[20 + start : 20 + end]
        pieces.append(ip_packet(source, target, packet[9], words, fragment=field, identification=number))
    return pieces


def tcp_packet(source: str, target: str, flags: int, port: int = 80, source_port: int = 4000) -> bytes:
    head = struct.pack("!HHIIBBHHH", source_port, port, 1, 1, 0x50, flags, 1000, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, 6, len(head))
    return ip_packet(source, target, 6, head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:])


def icmp(kind: int, code: int, rest: bytes, field: bytes = bytes(4)) -> bytes:
    head = struct.pack("!BBH", kind, code, 0) + field + rest
    return head[:2] + struct.pack("!H", checksum(head)) + head[4:]


def ip6_packet(source: str, target: str, following: int, payload: bytes, hops: int = 255) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, hops)
    return head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) + payload


def icmp6(source: str, target: str, kind: int, rest: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    head = struct.pack("!BBH", kind, 0, 0) + rest
    total = checksum(ends + struct.pack("!II", len(head), 58) + head)
    return head[:2] + struct.pack("!H", total) + head[4:]


def dhcp(kind: int, mac: str, server: str = "", asked: str = "", own: str = "0.0.0.0", **more: object) -> bytes:
    """A message of DHCP. kind: 1 discover, 2 offer, 3 request, 4 decline, 5 ack, 6 nak, 7 release, 8 inform,
    9 forcerenew. `mac`: whose hardware address it claims; `own`: ciaddr. `more`: op, htype, hlen, xid, yours, relay,
    name (sname), identifier (option 61), options (further ones)."""
    options = bytes([53, 1, kind])
    if server:
        options += bytes([54, 4]) + socket.inet_aton(server)
    if asked:
        options += bytes([50, 4]) + socket.inet_aton(asked)
    identifier = more.get("identifier", b"")
    if identifier:
        options += bytes([61, len(identifier)]) + identifier
    options += more.get("options", b"")
    head = bytes([more.get("op", 1), more.get("htype", 1), more.get("hlen", 6), 0])
    head += more.get("xid", b"\0\0\x12\x34") + bytes(4)
    for address in (own, more.get("yours", "0.0.0.0"), "0.0.0.0", more.get("relay", "0.0.0.0")):
        head += socket.inet_aton(str(address))
    head += bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0") + more.get("name", b"").ljust(192, b"\0")
    return (head + b"\x63\x82\x53\x63" + options + b"\xff").ljust(300, b"\0")


def dhcp_packet(kind: int, source: str, mac: str, server: str, asked: str = "", own: str = "0.0.0.0", **more) -> bytes:
    """From `source`, as a client sends it; `to` one address, where not to all."""
    words = dhcp(kind, mac, server, asked, own, **more)
    return udp_packet(source, more.get("to", "255.255.255.255"), 67, source_port=68, words=words)


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
