"""The tiny image's parts that need no download: ramdisk, empty disk, libraries; and its refusals."""

import gzip
import json
import shutil
import subprocess
import sys

import pytest

from nova0.host.image.tiny import CannotBuild, build, elf
from nova0.host.image.tiny.build import empty_qcow2
from nova0.host.image.tiny.ramdisk import Ramdisk


def test_a_ramdisk_holds_what_was_put_in_and_equal_input_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        made = Ramdisk()
        made.file("etc/deep/file", b"words", 0o755)
        made.link("bin/sh", "busybox")
        made.device("dev/console", 5, 1)
        made.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    if shutil.which("cpio") is None:
        pytest.skip("no cpio here to read it with")
    listed = subprocess.run(
        ["cpio", "-itv", "--quiet"],
        input=gzip.decompress((tmp_path / "one").read_bytes()),
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert "bin/sh -> busybox" in listed and "crw-------" in listed
    assert "-rwxr-xr-x" in listed and "etc/deep/file" in listed


def test_the_empty_disk_is_sound(tmp_path):
    path = tmp_path / "empty.qcow2"
    path.write_bytes(empty_qcow2(64 * 1024**2))
    assert (
        json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", path]))["virtual-size"] == 64 * 1024**2
    )
    assert subprocess.run(["qemu-img", "check", "-q", path]).returncode == 0


def test_what_a_program_is_linked_with_is_read_from_the_file_itself(tmp_path):
    wanted = elf.needs(type(tmp_path)("/bin/sh").resolve())
    assert "libc.so.6" in wanted and any(name.startswith("/lib") for name in wanted)
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ValueError, match="not a 64-bit"):
        elf.needs(tmp_path / "text")


def test_other_processors_and_other_systems_are_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(CannotBuild, match="arm64"):
        build(tmp_path, arch="arm64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotBuild, match="build it on Debian"):
        build(tmp_path)
    assert list(tmp_path.iterdir()) == [] and sys.platform == "linux"
