"""What networks need of this machine, and which rules of others would keep them from working."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where a plain user's or su's path does not look
PROGRAMS = (
    ("ip", "iproute2"),
    ("bridge", "iproute2"),
    ("nft", "nftables"),
    ("dnsmasq", "dnsmasq-base"),
    ("nsenter", "util-linux"),
)
ENVIRONMENT = {**os.environ, "PATH": PATH, "LC_ALL": "C"}
ALLOW = (
    "let nova0's bridges and uplinks pass there: for d in n0b+ n0u+; do iptables -I FORWARD -i $d -j ACCEPT; "
    "iptables -I FORWARD -o $d -j ACCEPT; done (Docker: in the chain DOCKER-USER)"
)
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def foreign_drops() -> list[str]:
    """Base chains of others at the forward hook whose policy is drop: "ip filter FORWARD"."""
    done = subprocess.run(["nft", "-j", "list", "chains"], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        return []
    chains = [item["chain"] for item in json.loads(done.stdout).get("nftables", []) if "chain" in item]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and chain["family"] in ("ip", "inet", "bridge")
        and not chain["table"].startswith("nova0_")
    ]
