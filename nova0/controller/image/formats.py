"""What image bytes really are, read from their first kilobytes: a host trusts the format it is told.

A qcow2 file may name another file as its backing or data file, which a host would then open for its guest:
such images are refused.
"""

from __future__ import annotations

import struct

HEAD_BYTES = 64 * 1024  # of a file, enough to know it by
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "gpt")
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA_FILE = 1 << 2  # incompatible feature bit of qcow2 version 3


class BadFormat(Exception):
    """The bytes are not what was declared, or not safe to use."""


def detect(head: bytes) -> str:
    """qcow2, vmdk, vdi, vhd, vhdx, qed or luks where the bytes say so; else raw, which is also any unknown."""
    if head.startswith(_QCOW2):
        return "qcow2"
    if head.startswith(b"KDMV") or head.startswith(b"COWD") or b"# Disk DescriptorFile" in head[:512]:
        return "vmdk"
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return "vdi"
    for magic, name in ((b"vhdxfile", "vhdx"), (b"conectix", "vhd"), (b"QED\0", "qed"), (b"LUKS\xba\xbe", "luks")):
        if head.startswith(magic):
            return name
    return "raw"


def check(declared: str, head: bytes, size: int) -> int | None:
    """The virtual size in bytes of an image declared `declared`, None where its header is not read here.

    Raises BadFormat, in words for the person who uploads.
    """
    found = detect(head)
    if declared == "qcow2":
        if found != "qcow2":
            raise BadFormat(f"the image is declared qcow2 but its bytes are not (they look like {found})")
        return _qcow2_size(head)
    if found != "raw" and found != declared:
        raise BadFormat(
            f"the image is declared {declared} but its bytes are {found}: upload it with disk_format {found}"
        )
    return size if declared == "raw" else None


def _qcow2_size(head: bytes) -> int:
    if len(head) < 72:
        raise BadFormat("the qcow2 header is cut short")
    version, backing_offset = struct.unpack_from(">IQ", head, 4)
    [size] = struct.unpack_from(">Q", head, 24)
    if version not in (2, 3):
        raise BadFormat(f"qcow2 version {version} is not supported: convert it with qemu-img")
    if backing_offset:
        raise BadFormat("the qcow2 image has a backing file: flatten it with `qemu-img convert -O qcow2` first")
    if version == 3:
        if len(head) < 104:
            raise BadFormat("the qcow2 header is cut short")
        [incompatible] = struct.unpack_from(">Q", head, 72)
        if incompatible & _EXTERNAL_DATA_FILE:
            raise BadFormat("the qcow2 image keeps its data in another file: convert it with qemu-img first")
    return int(size)
