"""Programs and libraries a host needs, with the Debian package each comes in."""

from __future__ import annotations

import importlib.util
import platform

from nova0.cli.checks import BLOCKS, OK, WARNING, Finding, Look

QEMU = "qemu-system-aarch64" if platform.machine() == "aarch64" else "qemu-system-x86_64"
PROGRAMS = {  # program -> (Debian package, what for, how bad)
    QEMU: ("qemu-system-arm" if "aarch64" in QEMU else "qemu-system-x86", "running guests", BLOCKS),
    "qemu-img": ("qemu-utils", "guests' disks", BLOCKS),
    "libvirtd": ("libvirt-daemon", "the libvirt driver, where no libvirtd runs", BLOCKS),
    "dnsmasq": ("dnsmasq-base", "DHCP for guests", BLOCKS),
    "nft": ("nftables", "NAT and security groups", BLOCKS),
    "ip": ("iproute2", "bridges and tunnels", BLOCKS),
    "ssh": ("openssh-client", "`nova0 ssh`", WARNING),
}


def check(look: Look) -> list[Finding]:
    if look.fake:
        return [Finding("packages", OK, "the fake driver needs none")]
    findings = []
    for program, (package, purpose, level) in PROGRAMS.items():
        where = look.program(program)
        if where:
            findings.append(Finding(program, OK, where))
        else:
            findings.append(
                Finding(
                    program, level, f"not installed ({purpose})", f"apt-get install --no-install-recommends {package}"
                )
            )
    if importlib.util.find_spec("libvirt"):
        findings.append(Finding("python libvirt", OK, "there"))
    else:
        findings.append(
            Finding("python libvirt", BLOCKS, "not installed", "apt-get install python3-libvirt, or nova0[libvirt]")
        )
    return findings
