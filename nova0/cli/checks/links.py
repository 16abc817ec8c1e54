"""What the guests' network and the mesh need of the kernel: bridges, forwarding, tunnels, multicast."""

from __future__ import annotations

import os
import socket
import struct

from nova0.cli.checks import BLOCKS, OK, WARNING, Finding, Look

MDNS_GROUP, MDNS_PORT = "224.0.0.251", 5353


def check(look: Look) -> list[Finding]:
    findings = [multicast()]
    if not look.fake:
        findings += [_bridge(look), _br_netfilter(look), _forwarding(look), *_firewalls(look), _tunnel_privacy()]
    return findings


def multicast() -> Finding:
    """Whether this machine can join mDNS's group; whether switches carry it is seen with `nova0 agents`."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            group = struct.pack("4sL", socket.inet_aton(MDNS_GROUP), socket.INADDR_ANY)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError as error:
        return Finding("multicast", WARNING, f"{MDNS_GROUP}: {error.strerror}", "name a peer: nova0 up --join HOST")
    return Finding("multicast", OK, f"{MDNS_GROUP} can be joined")


def _bridge(look: Look) -> Finding:
    if (look.root / "sys/class/net").is_dir() and os.geteuid() != 0:
        return Finding("bridges", BLOCKS, "making them needs root", "sudo nova0 up, or nova0 up --fake")
    known = look.text("/proc/modules") + look.text("/lib/modules/" + os.uname().release + "/modules.builtin")
    if "bridge" in known or (look.root / "sys/module/bridge").exists() or _kernel_makes_bridges():
        return Finding("bridges", OK, "the kernel makes them")
    return Finding("bridges", BLOCKS, "the kernel has no bridge driver loaded", "modprobe bridge")


def _kernel_makes_bridges() -> bool:
    """Ask it: a bridge made in a network namespace of its own is seen by nobody."""
    import shutil
    import subprocess

    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    asked = ["unshare", "--net", "ip", "link", "add", "nova0-probe", "type", "bridge"]
    return subprocess.run(asked, capture_output=True, timeout=5).returncode == 0


def _br_netfilter(look: Look) -> Finding:
    setting = look.text("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if setting == "1":
        return Finding(
            "br_netfilter",
            WARNING,
            "bridged frames pass iptables, where other programs' rules may drop them",
            "sysctl net.bridge.bridge-nf-call-iptables=0, unless something here needs it",
        )
    return Finding("br_netfilter", OK, "off" if setting else "not loaded")


def _forwarding(look: Look) -> Finding:
    if look.text("/proc/sys/net/ipv4/ip_forward") == "1":
        return Finding("forwarding", OK, "on")
    return Finding("forwarding", OK, "off now; nova0 turns it on for the guests' way out, and for nothing else")


def _firewalls(look: Look) -> list[Finding]:
    """Others' rules, which a packet must pass as well; only root sees them."""
    if os.geteuid() != 0 or look.program("nft") is None:
        return []
    from nova0.host.network.findings import ALLOW, foreign_drops

    return [
        Finding("firewall", WARNING, f"chain {chain} drops what is forwarded: guests are cut off", ALLOW)
        for chain in foreign_drops()
    ]


def _tunnel_privacy() -> Finding:
    return Finding(
        "tunnels",
        WARNING,
        "VXLAN between hosts is clear text",
        "keep hosts on a network of their own, or put an encrypted one below (WireGuard, IPsec)",
    )
