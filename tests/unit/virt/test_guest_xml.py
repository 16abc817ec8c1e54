"""A guest's XML is a pure function: golden texts, libvirt's own schema, and what must be in it."""

import dataclasses
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from nova0.host.virt.driver import GuestDisks
from nova0.host.virt.libvirt.guest_xml import NAMESPACE, Machine, guest_xml, metadata_xml, with_own_screen
from nova0.objects.flavor import Flavor
from nova0.objects.image import ImageRef
from nova0.objects.instance import Instance
from nova0.objects.network import Port

GOLDEN = Path(__file__).parent / "golden"
UUID = "6f1d2a3b-0c4d-4e5f-8a9b-0c1d2e3f4a5b"
MACHINE = Machine(cluster_id="c1a5e2f0", virt_type="qemu", emulator="/usr/bin/qemu-system-x86_64")
DIRECTORY = Path("/var/lib/nova0/instances") / UUID
CACHE = Path("/var/lib/nova0/images/_base")
IMAGE = ImageRef(id="i", name="tiny", size=1, sha512="", disk_format="qcow2")
PORT = Port(
    id="0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    network_id="n",
    network_name="private",
    instance_uuid=UUID,
    mac="fa:16:3e:00:00:05",
    ip="10.0.0.5",
    prefix_length=24,
    mtu=1400,
)
INSTANCE = Instance(
    uuid=UUID,
    generation=3,
    name="web & <db>",
    hostname="web",
    project_id="p",
    user_id="u",
    flavor=Flavor(flavor_id="1", name="m1.tiny", vcpus=2, memory_mb=512, root_gb=1),
    image=IMAGE,
    ports=(PORT,),
    number=42,
    cluster_id="c1a5e2f0",
)
FROM_DISK = GuestDisks(directory=DIRECTORY, base=CACHE / "base", base_format="qcow2")
DIRECT = dataclasses.replace(FROM_DISK, kernel=CACHE / "kernel", ramdisk=CACHE / "ramdisk")


def with_properties(**properties: str) -> Instance:
    return msgspec.structs.replace(INSTANCE, image=msgspec.structs.replace(IMAGE, properties=properties))


CASES = {
    "from_disk": (INSTANCE, FROM_DISK, dataclasses.replace(MACHINE, virt_type="kvm", host_cpu=True)),
    "direct_kernel_config_drive": (
        with_properties(hw_machine_type="q35", hw_cdrom_bus="virtio", os_command_line="console=ttyS0 quiet"),
        dataclasses.replace(DIRECT, config_drive=DIRECTORY / "disk.config"),
        MACHINE,
    ),
    "cdrom_no_screen_no_port": (
        msgspec.structs.replace(INSTANCE, ports=()),
        dataclasses.replace(FROM_DISK, config_drive=DIRECTORY / "disk.config"),
        dataclasses.replace(MACHINE, vnc=False),
    ),
}


@pytest.mark.covers("S261", "S271", "S247", "S312")
@pytest.mark.parametrize("name", CASES)
def test_the_text_is_the_golden_one(name):
    """After a wanted change: write the new text to tests/unit/virt/golden/NAME.xml and read the difference."""
    assert guest_xml(*CASES[name]) == (GOLDEN / f"{name}.xml").read_text()


@pytest.mark.covers("S261")
@pytest.mark.parametrize("name", CASES)
def test_libvirts_schema_accepts_it(name, tmp_path):
    if shutil.which("virt-xml-validate") is None:
        pytest.skip("no virt-xml-validate here: install libvirt-clients")
    path = tmp_path / "guest.xml"
    path.write_text(guest_xml(*CASES[name]))
    done = subprocess.run(["virt-xml-validate", str(path), "domain"], capture_output=True, text=True)
    if "xmllint" in done.stderr and "not found" in done.stderr:
        pytest.skip("no xmllint here: install libxml2-utils")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.covers("S261", "S312", "S324")
def test_all_that_makes_a_guest_is_in_it():
    domain = ET.fromstring(guest_xml(*CASES["from_disk"]))
    assert domain.get("type") == "kvm"
    assert domain.findtext("uuid") == UUID and domain.findtext("name") == "instance-0000002a"
    assert (domain.findtext("memory"), domain.find("memory").get("unit")) == ("512", "MiB")
    assert domain.findtext("vcpu") == "2"
    assert domain.find("features/acpi") is not None and domain.find("clock").get("offset") == "utc"
    wanted = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
    assert {tag: domain.findtext(tag) for tag in wanted} == wanted
    interface = domain.find("devices/interface")
    assert interface.find("mac").get("address") == PORT.mac
    assert interface.find("target").attrib == {"dev": PORT.tap, "managed": "no"}
    graphics = domain.find("devices/graphics")
    assert graphics.find("listen").attrib == {"type": "socket", "socket": str(DIRECTORY / "vnc")}
    assert not {"port", "autoport", "listen"} & set(graphics.attrib), "nothing on TCP"
    assert domain.find("devices/serial/log").get("file") == str(DIRECTORY / "console.log")


def test_a_screen_on_tcp_of_an_earlier_version_becomes_a_socket():
    now = guest_xml(*CASES["from_disk"])
    graphics = re.compile(r"<graphics.*?</graphics>", re.DOTALL)
    before = graphics.sub('<graphics type="vnc" port="-1" autoport="yes" listen="127.0.0.1"/>', now)
    assert with_own_screen(now, DIRECTORY) is None
    mended = ET.fromstring(with_own_screen(before, DIRECTORY)).find("devices/graphics")
    assert mended.attrib == {"type": "vnc"} and len(mended) == 1
    assert mended[0].attrib == {"type": "socket", "socket": str(DIRECTORY / "vnc")}


def test_a_path_too_long_for_a_socket_leaves_the_screen_out():
    instance, disks, machine = CASES["from_disk"]
    far = dataclasses.replace(disks, directory=Path("/srv") / ("x" * 100) / UUID)
    assert ET.fromstring(guest_xml(instance, far, machine)).find("devices/graphics") is None


def test_who_it_belongs_to_can_be_read_back():
    element = ET.fromstring(guest_xml(*CASES["from_disk"])).find(f"metadata/{{{NAMESPACE}}}guest")
    about = metadata_xml(ET.tostring(element, encoding="unicode"))
    assert about["cluster"] == "c1a5e2f0" and about["uuid"] == UUID and about["generation"] == "3"
    assert about["name"] == "web & <db>" and about["directory"] == str(DIRECTORY)


def test_a_guest_with_neither_image_nor_root_disk_has_no_disk():
    flavor = msgspec.structs.replace(INSTANCE.flavor, root_gb=0)
    bare = msgspec.structs.replace(INSTANCE, image=None, flavor=flavor)
    disks = GuestDisks(directory=DIRECTORY, base=None, base_format="raw")
    assert ET.fromstring(guest_xml(bare, disks, MACHINE)).find("devices/disk") is None
