"""What this machine can carry, as libvirt and the file system tell it."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from nova0.host.disk import ownership
from nova0.host.disk.ownership import Owner
from nova0.objects.host import HostState

GIB = 1024**3


def read(conn: Any, host: str, state_dir: Path, virt_type: str) -> HostState:
    """Capacity of the machine behind `conn` (runs on a real thread). Disk is that of `state_dir`."""
    arch, _, vcpus = conn.getInfo()[:3]
    memory = _memory_mb()
    capabilities = ET.fromstring(conn.getCapabilities())  # noqa: S314  libvirt's own answer
    disk = os.statvfs(state_dir)
    return HostState(
        host=host,
        hypervisor_hostname=host,  # unique in the cluster, which a machine's own host name need not be
        hypervisor_type=conn.getType(),
        hypervisor_version=conn.getVersion(),
        virt_type=virt_type,
        arch=arch,
        vcpus=vcpus,
        memory_mb=memory["MemTotal"],
        disk_gb=disk.f_blocks * disk.f_frsize // GIB,
        disk_free_gb=disk.f_bavail * disk.f_frsize // GIB,
        memory_free_mb=memory["MemAvailable"],
        cpu_info=_cpu(capabilities),
        supported=_supported(capabilities, virt_type),
        running=conn.numOfDomains(),
        uptime=_uptime(),
    )


def owner(conn: Any) -> Owner:
    """The user and group libvirt runs guests as (the label of its DAC model); ours where it does not say."""
    for model in ET.fromstring(conn.getCapabilities()).findall("host/secmodel"):  # noqa: S314  libvirt's own answer
        if model.findtext("model") == "dac":
            for label in model.findall("baselabel"):
                found = re.fullmatch(r"\+(\d+):\+(\d+)", label.text or "")
                if found and os.geteuid() == 0:
                    return Owner(int(found[1]), int(found[2]))
    return ownership.ours()


def _memory_mb() -> dict[str, int]:
    """Sizes in MiB by their name in /proc/meminfo. libvirt adds up NUMA cells instead, which leaves out memory
    plugged in later."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) // 1024 for name, _, rest in (line.partition(":") for line in lines)}


def _cpu(capabilities: ET.Element) -> dict[str, Any]:
    cpu = capabilities.find("host/cpu")
    if cpu is None:
        return {}
    topology = cpu.find("topology")
    return {
        "arch": cpu.findtext("arch", ""),
        "model": cpu.findtext("model", ""),
        "vendor": cpu.findtext("vendor", ""),
        "topology": {k: int(v) for k, v in topology.attrib.items() if v.isdigit()} if topology is not None else {},
        "features": sorted(str(feature.get("name")) for feature in cpu.findall("feature")),
    }


def _supported(capabilities: ET.Element, virt_type: str) -> list[tuple[str, str, str]]:
    found = []
    for guest in capabilities.findall("guest"):
        arch = guest.find("arch")
        for domain in arch.findall("domain") if arch is not None else []:
            kind = str(domain.get("type"))
            if arch is not None and (kind != "kvm" or virt_type == "kvm"):
                found.append((str(arch.get("name")), kind, guest.findtext("os_type", "hvm")))
    return found


def emulator(conn: Any, arch: str) -> str | None:
    """Path of the emulator for `arch`, None where there is none."""
    capabilities = ET.fromstring(conn.getCapabilities())  # noqa: S314
    for guest in capabilities.findall("guest/arch"):
        if guest.get("name") == arch:
            return guest.findtext("emulator")
    return None


def _uptime() -> str:
    seconds = int(float(Path("/proc/uptime").read_text().split()[0]))
    days, rest = divmod(seconds, 86400)
    one, five, fifteen = os.getloadavg()
    clock = f"{days} days, {rest // 3600}:{rest % 3600 // 60:02d}"
    return f"up {clock}, load average: {one:.2f}, {five:.2f}, {fifteen:.2f}"
