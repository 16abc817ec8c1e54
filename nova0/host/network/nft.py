"""The firewall of one host as nft text: a pure function of the networks it carries.

Two tables, named with the cluster. In the bridge family, who may say what (anti-spoofing, DHCP, what may
enter the tunnel), stateless. In the ip family, security groups with connection tracking, for what is
routed and, because the bridges call it, for what is bridged; and NAT. Loading is one transaction.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess

from nova0.host.network.bridge import METADATA
from nova0.host.network.findings import ENVIRONMENT
from nova0.objects.errors import NetworkError
from nova0.objects.fields import holds_control
from nova0.objects.network import NetworkView, Port, Rule

_ICMP = {"icmp", "1"}
_PROTOCOLS = {  # the names the field's API takes beside numbers
    **{"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "igmp": 2, "ipip": 4, "ospf": 89, "pgm": 113},
    **{"rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112},
}
_WITH_PORTS = {"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "sctp": "sctp", "132": "sctp"}


def table_name(cluster_id: str) -> str:
    return "nova0_" + re.sub(r"[^a-z0-9]", "", cluster_id.lower())[:12]


def ruleset(cluster_id: str, views: list[NetworkView], metadata_port: int) -> str:
    """The whole text, which replaces what was there (`add` first, so that deleting never fails)."""
    name = table_name(cluster_id)
    head = "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family in ("bridge", "ip"))
    if not views:
        return head
    return head + _bridge_table(name, views) + _ip_table(name, views, metadata_port)


def load(host: str, text: str) -> None:
    """One transaction: all of it or, with NetworkError, nothing."""
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=text, env=ENVIRONMENT, capture_output=True, text=True, check=False
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
    gateways = _elements([f'"{view.vxlan}" . {view.gateway}' for view in views if view.gateway])
    text += "  set gateways {\n    type ifname . ipv4_addr\n" + gateways + "  }\n"
    for _, port in secured:
        text += _chain(f"from_{_word(port)}", _may_say(port)) + _chain(f"to_{_word(port)}", _may_hear(port))
    text += _chain(
        "prerouting",
        [
            "type filter hook prerouting priority -200; policy accept;",
            # the gateway is each host's own: nobody elsewhere speaks for it, or serves DHCP
            "iifname . arp saddr ip @gateways drop",
            "iifname @tunnels udp dport { 67, 68 } drop",
            "iifname vmap @from_ports",
        ],
    )
    to_tunnel = [
        "oifname . arp daddr ip @gateways drop",
        "oifname . arp saddr ip @gateways drop",
        "oifname @tunnels udp dport { 67, 68 } drop",
    ]
    text += _chain(
        "forward",
        ["type filter hook forward priority -200; policy accept;", *to_tunnel, "oifname vmap @to_ports"],
    )
    text += _chain(
        "output",
        [
            "type filter hook output priority -200; policy accept;",
            "oifname @tunnels ether type arp drop",
            *to_tunnel[2:],
            "oifname vmap @to_ports",
        ],
    )
    return text + "}\n"


def _may_say(port: Port) -> list[str]:
    """Frames a guest may send: its own MAC and address, and asking for DHCP. IPv6 is not carried yet."""
    return [
        f"ether saddr != {port.mac} drop",
        f"arp saddr ether != {port.mac} drop",
        f"arp saddr ip != {{ {port.ip}, 0.0.0.0 }} drop",
        "ether type arp accept",
        f"ip saddr {{ {port.ip}, 0.0.0.0 }} udp sport 68 udp dport 67 accept",
        "udp sport 67 drop",
        f"ip saddr {port.ip} accept",
        "drop",
    ]


def _may_hear(port: Port) -> list[str]:
    """Frames that reach a guest: ARP, what is addressed to it, and DHCP's answers, which may be broadcast."""
    return [
        "ether type arp accept",
        f"ip daddr {port.ip} accept",
        "udp sport 67 udp dport 68 accept",
        "drop",
    ]


def _ip_table(name: str, views: list[NetworkView], metadata_port: int) -> str:
    secured = _secured(views)
    text = f"table ip {name} {{\n"
    bridges = _elements([f'"{view.bridge}"' for view in views])
    text += "  set bridges {\n    type ifname\n" + bridges + "  }\n"
    for direction, word in (("ingress", "in"), ("egress", "out")):
        pairs = _elements([f'"{view.bridge}" . {port.ip} : jump {word}_{_word(port)}' for view, port in secured])
        text += f"  map {direction} {{\n    type ifname . ipv4_addr : verdict\n" + pairs + "  }\n"
    for _, port in secured:
        for direction, word in (("ingress", "in"), ("egress", "out")):
            text += _chain(f"{word}_{_word(port)}", _allowances(port, direction))
    tracked = ["ct state established,related accept", "ct state invalid drop"]
    cross = [f'iifname "{view.bridge}" oifname != "{view.bridge}" oifname "n0b*" drop' for view in views]
    entering = [f'iifname != "{view.bridge}" oifname "{view.bridge}" ip daddr != @here drop' for view in views]
    here = _elements([port.ip for view in views for port in view.ports])
    text += "  set here {\n    type ipv4_addr\n" + here + "  }\n"
    text += _chain(
        "forward",
        [
            "type filter hook forward priority filter; policy accept;",
            "iifname != @bridges oifname != @bridges accept",
            *tracked,
            "iifname . ip saddr vmap @egress",
            "oifname . ip daddr vmap @ingress",
            *cross,
            *entering,
        ],
    )
    text += _chain(
        "output",
        [
            "type filter hook output priority filter; policy accept;",
            "oifname != @bridges accept",
            *tracked[:1],
            "udp sport 67 udp dport 68 accept",
            "oifname . ip daddr vmap @ingress",
        ],
    )
    text += _chain(
        "input",  # a guest reaches DHCP, metadata and a ping on its host, nothing else of it
        [
            "type filter hook input priority filter; policy accept;",
            "iifname != @bridges accept",
            *tracked[:1],
            "udp dport 67 accept",
            f"tcp dport {metadata_port} ct original ip daddr {METADATA} accept",
            "icmp type echo-request accept",
            "drop",
        ],
    )
    text += _chain(
        "prerouting",
        [
            "type nat hook prerouting priority dstnat; policy accept;",
            f"iifname @bridges ip daddr {METADATA} tcp dport 80 redirect to :{metadata_port}",
        ],
    )
    nat = [
        f'ip saddr {view.cidr} ip daddr != {view.cidr} ip daddr != 224.0.0.0/4 oifname != "{view.bridge}" masquerade'
        for view in views
        if view.gateway and view.cidr
    ]
    text += _chain("postrouting", ["type nat hook postrouting priority srcnat; policy accept;", *nat])
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
