"""What on this machine would keep networks from working, each with its remedy: for `nova0 doctor`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where a plain user's or su's path does not look
PROGRAMS = (("ip", "iproute2"), ("bridge", "iproute2"), ("nft", "nftables"), ("dnsmasq", "dnsmasq-base"))
ENVIRONMENT = {**os.environ, "PATH": PATH, "LC_ALL": "C"}
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def findings() -> list[tuple[str, str]]:
    """(problem, remedy) pairs; empty where all is well. Changes nothing."""
    found = []
    missing = [(program, package) for program, package in PROGRAMS if shutil.which(program, path=PATH) is None]
    for program, package in missing:
        found.append((f"no program {program}", f"apt-get install {package}"))
    if os.geteuid() != 0:
        found.append(
            ("networks need root: bridges, taps and rules cannot be made", "run nova0 as root (sudo nova0 up)")
        )
        return found
    if not BRIDGE_NETFILTER.exists() and not _can_load("br_netfilter"):
        found.append(
            (
                "this kernel has no br_netfilter: security groups cannot hold between guests of one network",
                "modprobe br_netfilter, or use a kernel built with CONFIG_BRIDGE_NETFILTER",
            )
        )
    if FORWARD.exists() and FORWARD.read_text().strip() != "1":
        found.append(
            (
                "net.ipv4.ip_forward is 0 (nova0 turns it on with the first network)",
                "sysctl -w net.ipv4.ip_forward=1 and keep other tools from turning it off",
            )
        )
    if not missing:
        for chain in foreign_forward_drops():
            found.append(
                (
                    f"another firewall drops forwarded traffic by default (chain {chain}): guests are cut off",
                    "allow the bridges of nova0 there, e.g. iptables -I FORWARD -i n0b+ -j ACCEPT; "
                    "iptables -I FORWARD -o n0b+ -j ACCEPT (Docker: in the chain DOCKER-USER)",
                )
            )
    return found


def foreign_forward_drops() -> list[str]:
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


def _can_load(module: str) -> bool:
    done = subprocess.run(["modprobe", "-n", module], env=ENVIRONMENT, capture_output=True, check=False)
    return done.returncode == 0
