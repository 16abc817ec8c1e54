"""Builds the tiny guest: Debian's cloud kernel, a ramdisk of busybox and dropbear, and an empty disk.

Three files, booted directly by the hypervisor (no boot loader): the disk is the image a user names, the
other two belong to it by its properties kernel_id and ramdisk_id.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nova0 import atomic_file
from nova0.host.image.tiny import drivers, elf, packages
from nova0.host.image.tiny.packages import CannotBuild
from nova0.host.image.tiny.ramdisk import Ramdisk

GUEST = Path(__file__).parent / "guest"
DISK_BYTES = 64 * 1024 * 1024  # virtual; a flavor with a root disk grows it
PROGRAMS = {  # where Debian has them (first that exists) -> where the guest has them
    "bin/busybox": ("bin/busybox", "usr/bin/busybox"),
    "usr/sbin/dropbear": ("usr/sbin/dropbear",),
    "usr/bin/dropbearkey": ("usr/bin/dropbearkey",),
    "sbin/mke2fs": ("sbin/mke2fs", "usr/sbin/mke2fs"),
}
PROPERTIES = {
    "hw_cdrom_bus": "virtio",  # the config drive as a read-only virtio disk: no IDE driver to wait for
    "hw_machine_type": "q35",  # emulated, it reaches its login line half a second before "pc"
    "os_distro": "nova0-tiny",
    "os_command_line": "console=ttyS0 quiet cryptomgr.notests",
    "architecture": "x86_64",
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """Files of one image. `manifest` (JSON beside them) lists each with format, size, sha512, properties."""

    kernel: Path
    ramdisk: Path
    disk: Path
    manifest: Path
    total_bytes: int


def build(output_dir: Path, progress: Callable[[str], None] = lambda line: None, arch: str = "amd64") -> Built:
    """Make the image in `output_dir` (replaced only when all is well). Needs no root, only apt's package
    lists and about 150 MB of temporary space. Raises CannotBuild with a remedy."""
    if arch != "amd64":
        raise CannotBuild(f"the tiny image cannot be built for {arch} yet, only for amd64")
    packages.require_apt()
    output_dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".tiny-", dir=output_dir))
    try:
        return _build(work, output_dir, progress, arch)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build(work: Path, output_dir: Path, progress: Callable[[str], None], arch: str) -> Built:
    kernel_package = packages.kernel_package(arch)
    names = packages.with_libraries(["busybox-static", "dropbear-bin", "e2fsprogs"])
    progress(f"downloading {kernel_package} and {len(names)} packages")
    archives = packages.download([kernel_package, *names], work / "archives")
    progress("unpacking")
    tree = work / "tree"
    for archive in archives:
        packages.unpack(archive, tree)
    version = kernel_package.removeprefix("linux-image-")
    progress(f"making the ramdisk for Linux {version}")
    ramdisk = work / "tiny.initrd"
    _ramdisk(tree, _modules(tree, version)).write(ramdisk)
    kernel = work / "tiny.vmlinuz"
    shutil.copyfile(tree / "boot" / f"vmlinuz-{version}", kernel)
    disk = work / "tiny.qcow2"
    atomic_file.write(disk, empty_qcow2(DISK_BYTES), 0o644)
    manifest = work / "tiny.json"
    atomic_file.write(manifest, json.dumps(_manifest(version, kernel, ramdisk, disk), indent=1) + "\n", 0o644)
    for made in (kernel, ramdisk, disk, manifest):
        made.chmod(0o644)
        made.replace(output_dir / made.name)
    result = Built(
        kernel=output_dir / kernel.name,
        ramdisk=output_dir / ramdisk.name,
        disk=output_dir / disk.name,
        manifest=output_dir / manifest.name,
        total_bytes=sum((output_dir / made.name).stat().st_size for made in (kernel, ramdisk, disk)),
    )
    progress(f"tiny image ready: {result.total_bytes / 1e6:.1f} MB in {output_dir}")
    return result


def _modules(tree: Path, version: str) -> Path:
    for place in (tree / "lib/modules" / version, tree / "usr/lib/modules" / version):
        if place.is_dir():
            return place
    raise CannotBuild(f"the kernel package of {version} holds no modules")


def _ramdisk(tree: Path, modules: Path) -> Ramdisk:
    guest = Ramdisk()
    for path in ("proc", "sys", "dev", "run", "mnt", "disk", "var/log", "var/lib", "etc/dropbear", "etc/acpi/PWRF"):
        guest.directory(path)
    guest.directory("root", 0o700)
    guest.directory("tmp", 0o1777)
    guest.device("dev/console", 5, 1)
    guest.device("dev/null", 1, 3, 0o666)
    for target, sources in PROGRAMS.items():
        source = next((tree / place for place in sources if (tree / place).is_file()), None)
        if source is None:
            raise CannotBuild(f"the packages hold no {sources[0]}")
        guest.file(target, source.read_bytes(), 0o755)
        _libraries(guest, tree, source)
    for stage, wanted in (("early", drivers.EARLY), ("late", drivers.LATE)):
        order = drivers.load_order(modules, wanted)
        for module in order:
            guest.file(f"lib/modules/{module.name.split('.ko')[0]}.ko", drivers.content(module))
        guest.file(f"lib/modules/{stage}", "".join(f"{module.name.split('.ko')[0]}.ko\n" for module in order).encode())
    for path, content in _settings().items():
        guest.file(path, content.encode())
    for target, name in (("init", "init.sh"), ("etc/configure.sh", "configure.sh"), ("etc/dhcp.sh", "dhcp.sh")):
        guest.file(target, (GUEST / name).read_bytes(), 0o755)
    guest.file("etc/stop.sh", (GUEST / "stop.sh").read_bytes(), 0o755)
    guest.file("etc/acpi/PWRF/00000080", b"#!/bin/sh\nexec /bin/poweroff\n", 0o755)
    return guest


def _libraries(guest: Ramdisk, tree: Path, program: Path) -> None:
    """Everything `program` is linked with, where the loader looks for it."""
    for name in elf.needs(program):
        target = name if name.startswith("/") else f"lib/{name}"
        if target in guest:
            continue
        source = next((path for path in sorted(tree.rglob(Path(name).name)) if path.is_file()), None)
        if source is None:
            raise CannotBuild(f"{program.name} needs {name}, which no downloaded package holds")
        guest.file(target, source.resolve().read_bytes(), 0o755)
        _libraries(guest, tree, source)


def _settings() -> dict[str, str]:
    return {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/shadow": "root:*:19000::::::\n",
        "etc/group": "root:x:0:\ntty:x:5:\n",
        "etc/shells": "/bin/sh\n",
        "etc/hostname": "tiny\n",
        "etc/hosts": "127.0.0.1 localhost\n",
        "etc/profile": "export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n",
        "etc/issue": "",
        "etc/inittab": (
            "::sysinit:/etc/configure.sh\n"
            "ttyS0::respawn:/bin/getty -L 115200 ttyS0 vt100\n"
            "::ctrlaltdel:/bin/reboot\n"
            "::shutdown:/etc/stop.sh\n"
        ),
    }


def _manifest(version: str, kernel: Path, ramdisk: Path, disk: Path) -> dict[str, object]:
    def entry(path: Path, container: str, disk_format: str) -> dict[str, object]:
        data = path.read_bytes()
        return {
            "file": path.name,
            "size": len(data),
            "sha512": hashlib.sha512(data).hexdigest(),
            "container_format": container,
            "disk_format": disk_format,
        }

    return {
        "name": "tiny",
        "description": f"nova0's tiny guest: Linux {version}, busybox, dropbear; log in as root with your key",
        "kernel": entry(kernel, "aki", "aki"),
        "ramdisk": entry(ramdisk, "ari", "ari"),
        "disk": entry(disk, "bare", "qcow2"),
        "properties": PROPERTIES,
        "min_ram_mb": 128,
        "min_disk_gb": 0,
    }


def empty_qcow2(virtual_bytes: int) -> bytes:
    """A qcow2 file (version 3) of nothing but zeroes, so that making one needs no qemu-img."""
    cluster = 1 << 16
    tables = -(-virtual_bytes // (cluster * (cluster // 8)))  # entries of the first-level table
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        0,  # no backing file
        0,
        16,  # cluster bits
        virtual_bytes,
        0,  # not encrypted
        tables,
        3 * cluster,  # first-level table
        cluster,  # refcount table
        1,
        0,  # no snapshots
        0,
        0,
        0,
        0,
        4,  # refcount order: 16 bits
        104,
    )
    refcount_table = struct.pack(">Q", 2 * cluster)
    refcounts = struct.pack(">4H", 1, 1, 1, 1)  # header, refcount table, refcount block, first-level table
    return b"".join(part.ljust(cluster, b"\0") for part in (header, refcount_table, refcounts, b"\0" * (8 * tables)))
