"""A guest as libvirt's XML: a pure function of the instance, its disks and what the host can do.

No libvirt import, no files, no clock: the golden tests compare its text.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from nova0.host.virt.driver import GuestDisks
from nova0.objects.errors import DriverError
from nova0.objects.instance import Instance

NAMESPACE = "https://nova0.dev/xmlns/guest/1"
ROOT_DISK, CONSOLE_LOG, SCREEN = "disk.qcow2", "console.log", "vnc"
MOST_SOCKET_PATH = 107  # bytes the kernel takes for a UNIX socket's path
DEFAULT_COMMAND_LINE = "console=ttyS0 quiet"

_NOT_XML = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

ET.register_namespace("nova0", NAMESPACE)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What of this host shows in a guest's definition."""

    cluster_id: str
    virt_type: str  # kvm | qemu
    emulator: str  # path of qemu-system-…
    arch: str = "x86_64"
    vnc: bool = True
    host_cpu: bool = False  # give guests the host's processor model (KVM only)


def guest_xml(instance: Instance, disks: GuestDisks, machine: Machine) -> str:
    """The whole domain. Taps are there before (`managed='no'`): bridge, rules and addresses are not libvirt's."""
    properties = instance.image.properties if instance.image else {}
    domain = ET.Element("domain", type=machine.virt_type)
    _text(domain, "name", instance.domain_name)
    _text(domain, "uuid", instance.uuid)
    domain.append(_metadata(instance, disks, machine))
    _text(domain, "memory", instance.flavor.memory_mb, unit="MiB")
    _text(domain, "vcpu", instance.flavor.vcpus)
    domain.append(_os(disks, properties, machine))
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if machine.virt_type == "kvm" and machine.host_cpu:
        ET.SubElement(domain, "cpu", mode="host-model")
    ET.SubElement(domain, "clock", offset="utc")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    domain.append(_devices(instance, disks, properties, machine))
    _check(domain, instance)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _check(domain: ET.Element, instance: Instance) -> None:
    """Raises DriverError for what XML has no place for: libvirt would say no more than that it can't parse it."""
    for element in domain.iter():
        for what, text in ((element.tag, element.text or ""), *element.attrib.items()):
            if _NOT_XML.search(text):
                where = f"server {instance.uuid}: {element.tag} {what}"
                raise DriverError(f"{where}: {text!r:.100} holds control characters")


def _word(properties: dict[str, str], name: str, usual: str) -> str:
    """An image's property that names a kind of device. Raises DriverError."""
    word = properties.get(name, usual)
    if not _WORD.fullmatch(word):
        raise DriverError(f"image property {name}: {word!r:.100} is no kind of device: change it on the image")
    return word


def metadata_xml(text: str) -> dict[str, str]:
    """cluster, generation, directory … from our element as libvirt returns it; the inverse of `_metadata`."""
    return dict(ET.fromstring(text).attrib)  # noqa: S314  libvirt's own answer


def _metadata(instance: Instance, disks: GuestDisks, machine: Machine) -> ET.Element:
    metadata = ET.Element("metadata")
    ET.SubElement(
        metadata,
        f"{{{NAMESPACE}}}guest",
        cluster=machine.cluster_id,
        uuid=instance.uuid,
        generation=str(instance.generation),
        name=_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", instance.name),  # for show
        project=instance.project_id,
        directory=str(disks.directory),
    )
    return metadata


def _os(disks: GuestDisks, properties: dict[str, str], machine: Machine) -> ET.Element:
    os = ET.Element("os")
    _text(os, "type", "hvm", arch=machine.arch, machine=_board(properties, machine))
    if disks.kernel is not None:
        _text(os, "kernel", disks.kernel)
        if disks.ramdisk is not None:
            _text(os, "initrd", disks.ramdisk)
        _text(os, "cmdline", properties.get("os_command_line", DEFAULT_COMMAND_LINE))
    else:
        ET.SubElement(os, "boot", dev="hd")
    return os


def _board(properties: dict[str, str], machine: Machine) -> str:
    return _word(properties, "hw_machine_type", "pc" if machine.arch == "x86_64" else "virt")


def _devices(instance: Instance, disks: GuestDisks, properties: dict[str, str], machine: Machine) -> ET.Element:
    devices = ET.Element("devices")
    _text(devices, "emulator", machine.emulator)
    if disks.base is not None or instance.flavor.root_gb:
        devices.append(_disk(disks.directory / ROOT_DISK, "qcow2", "vda", "virtio", discard=True))
    if disks.config_drive is not None:
        usual = (
            "ide" if _board(properties, machine).startswith("pc") else "sata" if machine.arch == "x86_64" else "virtio"
        )
        devices.append(_config_drive(disks.config_drive, _word(properties, "hw_cdrom_bus", usual)))
    ET.SubElement(devices, "controller", type="usb", model="none")
    for port in instance.ports:
        interface = ET.SubElement(devices, "interface", type="ethernet")
        ET.SubElement(interface, "mac", address=port.mac)
        ET.SubElement(interface, "target", dev=port.tap, managed="no")
        ET.SubElement(interface, "model", type=_word(properties, "hw_vif_model", "virtio"))
        ET.SubElement(interface, "mtu", size=str(port.mtu))
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(disks.directory / CONSOLE_LOG), append="on")
    ET.SubElement(serial, "target", port="0")
    screen = disks.directory / SCREEN
    if machine.vnc and fits(screen):
        ET.SubElement(devices, "input", type="tablet", bus="virtio")
        devices.append(_screen(screen))
        video = ET.SubElement(devices, "video")
        ET.SubElement(video, "model", type="vga" if machine.arch == "x86_64" else "virtio")
    ET.SubElement(devices, "memballoon", model="virtio")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    return devices


def _disk(path: Path, disk_format: str, target: str, bus: str, discard: bool = False) -> ET.Element:
    disk = ET.Element("disk", type="file", device="disk")
    driver = ET.SubElement(disk, "driver", name="qemu", type=disk_format)
    if discard:
        driver.set("discard", "unmap")
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=target, bus=bus)
    return disk


def _config_drive(path: Path, bus: str) -> ET.Element:
    """A CD-ROM, or with hw_cdrom_bus=virtio a read-only disk (virtio has no CD-ROM)."""
    if bus == "virtio":
        drive = _disk(path, "raw", "vdb", "virtio")
    else:
        drive = _disk(path, "raw", "sda" if bus in ("sata", "scsi") else "hda", bus)
        drive.set("device", "cdrom")
    ET.SubElement(drive, "readonly")
    return drive


def _screen(path: Path) -> ET.Element:
    graphics = ET.Element("graphics", type="vnc")
    ET.SubElement(graphics, "listen", type="socket", socket=str(path))
    return graphics


def fits(screen: Path) -> bool:
    """Whether a UNIX socket can have that path."""
    return len(str(screen).encode()) <= MOST_SOCKET_PATH


def with_own_screen(text: str, directory: Path) -> str | None:
    """A domain with its VNC as a UNIX socket in its guest's folder, for one whose VNC listens on TCP; else None."""
    domain = ET.fromstring(text)  # noqa: S314  libvirt's own answer
    devices = domain.find("devices")
    for graphics in devices.findall("graphics[@type='vnc']") if devices is not None else ():
        listen = graphics.find("listen")
        if graphics.get("socket") is None and (listen is None or listen.get("type") != "socket"):
            assert devices is not None
            place = list(devices).index(graphics)
            devices.remove(graphics)
            if fits(directory / SCREEN):
                devices.insert(place, _screen(directory / SCREEN))
            return ET.tostring(domain, encoding="unicode")
    return None


def _text(parent: ET.Element, tag: str, text: object, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = str(text)
    return element
