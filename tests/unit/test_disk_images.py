"""What is seen in the bytes of an image, and what looking may cost."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nova0.controller.image.formats import DISK_FORMATS
from nova0.disk_image import bounded, inspection, layout
from tests.disk_images import CLUSTER, FIELDS, qcow2

pytestmark = pytest.mark.covers("S280")

COPIED = 1 << 63


@pytest.fixture
def look(tmp_path):
    def look(data, declared="qcow2"):
        path = tmp_path / "image"
        path.write_bytes(data)
        with path.open("rb") as file:
            return inspection.inspect(file.fileno(), declared)

    return look


def at_once(data, declared="qcow2"):
    """The same, in this process."""
    file = os.memfd_create("image")
    try:
        os.write(file, data)
        return layout.look(file, declared)
    finally:
        os.close(file)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (qcow2(size=2 << 60), "at most"),
        (qcow2(size=layout.MOST_BYTES + 512), "at most"),
        (qcow2(size=0), "no bytes"),
        (qcow2(method=2), "encrypted"),
        (qcow2(method=1), "encrypted"),
        (qcow2(extension=0x0537BE77 << 32 | 16), "encrypted"),
        (qcow2(l1_entries=0x7FFFFFFF), "2147483647 entries"),
        (qcow2(l1_entries=0), "too few tables"),
        (qcow2(l1_entries=4_000_000), "cut short"),
        (qcow2(l1_at=3 * CLUSTER + 8), "no cluster's beginning"),
        (qcow2(l1_at=1 << 40), "cut short"),
        (qcow2(l1_at=(1 << 64) - CLUSTER), "cut short"),
        (qcow2(refcounts_at=1 << 40), "cut short"),
        (qcow2(refcounts_at=0), "what is used"),
        (qcow2(refcount_clusters=0x7FFFFFFF), "2147483647 clusters"),
        (qcow2(snapshots=1_000_000), "1000000 snapshots"),
        (qcow2(snapshots=1), "flatten"),
        (qcow2(cluster_bits=63), "clusters of"),
        (qcow2(cluster_bits=0), "clusters of"),
        (qcow2(header_bytes=0xFFFFFFF8), "its header has"),
        (qcow2(extension=0xE2792ACA << 32 | 0xFFFFFFFF), "larger than its cluster"),
        (qcow2(extension=0x44415441 << 32 | 8), "another file"),
        (qcow2(extension=0x23852875 << 32 | 24), "bitmaps"),
        (qcow2(backing=512), "backing file"),
        (qcow2(incompatible=1 << 2), "another file"),
        (qcow2(incompatible=1 << 1), "corrupt"),
        (qcow2(incompatible=1 << 40), "features"),
        (qcow2(version=1), "version 1"),
        (qcow2(l1=(COPIED | 1 << 40,)), "cut short"),
        (qcow2(l1=(COPIED | CLUSTER // 2,)), "beginning"),
        (qcow2(l2=(COPIED | 1 << 40,)), "cut short"),
        (qcow2(l2=(0, 1 << 62 | 1 << 45,)), "cut short"),
        (qcow2()[:200], "cut short"),
        (qcow2()[: 3 * CLUSTER], "cut short"),
        (qcow2()[:71], "cut short"),
        (b"", "no bytes"),
    ],
)  # fmt: skip
def test_a_qcow2_that_no_host_should_open_is_refused(data, word):
    with pytest.raises(layout.BadFormat, match=word):
        at_once(data)


@pytest.mark.parametrize(
    ("declared", "data", "word"),
    [
        ("raw", qcow2(), "upload it with disk_format qcow2"),
        ("raw", bytes(0x8001) + b"CD001" + bytes(4096), "iso.*not ISO files"),
        ("raw", b"\xeb\x63" + bytes(0x7FFF) + b"CD001" + bytes(4096), "iso"),
        ("raw", b"LUKS\xba\xbe" + bytes(4096), "decrypt"),
        ("qcow2", b"LUKS\xba\xbe" + bytes(4096), "luks"),
        ("raw", b"vhdxfile" + bytes(4096), "vhdx.*convert"),
        ("raw", bytes(64) + b"\x7f\x10\xda\xbe" + bytes(4096), "vdi.*convert"),
        ("raw", b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n", "vmdk.*convert"),
        ("raw", b"\x1f\x8b\x08" + bytes(400), "gzip"),
        ("raw", b"\xfd7zXZ\0" + bytes(400), "xz"),
        ("raw", b"\x28\xb5\x2f\xfd" + bytes(400), "zstd"),
        ("aki", qcow2(), "qcow2"),
        ("vmdk", bytes(4096), "declared vmdk"),
        ("iso", bytes(70_000), "declared iso"),
        ("vdi", qcow2(), "qcow2"),
        ("raw", b"", "no bytes"),
    ],
)  # fmt: skip
def test_bytes_that_are_something_else_are_refused_with_a_remedy(declared, data, word):
    with pytest.raises(layout.BadFormat, match=word):
        at_once(data, declared)


@pytest.mark.parametrize(
    ("data", "declared", "size"),
    [
        (qcow2(size=7 << 30), "qcow2", 7 << 30),
        (qcow2(l2=(COPIED | 5 * CLUSTER, 1 << 62 | 5 * CLUSTER, 1)), "qcow2", 1 << 30),
        (b"any bytes", "raw", 9),
        (b"\x1f\x8b\x08 a kernel", "aki", None),
    ],
)
def test_what_is_sound_is_taken_and_measured(look, data, declared, size):
    assert look(data, declared) == size


@pytest.mark.parametrize(
    "options", ["compat=0.10", "extended_l2=on", "preallocation=metadata,cluster_size=4096", "compression_type=zstd"]
)
def test_what_qemu_img_makes_is_taken(look, tmp_path, options):
    path = tmp_path / "made"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "100M"], check=True)
    assert look(path.read_bytes()) == 100 << 20


def test_many_entries_that_lead_to_one_table_are_read_once():
    began = time.process_time()
    first = (COPIED | 4 * CLUSTER,) * (CLUSTER // 8)
    assert at_once(qcow2(size=CLUSTER // 8 << 29, l1=first)) == CLUSTER // 8 << 29
    assert time.process_time() - began < 2


@pytest.mark.parametrize(("limit", "value"), [("MOST_CPU_S", 0), ("MOST_MEMORY_BYTES", 1 << 20)])
def test_a_file_that_takes_too_much_to_look_through_is_refused(look, tmp_path, monkeypatch, limit, value):
    """With next to nothing allowed, so that any file is such a one."""
    program = tmp_path / "layout.py"
    source = Path(layout.__file__).read_text()
    assert f"\n{limit} = " in source
    lines = [f"{limit} = {value}" if line.startswith(f"{limit} = ") else line for line in source.splitlines()]
    text = "\n".join(lines) + "\n"
    if limit == "MOST_CPU_S":  # which the kernel rounds up to a second
        assert text.count("\n    _fence()\n") == 1
        text = text.replace("\n    _fence()\n", "\n    _fence()\n    while True:\n        pass\n")
    program.write_text(text)
    monkeypatch.setattr(inspection.layout, "__file__", str(program))
    with pytest.raises(layout.BadFormat, match=r"processor time|memory"):
        look(qcow2(l1=tuple(COPIED | 4 * CLUSTER for _ in range(8))) + os.urandom(1 << 20))


def test_who_looks_has_no_rights_and_little_room(tmp_path):
    program = tmp_path / "fenced.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {os.path.dirname(layout.__file__)!r})\n"
        "import layout, os, resource; layout._fence()\n"
        "print(os.getuid(), resource.getrlimit(resource.RLIMIT_AS)[1], resource.getrlimit(resource.RLIMIT_FSIZE)[1])\n"
    )
    said = subprocess.run(["python3", "-I", "-S", program], capture_output=True, text=True, check=True).stdout
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    assert said.split() == [str(uid), str(layout.MOST_MEMORY_BYTES), "0"]


@settings(max_examples=300, deadline=1000)
@given(
    st.sampled_from(DISK_FORMATS),
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.integers(0, 2**64 - 1)),
    st.lists(st.integers(0, 2**64 - 1), max_size=4),
    st.integers(0, 6 * CLUSTER),
)
def test_no_header_breaks_who_looks(declared, fields, entries, cut):
    whole = {name: value % (1 << 8 * struct.calcsize(FIELDS[name][1])) for name, value in fields.items()}
    data = qcow2(1 << 30, tuple(entries), **{name: value for name, value in whole.items() if name != "size"})
    try:
        at_once(data[:cut] or b"x", declared)
    except layout.BadFormat as error:
        assert str(error)


@pytest.mark.slow
def test_a_program_that_reads_an_image_is_ended_at_its_bounds(monkeypatch, tmp_path):
    monkeypatch.setattr(bounded, "MOST_S", 0.3)
    with pytest.raises(bounded.TookTooMuch, match="over 0 s"):
        bounded.run(["sleep", "30"])
    monkeypatch.setattr(bounded, "MOST_S", 30.0)
    monkeypatch.setattr(bounded, "MOST_CPU_S", 1)
    with pytest.raises(bounded.TookTooMuch, match="processor time"):
        bounded.run(["sh", "-c", "while :; do :; done"])
    monkeypatch.setattr(bounded, "MOST_FILE_BYTES", 4096)
    with pytest.raises(bounded.TookTooMuch, match="wrote over"):
        bounded.run(["sh", "-c", f"exec cat /dev/zero > {tmp_path / 'large'}"])
    assert (tmp_path / "large").stat().st_size <= 4096
    monkeypatch.setattr(bounded, "MOST_MEMORY_BYTES", 64 << 20)
    assert bounded.run(["python3", "-c", "bytes(1 << 30)"]).returncode
