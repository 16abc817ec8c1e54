"""Root disks and config drives as files."""

import io
import json
import subprocess

import pycdlib
import pytest

from nova0.host.disk import config_drive, overlay
from nova0.host.virt.libvirt import console_log
from nova0.objects.errors import DriverError, ImageUnusable
from tests.disk_images import qcow2

pytestmark = pytest.mark.covers("S280")


def info(path) -> dict:
    return json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(path)]))


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
    return path


@pytest.mark.covers("S272")
def test_a_disk_is_an_overlay_grown_to_the_flavor_and_made_once(base, tmp_path):
    disk = tmp_path / "disk.qcow2"
    assert overlay.make(disk, base, "qcow2", 2) is True
    assert info(disk)["virtual-size"] == 2 * 1024**3
    assert info(disk)["full-backing-filename"] == str(base)
    assert disk.stat().st_size < 1024**2
    before = disk.stat().st_ino
    assert overlay.make(disk, base, "qcow2", 2) is False and disk.stat().st_ino == before


def test_no_root_disk_in_the_flavor_means_the_images_size(base, tmp_path):
    overlay.make(tmp_path / "disk.qcow2", base, "qcow2", 0)
    assert info(tmp_path / "disk.qcow2")["virtual-size"] == 64 * 1024**2


def test_another_base_makes_another_disk(base, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(bytes(1024**2))
    disk = tmp_path / "disk.qcow2"
    overlay.make(disk, base, "qcow2", 1)
    assert overlay.make(disk, other, "raw", 1) is True
    assert info(disk)["full-backing-filename"] == str(other)


def test_an_image_larger_than_the_flavor_is_refused_with_both_sizes(tmp_path):
    base = tmp_path / "base"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "3G"], check=True)
    with pytest.raises(DriverError, match=r"needs 3.0 GiB, the flavor gives 1"):
        overlay.make(tmp_path / "disk.qcow2", base, "qcow2", 1)
    assert not (tmp_path / "disk.qcow2").exists()


def test_a_raw_image_that_pretends_to_be_qcow2_is_read_as_raw(base, tmp_path):
    assert overlay.virtual_size(base, "raw") < 1024**2 < overlay.virtual_size(base, "qcow2")


def test_an_image_that_points_at_other_files_of_the_host_is_refused(base, tmp_path):
    thief = tmp_path / "thief"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", str(thief)]
    subprocess.run(command, check=True)
    with pytest.raises(ImageUnusable, match="backing file"):
        overlay.make(tmp_path / "disk.qcow2", thief, "qcow2", 1)
    outside = tmp_path / "outside"
    data = ["-o", f"data_file={tmp_path / 'data'}", str(outside), "1M"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *data], check=True)
    with pytest.raises(ImageUnusable, match="another file"):
        overlay.make(tmp_path / "disk.qcow2", outside, "qcow2", 1)
    assert not (tmp_path / "disk.qcow2").exists()


@pytest.mark.parametrize("body", [qcow2()[:200], qcow2(size=2 << 60), qcow2(l1_entries=0x7FFFFFFF), qcow2(method=2)])
def test_an_image_of_an_earlier_time_is_looked_into_before_a_disk_is_made_of_it(tmp_path, body):
    base = tmp_path / "base"
    base.write_bytes(body)
    with pytest.raises(ImageUnusable, match=r"the qcow2 image|the image says"):
        overlay.make(tmp_path / "disk.qcow2", base, "qcow2", 1)
    assert not (tmp_path / "disk.qcow2").exists()


def test_a_server_without_image_gets_an_empty_disk_or_a_refusal(tmp_path):
    overlay.make(tmp_path / "disk.qcow2", None, "raw", 1)
    assert info(tmp_path / "disk.qcow2")["virtual-size"] == 1024**3
    with pytest.raises(DriverError, match="without an image"):
        overlay.make(tmp_path / "none.qcow2", None, "raw", 0)


def test_a_link_left_in_a_guests_folder_is_not_followed(base, tmp_path):
    """Its folder is the hypervisor's user's, and who makes disks and reads consoles is root."""
    secret, folder = tmp_path / "secret", tmp_path / "instances" / "one"
    secret.write_bytes(b"not for guests")
    folder.mkdir(parents=True)
    for name in ("disk.new", "disk.qcow2.new", "console.log"):
        (folder / name).symlink_to(secret)
    overlay.make(folder / "disk.qcow2", base, "qcow2", 1)
    assert console_log.tail(folder / "console.log", 100) == b""
    (folder / "console.log").unlink()
    (folder / "console.log").hardlink_to(secret)
    assert console_log.tail(folder / "console.log", 100) == b""
    large = tmp_path / "large"
    large.write_bytes(bytes(console_log.MOST_BYTES + 1))
    (folder / "other.log").symlink_to(large)
    assert console_log.trim(folder / "other.log") is False
    assert secret.read_bytes() == b"not for guests" and large.stat().st_size > console_log.MOST_BYTES
    assert sorted(path.name for path in folder.parent.iterdir()) == ["one"]


@pytest.mark.covers("S378")
def test_a_config_drive_carries_its_tree_under_the_label_guests_look_for(tmp_path):
    tree = {
        "openstack/latest/meta_data.json": b'{"uuid": "x"}',
        "openstack/latest/user_data": b"#!/bin/sh\n" * 1000,
        "openstack/2012-08-10/meta_data.json": b"{}",
        "ec2/latest/meta-data.json": b"{}",
    }
    path = tmp_path / "disk.config"
    config_drive.write(tree, path)
    assert path.stat().st_mode & 0o077 == 0
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    try:
        assert iso.pvd.volume_identifier.decode().strip() == "config-2"
        for name, content in tree.items():
            for how in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
                read = io.BytesIO()
                iso.get_file_from_iso_fp(read, **how)
                assert read.getvalue() == content
    finally:
        iso.close()
