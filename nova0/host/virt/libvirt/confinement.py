"""What holds a guest's QEMU in: control groups of the machine, and the files of a guest given to QEMU's user."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import libvirt

from nova0.host.disk import overlay
from nova0.host.disk.ownership import Owner

CONTROLLERS = ("cpu", "cpuacct", "memory", "devices")  # what libvirt bounds guests with
CGROUPS = Path("/sys/fs/cgroup")
SPARE_KIB = 2 * 1024**2  # beside a guest's memory: QEMU itself, its screen, the code that emulation makes


def controllers(root: Path = CGROUPS) -> list[str]:
    """Those of CONTROLLERS that this machine has, in either version, and where groups can be made."""
    unified = root / "cgroup.controllers"
    try:
        there = [*unified.read_text().split(), "devices"] if unified.exists() else []
    except OSError:
        there = []
    return [name for name in CONTROLLERS if _takes_groups(root if name in there else root / name)]


def _takes_groups(folder: Path) -> bool:
    probe = folder / "nova0-probe"
    try:
        if not (folder / "cgroup.procs").exists():
            return False
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except OSError:
        return False
    return True


def bound(domain: Any) -> None:
    """Keep a started guest's QEMU within its memory and some to spare, where the machine can. Afterwards, since a bound
    at the start would have libvirt lock that much memory, which not every machine lets it."""
    with contextlib.suppress(libvirt.libvirtError):
        most = {"hard_limit": domain.maxMemory() + SPARE_KIB}
        domain.setMemoryParameters(most, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def hand_over(xml: str, folder: Path, owner: Owner) -> None:
    """Give a stopped guest's folder and files, and the images under them, to QEMU's user. Raises OSError."""
    owner.folder(folder)
    domain = ET.fromstring(xml)  # noqa: S314  libvirt's own answer
    found = [*domain.iterfind("devices/disk/source[@file]"), *domain.iterfind("devices/serial/log[@file]")]
    paths = {Path(element.attrib["file"]) for element in found}
    paths |= {Path(text) for name in ("os/kernel", "os/initrd") if (text := domain.findtext(name))}
    disks = [path for path in paths if path.name.endswith(".qcow2") and path.exists()]
    paths |= {base for disk in disks if (base := overlay.backing(disk)) is not None}
    for path in paths:
        if path.parent == folder or path.exists():
            owner.file(path)
