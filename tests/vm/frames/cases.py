"""Frames that a hostile guest sends, a table: adding a case is one entry. Each bears a mark of four bytes that
is looked for wherever frames arrive; it says there which case it was."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.vm.packets import (
    EVERY,
    arp,
    dhcp,
    ether,
    fragments,
    icmp,
    icmp6,
    ip6_packet,
    ip_packet,
    mac,
    tcp_packet,
    udp,
    udp_packet,
)

MAGIC = b"\xf7\xa3\x9e"
VICTIM, GATEWAY, FAR, WIRE = "victim", "gateway", "far", "wire"  # where frames are looked for
OPEN, CLOSED, VICTIMS = 9, 20000, 5555  # UDP ports of the victim by its rules; the first TCP port it speaks from
NOBODY = bytes(6)
ARP, RARP, IP, IP6, VLAN, SERVICE_VLAN, QINQ = 0x0806, 0x8035, 0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100
V6 = "fd00::1"
ALL6, ROUTERS6 = "ff02::1", "ff02::2"


@dataclass(frozen=True)
class Scene:
    """Who is where. `me` is the guest that sends, `you` its neighbour on the same host, `far` one on another."""

    me: str  # MACs as text
    you: str
    gate: str
    far: str
    my_ip: str
    your_ip: str
    gate_ip: str
    far_ip: str
    host: str  # address of the host beneath, and of the other one
    other_host: str
    net: str  # the first three parts of the network's addresses

    @property
    def own(self) -> bytes:
        return mac(self.me)

    @property
    def his(self) -> bytes:
        return mac(self.you)

    @property
    def gates(self) -> bytes:
        return mac(self.gate)

    # frames with an honest Ethernet header
    def to_all(self, kind: int, payload: bytes) -> bytes:
        return ether(EVERY, self.own, kind, payload)

    def to_him(self, kind: int, payload: bytes) -> bytes:
        return ether(self.his, self.own, kind, payload)

    def to_gate(self, kind: int, payload: bytes) -> bytes:
        return ether(self.gates, self.own, kind, payload)

    def honest(self, mark: bytes, port: int = OPEN) -> bytes:
        """A UDP packet to the neighbour, without Ethernet header."""
        return udp_packet(self.my_ip, self.your_ip, port, words=mark)


Make = Callable[[Scene, bytes], "bytes | list[bytes]"]


@dataclass(frozen=True)
class Case:
    group: str
    name: str
    make: Make
    arrives: tuple[str, ...] = ()  # where it may be seen


# --- Ethernet ---------------------------------------------------------------------------------------------------


def _from(source: bytes) -> Make:
    return lambda s, m: ether(s.his, source, IP, s.honest(m))


def _kind(kind: int, target: bytes = EVERY, head: bytes = b"") -> Make:
    """A protocol that networks do not carry."""
    return lambda s, m: ether(target, s.own, kind, (head + m * 4).ljust(46, b"\0"))


def _tagged(kind: int, number: int, inner: int, payload: Callable[[Scene, bytes], bytes], further: bytes = b"") -> Make:
    return lambda s, m: s.to_him(kind, further + struct.pack("!HH", number, inner) + payload(s, m))


def _lie(s: Scene, m: bytes) -> bytes:
    return arp(2, s.own, s.your_ip, s.own, s.my_ip) + m * 4


def _closed(s: Scene, m: bytes) -> bytes:
    return s.honest(m, CLOSED)


def _snap(kind: int, payload: Callable[[Scene, bytes], bytes]) -> Make:
    def make(s: Scene, m: bytes) -> bytes:
        words = b"\xaa\xaa\x03\0\0\0" + struct.pack("!H", kind) + payload(s, m)
        return s.to_him(len(words), words)

    return make


def _group(last: int) -> bytes:
    return b"\x01\x80\xc2\0\0" + bytes([last])


ETHERNET = [
    Case("ethernet", "source MAC of the neighbour", lambda s, m: ether(EVERY, s.his, IP, s.honest(m))),
    Case("ethernet", "source MAC of the gateway", lambda s, m: ether(s.his, s.gates, IP, s.honest(m))),
    Case("ethernet", "source MAC of a guest elsewhere", lambda s, m: ether(s.his, mac(s.far), IP, s.honest(m))),
    Case("ethernet", "source MAC broadcast", _from(EVERY)),
    Case("ethernet", "source MAC multicast", _from(b"\x01\0\x5e\0\0\x01")),
    Case("ethernet", "source MAC zero", _from(NOBODY)),
    Case("ethernet", "source MAC of nobody", _from(b"\xfa\x16\x3e\x99\x99\x99")),
    Case(
        "ethernet",
        "source MAC of the neighbour to a bridge's group",
        lambda s, m: ether(_group(3), s.his, IP, s.honest(m)),
    ),
    Case("ethernet", "to a bridge's group", lambda s, m: ether(_group(3), s.own, IP, s.honest(m))),
    Case(
        "ethernet",
        "BPDU",
        lambda s, m: ether(_group(0), s.own, 38, b"\x42\x42\x03" + bytes(5) + bytes(8) + m * 4 + bytes(11)),
    ),
    Case(
        "ethernet",
        "BPDU of Cisco",
        lambda s, m: ether(b"\x01\0\x0c\xcc\xcc\xcd", s.own, 46, b"\xaa\xaa\x03\0\0\x0c\x01\x0b" + m * 4 + bytes(22)),
    ),
    Case(
        "ethernet",
        "CDP",
        lambda s, m: ether(b"\x01\0\x0c\xcc\xcc\xcc", s.own, 46, b"\xaa\xaa\x03\0\0\x0c\x20\0" + m * 4 + bytes(22)),
    ),
    Case("ethernet", "PAUSE", _kind(0x8808, _group(1), b"\0\x01\xff\xff")),
    Case("ethernet", "LACP", _kind(0x8809, _group(2), b"\x01\x01")),
    Case("ethernet", "EAPOL", _kind(0x888E, _group(3), b"\x01\x01\0\0")),
    Case("ethernet", "EAPOL to the neighbour", lambda s, m: s.to_him(0x888E, b"\x02\0\0\x10" + m * 4)),
    Case("ethernet", "LLDP", _kind(0x88CC, _group(14), b"\x02\x07\x04")),
    Case("ethernet", "LLDP to all", _kind(0x88CC, EVERY, b"\x02\x07\x04")),
    Case("ethernet", "GVRP", _kind(42, _group(0x21), b"\x42\x42\x03\0\x01")),
    Case("ethernet", "MVRP", _kind(0x88F5, _group(0x21))),
    Case("ethernet", "MPLS", lambda s, m: s.to_him(0x8847, b"\0\x01\x01\x40" + s.honest(m, CLOSED))),
    Case("ethernet", "MPLS multicast", _kind(0x8848)),
    Case("ethernet", "PPPoE discovery", _kind(0x8863, EVERY, b"\x11\x09\0\0\0\x04")),
    Case(
        "ethernet",
        "PPPoE session with IP",
        lambda s, m: s.to_him(0x8864, b"\x11\0\0\x01\0\x30\0\x21" + s.honest(m, CLOSED)),
    ),
    Case("ethernet", "MACsec", _kind(0x88E5)),
    Case("ethernet", "loopback", _kind(0x9000)),
    Case("ethernet", "wake on LAN", lambda s, m: s.to_all(0x0842, EVERY + s.his * 16 + m)),
    Case("ethernet", "ATA over Ethernet", _kind(0x88A2)),
    Case("ethernet", "FCoE", _kind(0x8906)),
    Case("ethernet", "PTP", _kind(0x88F7)),
    Case("ethernet", "transparent Ethernet", lambda s, m: s.to_him(0x6558, s.to_him(IP, s.honest(m, CLOSED)))),
    Case("ethernet", "kind 0", _kind(0)),
    Case("ethernet", "kind 0x05ff", _kind(0x05FF)),
    Case("ethernet", "kind 0xffff", _kind(0xFFFF)),
    Case("ethernet", "a length with other words than it says", _kind(1500)),
    Case("ethernet", "IPX without LLC", lambda s, m: s.to_him(46, b"\xff\xff" + m * 11)),
    Case("ethernet", "IP in SNAP", _snap(IP, _closed)),
    Case("ethernet", "ARP in SNAP", _snap(ARP, _lie)),
    Case("ethernet", "a kind of IP and four bytes", lambda s, m: s.to_him(IP, m)),
    Case("ethernet", "a kind of ARP and four bytes", lambda s, m: s.to_him(ARP, m)),
    Case("ethernet", "a kind of IPv6 and four bytes", lambda s, m: s.to_him(IP6, m)),
    # with a tag the host's rules on connections do not see the packet
    Case("ethernet", "VLAN 0 to a closed port", _tagged(VLAN, 0, IP, _closed)),
    Case("ethernet", "VLAN 0 to an open port", _tagged(VLAN, 0, IP, lambda s, m: s.honest(m))),
    Case("ethernet", "VLAN 7 to a closed port", _tagged(VLAN, 7, IP, _closed)),
    Case("ethernet", "VLAN 4095", _tagged(VLAN, 4095, IP, _closed)),
    Case("ethernet", "VLAN 0 of the service kind to a closed port", _tagged(SERVICE_VLAN, 0, IP, _closed)),
    Case("ethernet", "VLAN 7 of the service kind to a closed port", _tagged(SERVICE_VLAN, 7, IP, _closed)),
    Case("ethernet", "two tags", _tagged(SERVICE_VLAN, 7, IP, _closed, struct.pack("!HH", 7, VLAN))),
    Case("ethernet", "two tags 0", _tagged(VLAN, 0, IP, _closed, struct.pack("!HH", 0, VLAN))),
    Case("ethernet", "two tags of the older kind", _tagged(QINQ, 7, IP, _closed, struct.pack("!HH", 7, VLAN))),
    Case("ethernet", "a tag of the older kind", _tagged(QINQ, 0, IP, _closed)),
    Case("ethernet", "VLAN 0 with the neighbour's ARP", _tagged(VLAN, 0, ARP, _lie)),
    Case("ethernet", "VLAN 0 with an honest ARP", _tagged(VLAN, 0, ARP, lambda s, m: _announce(s) + m)),
    Case(
        "ethernet",
        "VLAN 0 from the neighbour's address",
        _tagged(VLAN, 0, IP, lambda s, m: udp_packet(s.far_ip, s.your_ip, OPEN, words=m)),
    ),
    Case("ethernet", "VLAN 0 with IPv6", _tagged(VLAN, 0, IP6, lambda s, m: _advert(s, m)[14:])),
    Case("ethernet", "a tag and nothing", _tagged(VLAN, 0, 0, lambda s, m: m)),
]

# --- ARP --------------------------------------------------------------------------------------------------------


def _announce(s: Scene) -> bytes:
    return arp(2, s.own, s.my_ip, EVERY, s.my_ip)


def _says(operation: int, sender_ip: str, target: bytes = EVERY, **more: int) -> Make:
    """With its own MAC; `sender_ip`, `target` by name of the scene's fields."""
    return lambda s, m: ether(
        target, s.own, ARP, arp(operation, s.own, getattr(s, sender_ip), s.his, s.your_ip, **more) + m * 4
    )


def _outer(operation: int, sender: str, sender_ip: str) -> Make:
    """An honest Ethernet header, another sender inside."""
    return lambda s, m: s.to_all(
        ARP, arp(operation, mac(getattr(s, sender)), getattr(s, sender_ip), NOBODY, s.far_ip) + m * 4
    )


ARPS = [
    Case("arp", "reply as the neighbour to all", _says(2, "your_ip")),
    Case("arp", "reply as the gateway", _says(2, "gate_ip")),
    Case("arp", "reply as a guest elsewhere", _says(2, "far_ip")),
    Case("arp", "request as the gateway", _says(1, "gate_ip")),
    Case("arp", "request as a guest elsewhere", _says(1, "far_ip")),
    Case(
        "arp",
        "gratuitous as the neighbour",
        lambda s, m: s.to_all(ARP, arp(1, s.own, s.your_ip, NOBODY, s.your_ip) + m),
    ),
    Case(
        "arp", "gratuitous as the gateway", lambda s, m: s.to_all(ARP, arp(2, s.own, s.gate_ip, EVERY, s.gate_ip) + m)
    ),
    Case(
        "arp", "as 169.254.169.254", lambda s, m: s.to_all(ARP, arp(2, s.own, "169.254.169.254", s.his, s.your_ip) + m)
    ),
    Case("arp", "inside: the neighbour's MAC and address", _outer(1, "you", "your_ip")),
    Case("arp", "inside: the neighbour's MAC, an honest address", _outer(2, "you", "my_ip")),
    Case("arp", "inside: the gateway's MAC and address", _outer(2, "gate", "gate_ip")),
    Case("arp", "inside: the gateway's MAC, an honest address", _outer(2, "gate", "my_ip")),
    Case("arp", "inside: a broadcast MAC", lambda s, m: s.to_all(ARP, arp(2, EVERY, s.my_ip, NOBODY, s.your_ip) + m)),
    Case(
        "arp",
        "outside: the neighbour's MAC",
        lambda s, m: ether(EVERY, s.his, ARP, arp(2, s.own, s.my_ip, EVERY, s.my_ip) + m),
    ),
    Case(
        "arp",
        "an address that is broadcast",
        lambda s, m: s.to_all(ARP, arp(1, s.own, "255.255.255.255", NOBODY, s.your_ip) + m),
    ),
    # who asks under 0.0.0.0 looks whether an address is taken: of the neighbour's, while it does the same, that is a
    # conflict (RFC 5227, 2.1.1), and the neighbour gives its address back
    Case(
        "arp",
        "a probe for the neighbour's address",
        lambda s, m: s.to_all(ARP, arp(1, s.own, "0.0.0.0", NOBODY, s.your_ip) + m),
    ),
    Case(
        "arp", "a probe for the gateway's", lambda s, m: s.to_all(ARP, arp(1, s.own, "0.0.0.0", NOBODY, s.gate_ip) + m)
    ),
    Case("arp", "a reply from 0.0.0.0", lambda s, m: s.to_him(ARP, arp(2, s.own, "0.0.0.0", s.his, s.your_ip) + m)),
    Case("arp", "hardware of another kind", _says(1, "my_ip", htype=6)),
    Case("arp", "hardware of another kind, as the neighbour", _says(2, "your_ip", htype=32)),
    Case("arp", "protocol of another kind", _says(1, "my_ip", ptype=0x86DD)),
    Case("arp", "protocol of a trailer", _says(2, "your_ip", ptype=0x1000)),
    Case("arp", "hardware addresses of 8 bytes", _says(1, "my_ip", hlen=8)),
    Case("arp", "no hardware addresses", _says(2, "my_ip", hlen=0)),
    Case("arp", "addresses of 16 bytes", _says(1, "my_ip", plen=16)),
    Case("arp", "no addresses", _says(2, "my_ip", plen=0)),
    Case("arp", "operation 0", _says(0, "my_ip")),
    Case("arp", "inverse", _says(8, "my_ip")),
    Case("arp", "inverse reply", _says(9, "my_ip")),
    Case("arp", "not acknowledged", _says(10, "my_ip")),
    Case("arp", "cut after its kinds", lambda s, m: s.to_him(ARP, struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + m)),
    Case("arp", "cut within the sender's address", lambda s, m: s.to_him(ARP, _lie(s, m)[:8] + s.own + m[:3] + m[3:])),
    Case("arp", "RARP request", lambda s, m: s.to_all(RARP, arp(3, s.own, s.my_ip, s.his, s.your_ip) + m)),
    Case("arp", "RARP reply", lambda s, m: s.to_him(RARP, arp(4, s.own, s.my_ip, s.his, f"{s.net}.77") + m)),
    # honest ones, for the rest to mean something
    Case("arp", "honest request", _says(1, "my_ip"), (VICTIM, GATEWAY)),
    Case("arp", "honest reply", _says(2, "my_ip"), (VICTIM, GATEWAY)),
    Case("arp", "honest announcement", lambda s, m: s.to_all(ARP, _announce(s) + m), (VICTIM, GATEWAY)),
    Case(
        "arp",
        "a probe for its own address",
        lambda s, m: s.to_all(ARP, arp(1, s.own, "0.0.0.0", NOBODY, s.my_ip) + m),
        (VICTIM, GATEWAY),
    ),
]

# --- DHCP -------------------------------------------------------------------------------------------------------


def _asks(kind: int, source: str = "0.0.0.0", **more: object) -> Make:
    """DHCP to all, and to the gateway alone. `source` and the values of `more` may be names of the scene's fields;
    `claims`: whose hardware address, else its own."""

    def make(s: Scene, m: bytes) -> list[bytes]:
        def value(each: object) -> object:
            return getattr(s, each) if isinstance(each, str) and hasattr(s, each) else each

        values = {name: value(each) for name, each in more.items()}
        if values.get("identifier") == "his":
            values["identifier"] = b"\x01" + s.his
        claims, port = values.pop("claims", s.me), values.pop("source_port", 68)
        options = values.pop("ip_options", b"")
        words = dhcp(kind, str(claims), s.gate_ip, xid=m, name=m, **values)
        packets = [
            udp_packet(str(value(source)), to, 67, port, words, options=options)
            for to in ("255.255.255.255", s.gate_ip)
        ]
        return [s.to_all(IP, packets[0]), s.to_gate(IP, packets[1]), s.to_him(IP, packets[0])]

    return make


def _in_pieces(claims: str, *cuts: int, second: str = "") -> Make:
    """A DECLINE of the neighbour's in fragments; `second`: whose hardware address the later pieces bear, over again."""

    def make(s: Scene, m: bytes) -> list[bytes]:
        def packet(of: str) -> bytes:
            words = dhcp(4, getattr(s, of), s.gate_ip, asked=s.your_ip, xid=m, name=m)
            return udp_packet("0.0.0.0" if not second else s.my_ip, s.gate_ip, 67, 68, words)

        pieces = fragments(packet(claims), *cuts)
        if second:  # the same bytes once more, from the middle of the first piece
            whole = packet(second)
            number = int.from_bytes(pieces[0][4:6], "big")
            pieces[1:] = [ip_packet(s.my_ip, s.gate_ip, 17, whole[52:], fragment=32 // 8, identification=number)]
        return [s.to_gate(IP, piece) for piece in pieces]

    return make


def _answers(kind: int, target: str, **more: object) -> Make:
    """As a server: an OFFER and its like, with the neighbour's hardware address."""

    def make(s: Scene, m: bytes) -> list[bytes]:
        port, source = more.get("source_port", 67), str(more.get("source", s.my_ip))
        words = dhcp(kind, s.you, s.my_ip, op=2, yours=f"{s.net}.77", xid=m, name=m)
        packet = udp_packet(source, target or s.your_ip, 68, int(str(port)), words)
        return [s.to_him(IP, packet), s.to_all(IP, packet)]

    return make


RELAY = bytes([82, 8, 1, 6]) + b"relay0"
OVERRIDE = bytes([82, 6, 11, 4]) + socket.inet_aton("192.168.71.66")
DHCPS = [
    *(
        Case("dhcp", f"{word} with the neighbour's hardware address{where}", _asks(kind, source, claims="you", **more))
        for kind, word, more in (
            (1, "DISCOVER", {}),
            (3, "REQUEST", {"asked": "your_ip"}),
            (4, "DECLINE", {"asked": "your_ip"}),
            (7, "RELEASE", {"own": "your_ip"}),
            (8, "INFORM", {"own": "your_ip"}),
        )
        for source, where in (("0.0.0.0", ""), ("my_ip", ", from its own address"))
    ),
    Case("dhcp", "DECLINE from the neighbour's address", _asks(4, "your_ip", claims="you", asked="your_ip")),
    Case("dhcp", "DECLINE from the gateway's address", _asks(4, "gate_ip", claims="you", asked="your_ip")),
    Case(
        "dhcp",
        "RELEASE from the neighbour's address, with its own hardware address",
        _asks(7, "your_ip", own="your_ip"),
    ),
    Case("dhcp", "RELEASE of the neighbour's address", _asks(7, "my_ip", own="your_ip")),
    Case(
        "dhcp",
        "RELEASE of the neighbour's address by its identifier",
        _asks(7, "my_ip", own="your_ip", identifier="his"),
    ),
    Case("dhcp", "INFORM for the neighbour's address", _asks(8, "my_ip", own="your_ip")),
    Case("dhcp", "REQUEST that renews the neighbour's address", _asks(3, "my_ip", own="your_ip")),
    Case("dhcp", "hardware address of no bytes", _asks(4, claims="you", hlen=0, identifier="his", asked="your_ip")),
    Case(
        "dhcp", "its own hardware address, said to have no bytes", _asks(4, hlen=0, identifier="his", asked="your_ip")
    ),
    Case("dhcp", "its own hardware address, said to have 16 bytes", _asks(3, hlen=16, asked="your_ip")),
    Case("dhcp", "its own hardware address, said to have 255 bytes", _asks(3, hlen=255, asked="your_ip")),
    Case("dhcp", "its own hardware address, said to be of another kind", _asks(3, htype=6, asked="your_ip")),
    Case("dhcp", "its own hardware address, said to be of no kind", _asks(4, htype=0, asked="your_ip")),
    Case("dhcp", "an answer to the server", _asks(5, op=2)),
    Case("dhcp", "by a relay", _asks(1, "my_ip", relay="my_ip")),
    Case("dhcp", "by the gateway as a relay", _asks(4, "my_ip", claims="you", relay="gate_ip", asked="your_ip")),
    Case("dhcp", "by a relay in another network", _asks(1, "my_ip", relay="10.77.0.11")),
    Case("dhcp", "from another port", _asks(4, asked="your_ip", source_port=67)),
    Case("dhcp", "from a high port", _asks(1, "my_ip", source_port=5000)),
    Case(
        "dhcp",
        "the neighbour's hardware address behind IP options",
        _asks(4, claims="you", asked="your_ip", ip_options=b"\x01" * 40),
    ),
    Case("dhcp", "the neighbour's in pieces", _in_pieces("you", 8)),
    Case("dhcp", "the neighbour's in pieces, its own address", _in_pieces("you", 32)),
    Case("dhcp", "the neighbour's in later pieces over its own", _in_pieces("me", 80, second="you")),
    Case(
        "dhcp",
        "a DECLINE of the neighbour's in VLAN 0",
        lambda s, m: s.to_all(
            VLAN,
            struct.pack("!HH", 0, IP)
            + udp_packet("0.0.0.0", "255.255.255.255", 67, 68, dhcp(4, s.you, s.gate_ip, s.your_ip, xid=m)),
        ),
    ),
    Case(
        "dhcp",
        "its own in VLAN 7",
        lambda s, m: s.to_all(
            VLAN, struct.pack("!HH", 7, IP) + udp_packet("0.0.0.0", "255.255.255.255", 67, 68, dhcp(1, s.me, xid=m))
        ),
    ),
    *(
        Case("dhcp", f"{word} as a server{where}", _answers(kind, target, **more))
        for kind, word in ((2, "OFFER"), (5, "ACK"), (6, "NAK"), (9, "FORCERENEW"))
        for target, where, more in (
            ("255.255.255.255", " to all", {}),
            ("", " to the neighbour", {}),
            ("", " from another port", {"source_port": OPEN}),
        )
    ),
    Case("dhcp", "ACK as the gateway", lambda s, m: _answers(5, "", source=s.gate_ip)(s, m)),
    Case(
        "dhcp",
        "OFFER in pieces",
        lambda s, m: [
            s.to_him(IP, piece)
            for piece in fragments(
                udp_packet(s.my_ip, s.your_ip, 68, 67, dhcp(2, s.you, s.my_ip, op=2, xid=m, name=m)), 8
            )
        ],
    ),
    # honest ones that are read, and must harm nobody
    Case("dhcp", "REQUEST that renews its own address", _asks(3, "my_ip", own="my_ip"), (GATEWAY,)),
    Case("dhcp", "INFORM for its own address", _asks(8, "my_ip", own="my_ip"), (GATEWAY,)),
    Case("dhcp", "DISCOVER that asks for the neighbour's address", _asks(1, asked="your_ip"), (GATEWAY,)),
    Case("dhcp", "REQUEST that asks for the neighbour's address", _asks(3, asked="your_ip"), (GATEWAY,)),
    Case("dhcp", "REQUEST with the neighbour's identifier", _asks(3, identifier="his", asked="your_ip"), (GATEWAY,)),
    Case("dhcp", "DECLINE of the neighbour's address", _asks(4, asked="your_ip"), (GATEWAY,)),
    Case("dhcp", "DISCOVER with a relay's option", _asks(1, options=RELAY), (GATEWAY,)),
    Case("dhcp", "DISCOVER with a relay's option that names a server", _asks(1, options=OVERRIDE), (GATEWAY,)),
    Case(
        "dhcp",
        "DISCOVER for another network's range",
        _asks(1, options=bytes([118, 4]) + bytes([10, 77, 0, 0])),
        (GATEWAY,),
    ),
    Case("dhcp", "DISCOVER with the neighbour's name", _asks(1, options=bytes([12, 3]) + b"g12"), (GATEWAY,)),
]

# --- IPv4 -------------------------------------------------------------------------------------------------------


def _source(address: str) -> Make:
    """`address`: an address, or a name of the scene's fields."""
    return lambda s, m: [
        ether(target, s.own, IP, udp_packet(getattr(s, address, address), to, OPEN, words=m))
        for target, to in ((s.his, s.your_ip), (s.gates, "10.77.0.1"), (s.gates, "169.254.169.254"))
    ]


def _changed(at: int, value: int, words: bytes = b"") -> Make:
    """An honest packet to an open port with a byte of its header changed."""

    def make(s: Scene, m: bytes) -> bytes:
        packet = bytearray(s.honest(m + words))
        packet[at] = value
        return s.to_him(IP, bytes(packet))

    return make


def _error(kind: int, code: int, field: bytes = bytes(4)) -> Make:
    """An ICMP error about a connection that it is no end of: connection tracking calls it related."""

    def make(s: Scene, m: bytes) -> bytes:
        about = tcp_packet(s.your_ip, "169.254.169.254", 2, port=81, source_port=VICTIMS)[:28]
        return s.to_him(IP, ip_packet(s.my_ip, s.your_ip, 1, icmp(kind, code, about + m, field)))

    return make


def _own_error(s: Scene, m: bytes) -> bytes:
    about = tcp_packet(s.your_ip, s.my_ip, 16, port=22, source_port=VICTIMS + 1)[:28]
    return s.to_him(IP, ip_packet(s.my_ip, s.your_ip, 1, icmp(3, 1, about + m)))


def _redirect(to: str, about: str) -> Make:
    def make(s: Scene, m: bytes) -> bytes:
        words = icmp(5, 1, udp_packet(getattr(s, to), about, 53)[:28] + m, socket.inet_aton(s.my_ip))
        target = s.his if to == "your_ip" else s.gates
        return ether(target, s.own, IP, ip_packet(s.my_ip, getattr(s, to), 1, words))

    return make


def _vxlan(port: int, to: str) -> Make:
    """A frame of the network's own number (and so of any other), as one host sends it to another."""

    def make(s: Scene, m: bytes) -> bytes:
        inner = ether(mac(s.far), s.gates, IP, udp_packet(s.gate_ip, s.far_ip, OPEN, words=m))
        words = b"\x08\0\0\0" + (71 << 8).to_bytes(4, "big") + inner
        return s.to_gate(IP, udp_packet(s.my_ip, getattr(s, to, to), port, words=words))

    return make


def _tcp(source: str, to: str) -> Make:
    return lambda s, m: s.to_gate(IP, tcp_packet(getattr(s, source), to, 2) + m)


SOURCE_ROUTE = b"\x83\x07\x04" + socket.inet_aton("10.77.0.1") + b"\0"
IPV4 = [
    Case("ip", "from the neighbour's address", _source("your_ip")),
    Case("ip", "from the gateway's address", _source("gate_ip")),
    Case("ip", "from another guest's address", _source("far_ip")),
    Case("ip", "from nobody's address here", _source("192.168.71.99")),
    Case("ip", "from the world", _source("8.8.8.8")),
    Case("ip", "from the host's address", _source("host")),
    Case("ip", "from 169.254.169.254", _source("169.254.169.254")),
    Case("ip", "from 127.0.0.1", _source("127.0.0.1")),
    Case("ip", "from 0.0.0.0", _source("0.0.0.0")),
    Case("ip", "from 224.0.0.1", _source("224.0.0.1")),
    Case("ip", "from 255.255.255.255", _source("255.255.255.255")),
    Case("ip", "from the network's broadcast", _source("192.168.71.255")),
    Case("ip", "metadata in the neighbour's name", _tcp("your_ip", "169.254.169.254")),
    Case("ip", "metadata in the gateway's name", _tcp("gate_ip", "169.254.169.254")),
    Case("ip", "to a closed port", lambda s, m: s.to_him(IP, _closed(s, m))),
    Case(
        "ip",
        "to a closed port behind options",
        lambda s, m: s.to_him(IP, udp_packet(s.my_ip, s.your_ip, CLOSED, words=m, options=b"\x01" * 40)),
    ),
    Case(
        "ip",
        "to a closed port in pieces",
        lambda s, m: [s.to_him(IP, piece) for piece in fragments(s.honest(m * 4, CLOSED), 8)],
    ),
    Case("ip", "a later piece alone", lambda s, m: s.to_him(IP, fragments(s.honest(m * 4, CLOSED), 8)[1])),
    Case("ip", "to a closed port, to all", lambda s, m: s.to_all(IP, _closed(s, m))),
    Case(
        "ip",
        "broadcast to the neighbour",
        lambda s, m: s.to_him(IP, udp_packet(s.my_ip, "255.255.255.255", OPEN, words=m)),
    ),
    Case(
        "ip",
        "the network's broadcast",
        lambda s, m: s.to_all(IP, udp_packet(s.my_ip, f"{s.net}.255", OPEN, words=m)),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "another's address at the neighbour's MAC",
        lambda s, m: s.to_him(IP, udp_packet(s.my_ip, s.far_ip, OPEN, words=m)),
    ),
    Case(
        "ip",
        "127.0.0.1 at the neighbour's MAC",
        lambda s, m: s.to_him(IP, udp_packet(s.my_ip, "127.0.0.1", OPEN, words=m)),
    ),
    Case(
        "ip",
        "multicast",
        lambda s, m: ether(b"\x01\0\x5e\0\0\xfb", s.own, IP, udp_packet(s.my_ip, "224.0.0.251", 5353, words=m)),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "IGMP query",
        lambda s, m: ether(
            b"\x01\0\x5e\0\0\x01", s.own, IP, ip_packet(s.my_ip, "224.0.0.1", 2, icmp(0x11, 10, m), ttl=1)
        ),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "IGMP query from nobody",
        lambda s, m: ether(
            b"\x01\0\x5e\0\0\x01", s.own, IP, ip_packet("0.0.0.0", "224.0.0.1", 2, icmp(0x11, 10, m), ttl=1)
        ),
    ),
    Case(
        "ip",
        "IGMP query to the neighbour",
        lambda s, m: s.to_him(IP, ip_packet(s.my_ip, "224.0.0.1", 2, icmp(0x11, 10, m), ttl=1)),
    ),
    Case(
        "ip",
        "VRRP",
        lambda s, m: ether(b"\x01\0\x5e\0\0\x12", s.own, IP, ip_packet(s.my_ip, "224.0.0.18", 112, m * 5, ttl=255)),
        (GATEWAY,),
    ),
    Case("ip", "version 6 under IPv4's kind", _changed(0, 0x65)),
    Case("ip", "a header of 16 bytes", _changed(0, 0x44)),
    Case("ip", "a header longer than the packet", _changed(0, 0x4F)),
    Case("ip", "longer than the frame", _changed(2, 0x40)),
    Case("ip", "shorter than its header", _changed(3, 10)),
    Case("ip", "a wrong checksum", _changed(10, 0x12)),
    Case(
        "ip",
        "source routed",
        lambda s, m: s.to_gate(IP, udp_packet(s.my_ip, s.far_ip, OPEN, words=m, options=SOURCE_ROUTE)),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "IP in IP",
        lambda s, m: s.to_him(IP, ip_packet(s.my_ip, s.your_ip, 4, udp_packet(s.gate_ip, s.your_ip, OPEN, words=m))),
    ),
    Case("ip", "IPv6 in IP", lambda s, m: s.to_him(IP, ip_packet(s.my_ip, s.your_ip, 41, _advert(s, m)[14:]))),
    Case(
        "ip",
        "GRE",
        lambda s, m: s.to_him(
            IP, ip_packet(s.my_ip, s.your_ip, 47, b"\0\0\x08\0" + udp_packet(s.gate_ip, s.your_ip, OPEN, words=m))
        ),
    ),
    Case("ip", "redirect of the neighbour", _redirect("your_ip", "10.77.0.1")),
    Case("ip", "redirect of the neighbour's metadata", _redirect("your_ip", "169.254.169.254")),
    Case("ip", "redirect of the gateway", _redirect("gate_ip", "10.77.0.1")),
    Case(
        "ip",
        "router advertisement of ICMP",
        lambda s, m: s.to_him(
            IP,
            ip_packet(s.my_ip, s.your_ip, 1, icmp(9, 0, socket.inet_aton(s.my_ip) + bytes(4) + m, b"\x01\x02\x07\x08")),
        ),
    ),
    Case("ip", "a neighbour's connection unreachable", _error(3, 1)),
    Case("ip", "a neighbour's connection too large", _error(3, 4, b"\0\0\x02\x28")),
    Case("ip", "a neighbour's connection out of time", _error(11, 0)),
    Case("ip", "a neighbour's connection wrong", _error(12, 0)),
    Case("ip", "a neighbour's connection redirected", _error(5, 1, bytes([192, 168, 71, 11]))),
    Case("ip", "VXLAN to the host", _vxlan(4789, "host"), (GATEWAY,)),
    Case("ip", "VXLAN to the other host", _vxlan(4789, "other_host"), (GATEWAY,)),
    Case("ip", "VXLAN of Linux's older port to the host", _vxlan(8472, "host"), (GATEWAY,)),
    Case("ip", "VXLAN to the LAN", _vxlan(4789, "10.77.0.1"), (GATEWAY,)),
    Case(
        "ip",
        "VXLAN to the LAN in pieces",
        lambda s, m: [
            s.to_gate(IP, piece) for piece in fragments(udp_packet(s.my_ip, "10.77.0.1", 4789, words=m * 4), 8)
        ],
        (GATEWAY,),
    ),
    Case("ip", "VXLAN to the gateway", _vxlan(4789, "gate_ip"), (GATEWAY,)),
    Case(
        "ip",
        "link-local address of the host's uplinks",
        lambda s, m: s.to_gate(IP, udp_packet(s.my_ip, "169.254.0.2", OPEN, words=m)),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "link-local address of the LAN",
        lambda s, m: s.to_gate(IP, udp_packet(s.my_ip, "169.254.200.1", OPEN, words=m)),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "the gateway's loopback",
        lambda s, m: s.to_gate(IP, udp_packet(s.my_ip, "127.0.0.1", OPEN, words=m)),
        (GATEWAY,),
    ),
    Case(
        "ip",
        "broadcast of the host's LAN",
        lambda s, m: s.to_gate(IP, udp_packet(s.my_ip, "10.77.0.255", OPEN, words=m)),
        (GATEWAY,),
    ),
    # honest ones
    Case("ip", "to an open port", lambda s, m: s.to_him(IP, s.honest(m)), (VICTIM,)),
    Case(
        "ip",
        "to an open port in pieces",
        lambda s, m: [s.to_him(IP, piece) for piece in fragments(s.honest(m * 4), 8)],
        (VICTIM,),
    ),
    Case(
        "ip",
        "to a guest elsewhere",
        lambda s, m: ether(mac(s.far), s.own, IP, udp_packet(s.my_ip, s.far_ip, OPEN, words=m)),
        (FAR, WIRE),
    ),
    Case(
        "ip",
        "to the world",
        lambda s, m: s.to_gate(IP, udp_packet(s.my_ip, "10.77.0.1", OPEN, words=m)),
        (GATEWAY, WIRE),
    ),
    Case("ip", "an error about its own connection", _own_error, (VICTIM,)),
]

# --- IPv6 (not carried: none of it arrives) ------------------------------------------------------------------------


def link_local(text: str) -> str:
    """The address a guest makes of its MAC."""
    one = mac(text)
    return socket.inet_ntop(
        socket.AF_INET6, b"\xfe\x80" + bytes(6) + bytes([one[0] ^ 2]) + one[1:3] + b"\xff\xfe" + one[3:]
    )


def _to6(target: str) -> bytes:
    return b"\x33\x33" + socket.inet_pton(socket.AF_INET6, target)[-4:]


def _six(source: str, target: str, kind: int, rest: Callable[[Scene, bytes], bytes], before: bytes = b"") -> Make:
    """ICMPv6 from a guest of the scene (a name of its fields) or an address; `before`: the number of an extension
    header and the header itself but for its first byte."""

    def make(s: Scene, m: bytes) -> bytes:
        one = link_local(getattr(s, source)) if hasattr(s, source) else source
        other = link_local(getattr(s, target)) if hasattr(s, target) else target
        words = icmp6(one, other, kind, rest(s, m))
        packet = ip6_packet(one, other, 58, words)
        if before:
            packet = ip6_packet(one, other, before[0], b"\x3a" + before[1:] + words)
        to = mac(getattr(s, target)) if hasattr(s, target) else _to6(target)
        return ether(to, s.own, IP6, packet)

    return make


def _router(s: Scene, m: bytes) -> bytes:
    """The rest of a router advertisement: a prefix, its MAC, a server of names."""
    prefix = bytes([3, 4, 64, 0xC0]) + b"\xff" * 8 + bytes(4) + socket.inet_pton(socket.AF_INET6, "fd00:bad::")
    return b"\x40\xc0\xff\xff" + bytes(8) + prefix + b"\x01\x01" + s.own + b"\x18\x01" + m + bytes(2)


def _advert(s: Scene, m: bytes) -> bytes:
    made = _six("me", ALL6, 134, _router)(s, m)
    assert isinstance(made, bytes)
    return made


def _target(of: str, option: int) -> Callable[[Scene, bytes], bytes]:
    """The rest of a neighbour advertisement (option 2) or solicitation (1) for another's address."""
    flags = b"\xa0\0\0\0" if option == 2 else bytes(4)
    return lambda s, m: (
        flags + socket.inet_pton(socket.AF_INET6, link_local(getattr(s, of))) + bytes([option, 1]) + s.own + m
    )


def _dhcp6(kind: int, source_port: int, port: int, target: str) -> Make:
    def make(s: Scene, m: bytes) -> bytes:
        one = link_local(s.me)
        other = link_local(getattr(s, target)) if hasattr(s, target) else target
        to = mac(getattr(s, target)) if hasattr(s, target) else _to6(target)
        words = bytes([kind]) + m[1:] + struct.pack("!HH", 1, 10) + b"\0\x03\0\x01" + s.his + m
        return ether(to, s.own, IP6, ip6_packet(one, other, 17, udp(port, source_port, words)))

    return make


HOP, ROUTE, DESTINATION = b"\0\0\x01\x04\0\0\0\0", b"\x2b\0\0\0\0\0\0\0", b"\x3c\0\x01\x04\0\0\0\0"
FRAGMENT = b"\x2c\0\0\0\0\0\0\x07"  # an atomic one
IPV6 = [
    Case("ipv6", "router advertisement", _six("me", ALL6, 134, _router)),
    Case("ipv6", "router advertisement to the neighbour", _six("me", "you", 134, _router)),
    Case("ipv6", "router advertisement as the gateway", _six("gate", ALL6, 134, _router)),
    Case("ipv6", "router advertisement behind hop-by-hop options", _six("me", ALL6, 134, _router, HOP)),
    Case("ipv6", "router advertisement behind destination options", _six("me", ALL6, 134, _router, DESTINATION)),
    Case("ipv6", "router advertisement behind routing", _six("me", ALL6, 134, _router, ROUTE)),
    Case("ipv6", "router advertisement in a fragment", _six("me", ALL6, 134, _router, FRAGMENT)),
    Case("ipv6", "router advertisement under IPv4's kind", lambda s, m: s.to_all(IP, _advert(s, m)[14:])),
    Case("ipv6", "router solicitation", _six("me", ROUTERS6, 133, lambda s, m: bytes(4) + b"\x01\x01" + s.own + m)),
    Case("ipv6", "neighbour advertisement for the neighbour", _six("me", ALL6, 136, _target("you", 2))),
    Case("ipv6", "neighbour advertisement for the gateway", _six("me", "you", 136, _target("gate", 2))),
    Case("ipv6", "neighbour advertisement from the neighbour's", _six("you", ALL6, 136, _target("you", 2))),
    Case("ipv6", "neighbour solicitation as the gateway", _six("gate", "you", 135, _target("you", 1))),
    Case("ipv6", "neighbour solicitation of its own", _six("me", "you", 135, _target("you", 1))),
    Case("ipv6", "a probe for the neighbour's address", _six("::", ALL6, 135, _target("you", 1))),
    Case("ipv6", "redirect", _six("gate", "you", 137, lambda s, m: bytes(36) + m)),
    Case("ipv6", "MLD query", _six("me", ALL6, 130, lambda s, m: bytes(20) + m, HOP)),
    Case("ipv6", "MLD report", _six("me", "ff02::16", 143, lambda s, m: bytes(4) + m, HOP)),
    Case("ipv6", "echo to the neighbour", _six("me", "you", 128, lambda s, m: bytes(4) + m)),
    Case("ipv6", "echo to all", _six("me", ALL6, 128, lambda s, m: bytes(4) + m)),
    Case("ipv6", "from another's address", _six(V6, "you", 128, lambda s, m: bytes(4) + m)),
    Case("ipv6", "DHCPv6 solicit", _dhcp6(1, 546, 547, "ff02::1:2")),
    Case("ipv6", "DHCPv6 release", _dhcp6(8, 546, 547, "ff02::1:2")),
    Case("ipv6", "DHCPv6 advertise", _dhcp6(2, 547, 546, "you")),
    Case("ipv6", "DHCPv6 reply to all", _dhcp6(7, 547, 546, ALL6)),
    Case("ipv6", "DHCPv6 reconfigure", _dhcp6(10, 547, 546, "you")),
    Case(
        "ipv6",
        "DNS by multicast",
        lambda s, m: ether(
            _to6("ff02::fb"), s.own, IP6, ip6_packet(link_local(s.me), "ff02::fb", 17, udp(5353, 5353, m))
        ),
    ),
]

CASES = [*ETHERNET, *ARPS, *DHCPS, *IPV4, *IPV6]
GROUPS = ("ethernet", "arp", "dhcp", "ip", "ipv6")
MARKERS = 3  # the last numbers are those of `last`


def mark(number: int) -> bytes:
    return MAGIC + bytes([number])


def last(s: Scene) -> list[bytes]:
    """Honest frames, one to each place (the gateway sees that to the world): what was sent before them has arrived."""
    first = 256 - MARKERS
    return [
        s.to_him(IP, s.honest(mark(first))),
        ether(mac(s.far), s.own, IP, udp_packet(s.my_ip, s.far_ip, OPEN, words=mark(first + 1))),
        s.to_gate(IP, udp_packet(s.my_ip, "10.77.0.1", OPEN, words=mark(first + 2))),
    ]
