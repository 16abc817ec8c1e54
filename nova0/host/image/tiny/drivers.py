"""Which kernel modules the guest carries, in an order that can be loaded one by one."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

EARLY = ("virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "button", "evdev", "isofs", "nls_iso8859-1")
LATE = ("ata_piix", "sr_mod")  # a config drive as IDE CD-ROM: only looked for when nothing else answers


def load_order(modules: Path, wanted: tuple[str, ...]) -> list[Path]:
    """Files below lib/modules/VERSION for `wanted` and what they depend on, dependencies first. What is
    built into the kernel is left out. Raises FileNotFoundError for a driver this kernel lacks."""
    files = {_name(path.name): path for path in modules.rglob("*.ko*")}
    builtin = {_name(Path(line).name) for line in (modules / "modules.builtin").read_text().split()}
    order: list[Path] = []

    def visit(name: str) -> None:
        if name in builtin:
            return
        if name not in files:
            raise FileNotFoundError(f"{modules.name} has no driver {name}")
        if files[name] in order:
            return
        found = re.search(rb"\0depends=([^\0]*)", content(files[name]))
        for needed in found.group(1).decode().split(",") if found else []:
            if needed:
                visit(_name(needed))
        order.append(files[name])

    for driver in wanted:
        visit(_name(driver))
    return order


def content(path: Path) -> bytes:
    """The module's bytes, unpacked: the guest's insmod reads plain files fastest."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _name(file: str) -> str:
    return file.split(".ko")[0].replace("-", "_")
