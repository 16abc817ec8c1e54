"""The firewall of one host as nft text: a pure function of the networks it carries.

Two tables on the host, named with the cluster. In the bridge family, who may say what (anti-spoofing, DHCP, what
may enter the tunnel, nothing to the host itself), stateless. In the ip family, security groups with connection
tracking for what is bridged, because the bridges call it, each bridge in a zone of its own; and what may go
from uplinks out into the world. Loading is one transaction. One small table more is in each network's namespace.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from dataclasses import dataclass, field

from nova0.host.network import links
from nova0.host.network.findings import ENVIRONMENT
from nova0.objects.errors import NetworkError
from nova0.objects.fields import holds_control
from nova0.objects.network import NetworkView, Port, Rule

METADATA = "169.254.169.254"
LINK_LOCAL = "169.254.0.0/16"
VXLAN_PORT = 4789
ZONES_FROM = 0x4000  # zones of connection tracking below are left to others
ALL, INTERNET, NONE = "all", "internet", "none"  # the option guest_nat
_ICMP = {"icmp", "1"}
_PROTOCOLS = {  # the names the field's API takes beside numbers
    **{"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "igmp": 2, "ipip": 4, "ospf": 89, "pgm": 113},
    **{"rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112},
}
_OURS = ("n0t*", "n0x*", "n0d*")  # what hangs on a bridge: taps, tunnels, doors
_WITH_PORTS = {"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "sctp": "sctp", "132": "sctp"}


def table_name(cluster_id: str) -> str:
    return "nova0_" + re.sub(r"[^a-z0-9]", "", cluster_id.lower())[:12]


@dataclass(frozen=True)
class Carried:
    """A network and its place on this host. `uplink`: addresses of the pair outside and inside, None for none."""

    view: NetworkView
    number: int
    uplink: tuple[str, str] | None = None


@dataclass(frozen=True)
class Ways:
    """What guests reach through their uplinks. `members`: addresses of the cluster's machines. `alone`: nobody but
    nova0 wanted this host to forward, so that it forwards for nobody else."""

    guest_nat: str = INTERNET
    members: frozenset[str] = field(default_factory=frozenset)
    alone: bool = False


def ruleset(cluster_id: str, carried: list[Carried], ways: Ways) -> str:
    """The whole text, which replaces what was there (`add` first, so that deleting never fails)."""
    name = table_name(cluster_id)
    head = "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family in ("bridge", "ip"))
    if not carried:
        return head
    return head + _bridge_table(name, [one.view for one in carried]) + _ip_table(name, carried, ways)


def gateway_rules(view: NetworkView) -> str:
    """The table inside a network's namespace: guests reach DHCP, metadata and a ping; out goes what they begin."""
    own = ", ".join([METADATA, *([view.gateway] if view.gateway else [])])
    text = "add table ip nova0\ndelete table ip nova0\ntable ip nova0 {\n"
    text += _chain(
        "input",
        [
            "type filter hook input priority filter; policy drop;",
            "ct state established,related accept",
            "ct state invalid drop",
            f'iifname "{view.leg}" udp dport 67 accept',
            f'iifname "{view.leg}" ip daddr {METADATA} tcp dport 80 accept',
            f'iifname "{view.leg}" ip daddr {{ {own} }} icmp type echo-request accept',
        ],
    )
    out = [f'iifname "{view.leg}" oifname "up" ct state new ip saddr {view.cidr} ip daddr != {LINK_LOCAL} accept']
    text += _chain(
        "forward",
        [
            "type filter hook forward priority filter; policy drop;",
            "ct state established,related accept",
            *(out if view.cidr else []),  # not what is invalid: it would go out under the guest's own address
        ],
    )
    text += _chain(
        "postrouting", ["type nat hook postrouting priority srcnat; policy accept;", 'oifname "up" masquerade']
    )
    return text + "}\n"


def load(host: str, text: str, inside: str = "") -> None:
    """One transaction: all of it or, with NetworkError, nothing. `inside`: path of a namespace."""
    try:
        done = subprocess.run(
            [*links.entering(inside), "nft", "-f", "-"],
            input=text,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NetworkError(f"{host}: loading the firewall rules: no nft here: install nftables") from error
    if done.returncode:
        words = " ".join(done.stderr.split())[:300]
        remedy = ": run as root" if "not permitted" in words else ""
        raise NetworkError(f"{host}: loading the firewall rules: {words}{remedy}")


def loaded(cluster_id: str) -> bool:
    """Whether both tables are there (another program may have flushed them)."""
    done = subprocess.run(["nft", "list", "tables"], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    name = table_name(cluster_id)
    lines = set(done.stdout.split("\n"))
    return {f"table bridge {name}", f"table ip {name}"} <= lines


def _word(port: Port) -> str:
    return port.id.replace("-", "")


def _chain(name: str, lines: list[str]) -> str:
    return f"  chain {name} {{\n" + "".join(f"    {_one(line)}\n" for line in lines) + "  }\n"


def _elements(pairs: list[str]) -> str:
    return "    elements = { " + ", ".join(map(_one, pairs)) + " }\n" if pairs else ""


def _one(line: str) -> str:
    """A line as it is. Raises NetworkError where it would be more than one."""
    if holds_control(line) or "#" in line:
        raise NetworkError(f"the firewall: a value does not belong in a rule and is not loaded: {line!r:.200}")
    return line


def _secured(views: list[NetworkView]) -> list[tuple[NetworkView, Port]]:
    return [(view, port) for view in views for port in view.ports if port.port_security]


def _bridge_table(name: str, views: list[NetworkView]) -> str:
    secured = _secured(views)
    text = f"table bridge {name} {{\n"
    froms = _elements([f'"{port.tap}" : jump from_{_word(port)}' for _, port in secured])
    text += "  map from_ports {\n    type ifname : verdict\n" + froms + "  }\n"
    tos = _elements([f'"{port.tap}" : jump to_{_word(port)}' for _, port in secured])
    text += "  map to_ports {\n    type ifname : verdict\n" + tos + "  }\n"
    tunnels = _elements([f'"{view.vxlan}"' for view in views])
    text += "  set tunnels {\n    type ifname\n" + tunnels + "  }\n"
    # the gateway is each host's own: whoever speaks with its address or MAC from elsewhere is none
    owned = [(device, view) for view in views for device in (view.vxlan, *(port.tap for port in view.ports))]
    addresses = [f'"{device}" . {address}' for device, view in owned for address in (view.gateway, METADATA) if address]
    text += "  set gateways {\n    type ifname . ipv4_addr\n" + _elements(addresses) + "  }\n"
    macs = _elements([f'"{device}" . {view.gateway_mac}' for device, view in owned])
    text += "  set gateway_macs {\n    type ifname . ether_addr\n" + macs + "  }\n"
    macs = _elements([f'"{view.vxlan}" . {view.gateway_mac}' for view in views])
    text += "  set tunnel_macs {\n    type ifname . ether_addr\n" + macs + "  }\n"
    for _, port in secured:
        text += _chain(f"from_{_word(port)}", _may_say(port)) + _chain(f"to_{_word(port)}", _may_hear(port))
    text += _chain(
        "prerouting",
        [
            "type filter hook prerouting priority -200; policy accept;",
            # of a frame with a tag these rules read the packet within; those on connections do not look at it
            *(f'iifname "{kind}" ether type {{ 8021q, 8021ad }} drop' for kind in _OURS),
            "iifname . ether saddr @gateway_macs drop",
            "iifname . arp saddr ip @gateways drop",
            "iifname . ip saddr @gateways drop",
            "iifname @tunnels udp dport { 67, 68 } drop",
            "iifname vmap @from_ports",
        ],
    )
    text += _chain(
        "forward",
        [
            "type filter hook forward priority -200; policy accept;",
            "oifname . arp daddr ip @gateways drop",
            "oifname . ether saddr @tunnel_macs drop",
            "oifname @tunnels udp dport { 67, 68 } drop",
            "oifname vmap @to_ports",
        ],
    )
    # the host has no address on a bridge and says nothing there; what is addressed to it is not heard
    text += _chain(
        "input",
        ["type filter hook input priority -200; policy accept;", *(f'iifname "{kind}" drop' for kind in _OURS)],
    )
    text += _chain(
        "output",
        ["type filter hook output priority -200; policy accept;", *(f'oifname "{kind}" drop' for kind in _OURS)],
    )
    return text + "}\n"


def _may_say(port: Port) -> list[str]:
    """Frames a guest may send: under its own MAC and address, ARP of IPv4 on Ethernet, and DHCP as a client that asks
    for itself and by no relay (hardware address, ciaddr and giaddr in the payload). IPv6 is not carried yet."""
    arp = f"arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp saddr ether {port.mac}"
    asks = f"@th,64,24 0x010106 @th,160,32 {{ 0, {_number(port.ip)} }} @th,256,32 0 @th,288,48 {_mac(port)}"
    return [
        f"ether saddr != {port.mac} drop",
        f"{arp} arp operation {{ request, reply }} arp saddr ip {port.ip} accept",
        # whether an address is taken: asked of another's, it would say that it is (RFC 5227)
        f"{arp} arp operation request arp saddr ip 0.0.0.0 arp daddr ip {port.ip} accept",
        f"ip saddr {{ {port.ip}, 0.0.0.0 }} udp sport 68 udp dport 67 {asks} accept",
        "udp dport { 67, 68 } drop",
        "udp sport 67 drop",
        "icmp type { redirect, router-advertisement } drop",
        # an error about a packet that was not sent to it: connection tracking would take it for the connection's
        f"icmp type {{ destination-unreachable, source-quench, time-exceeded, parameter-problem }} "
        f"@th,192,32 != {_number(port.ip)} drop",
        f"ip saddr {port.ip} accept",
        "drop",
    ]


def _may_hear(port: Port) -> list[str]:
    """Frames that reach a guest: ARP, DHCP's answers to what it asked, which may be broadcast, and what is addressed
    to it."""
    return [
        "ether type arp accept",
        f"udp sport 67 udp dport 68 @th,288,48 {_mac(port)} accept",
        "udp dport 68 drop",
        f"ip daddr {port.ip} accept",
        "drop",
    ]


def _mac(port: Port) -> str:
    return f"0x{port.mac.replace(':', '').lower()}"


def _number(ip: str) -> str:
    try:
        return f"0x{int(ipaddress.IPv4Address(ip)):08x}"
    except ValueError:
        raise NetworkError(f"the firewall: {ip!r:.200} is no address and is not loaded") from None


def _ip_table(name: str, carried: list[Carried], ways: Ways) -> str:
    views = [one.view for one in carried]
    secured = _secured(views)
    text = f"table ip {name} {{\n"
    bridges = _elements([f'"{view.bridge}"' for view in views])
    text += "  set bridges {\n    type ifname\n" + bridges + "  }\n"
    within = _elements([f'"{view.bridge}" . "{view.bridge}"' for view in views])
    text += "  set within {\n    type ifname . ifname\n" + within + "  }\n"
    zones = _elements([f'"{one.view.bridge}" : {ZONES_FROM + one.number}' for one in carried])
    text += "  map zones {\n    typeof iifname : ct zone\n" + zones + "  }\n"
    servers = [f'"{view.bridge}" . {address}' for view in views for address in (view.gateway, METADATA) if address]
    text += "  set servers {\n    type ifname . ipv4_addr\n" + _elements(servers) + "  }\n"
    with_uplink = [(one.view.uplink, one.uplink[1]) for one in carried if one.uplink]
    uplinks = _elements([f'"{device}"' for device, _ in with_uplink])
    text += "  set uplinks {\n    type ifname\n" + uplinks + "  }\n"
    pairs = _elements([f'"{device}" . {inside}' for device, inside in with_uplink])
    text += "  set pairs {\n    type ifname . ipv4_addr\n" + pairs + "  }\n"
    insides = _elements([inside for _, inside in with_uplink])
    text += "  set insides {\n    type ipv4_addr\n" + insides + "  }\n"
    members = _elements(sorted(ways.members))
    text += "  set members {\n    type ipv4_addr\n" + members + "  }\n"
    for direction, word in (("ingress", "in"), ("egress", "out")):
        rules = _elements([f'"{view.bridge}" . {port.ip} : jump {word}_{_word(port)}' for view, port in secured])
        text += f"  map {direction} {{\n    type ifname . ipv4_addr : verdict\n" + rules + "  }\n"
    for _, port in secured:
        for direction, word in (("ingress", "in"), ("egress", "out")):
            text += _chain(f"{word}_{_word(port)}", _allowances(port, direction))
    text += _chain(
        "within",  # a frame from one port of a bridge to another; guests reach their gateway whatever their rules
        [
            "ct state established,related accept",
            "ct state invalid drop",
            "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
            "iifname . ip daddr @servers udp dport 67 accept",
            "iifname . ip saddr @servers udp sport 67 udp dport 68 accept",
            f"ip daddr {METADATA} tcp dport 80 accept",
            "iifname . ip daddr @servers icmp type echo-request accept",
            "iifname . ip saddr vmap @egress",
            "oifname . ip daddr vmap @ingress",
            "accept",
        ],
    )
    text += _chain(
        "leaving",  # from a network's namespace into the world: what guests may reach is decided here
        [
            "iifname . ip saddr != @pairs drop",
            "oifname @uplinks drop",
            f"ip daddr {LINK_LOCAL} drop",
            f"udp dport {VXLAN_PORT} drop",  # under the host's address it would be taken for a tunnel's
            *(["ip daddr @members drop"] if ways.guest_nat == INTERNET else []),
            *(["drop"] if ways.guest_nat == NONE else []),
            "accept",
        ],
    )
    text += _chain(
        "forward",
        [
            "type filter hook forward priority filter; policy accept;",
            "iifname . oifname @within goto within",
            "iifname @bridges drop",
            "oifname @bridges drop",
            "iifname @uplinks goto leaving",
            "oifname @uplinks ct state established,related accept",
            "oifname @uplinks drop",
            *(['iifname "n0*" accept', 'oifname "n0*" accept', "drop"] if ways.alone else []),  # another cluster's
        ],
    )
    text += _chain(
        "input",  # guests have no business with the host; what it says to an uplink is not let in there
        ["type filter hook input priority filter; policy accept;", "iifname @bridges drop", "iifname @uplinks drop"],
    )
    text += _chain(  # before a port of the host's own is handed on to what it holds, a container say
        "arriving",
        [
            "type filter hook prerouting priority raw; policy accept;",
            "iifname @uplinks fib daddr type local drop",
        ],
    )
    text += _chain(
        "zoning", ["type filter hook prerouting priority raw; policy accept;", "ct zone set iifname map @zones"]
    )
    # the NAT of other programs on this host is for its own addresses, which guests may have too: the first to
    # speak of a connection settles it, and here it is settled as it stands
    text += _chain(
        "unchanged_there",
        ["type nat hook prerouting priority dstnat - 10; policy accept;", "iifname @bridges dnat to ip daddr"],
    )
    text += _chain(
        "unchanged_back",
        ["type nat hook postrouting priority srcnat - 10; policy accept;", "oifname @bridges snat to ip saddr"],
    )
    text += _chain(
        "postrouting",
        [
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip saddr @insides oifname != @uplinks masquerade",
        ],
    )
    return text + "}\n"


def _allowances(port: Port, direction: str) -> list[str]:
    """A port's rules one way; what none allows is dropped. `return` leaves the other end its say."""
    side = "saddr" if direction == "ingress" else "daddr"
    lines = []
    for rule in port.rules:
        if rule.direction == direction and rule.ethertype == "IPv4":
            lines.extend(_allowance(rule, side))
    return [*dict.fromkeys(lines), "drop"]


def _allowance(rule: Rule, side: str) -> list[str]:
    match = []
    if not rule.any_remote:
        nets = [ipaddress.ip_network(remote, strict=False) for remote in rule.remotes]
        remotes = [str(net) for net in ipaddress.collapse_addresses(n for n in nets if n.version == 4)]
        if not remotes:
            return []
        match.append(f"ip {side} {{ {', '.join(remotes)} }}")
    protocol = (rule.protocol or "").lower()
    if protocol in _ICMP:
        if rule.port_min is None:
            match.append("ip protocol icmp")
        elif max(rule.port_min, rule.port_max or 0) > 255:
            return []  # no such type: what nft refuses would take the rules of every guest here with it
        else:
            match.append(f"icmp type {rule.port_min}")
            if rule.port_max is not None:
                match.append(f"icmp code {rule.port_max}")
    elif protocol in _WITH_PORTS and rule.port_min is not None:
        last = rule.port_max if rule.port_max is not None else rule.port_min
        if last < rule.port_min:
            return []
        match.append(f"{_WITH_PORTS[protocol]} dport {rule.port_min}" + (f"-{last}" if last != rule.port_min else ""))
    elif protocol and protocol not in ("any", "0"):
        number = int(protocol) if re.fullmatch(r"[0-9]{1,3}", protocol) else _PROTOCOLS.get(protocol)
        if number is None or number > 255:
            return []  # allows nothing: a name this host does not know must not open everything
        match.append(f"ip protocol {number}")
    return [" ".join([*match, "return"])]
