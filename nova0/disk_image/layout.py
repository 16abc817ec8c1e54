"""What the bytes of a disk image really are, read from its tables: a host trusts the format it is told.

Nothing here trusts a number of the file: each is bounded before anything is read or held because of it. It needs the
standard library alone and is a program too (`inspection` runs it): the format as argument, the file as standard input.
"""

from __future__ import annotations

import array
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator

GIB = 1024**3
MOST_BYTES = 16 * 1024 * GIB  # a disk that a guest may see; no file of ext4 is larger
MOST_L1_BYTES = 32 * 1024**2  # QEMU's own bound
MOST_REFCOUNT_BYTES = 8 * 1024**2  # QEMU's own bound
HEAD_BYTES = 64 * 1024  # enough to know any format by

# What the program takes while it looks. A thousand gigabytes in clusters of 64 KiB are looked through in some seconds.
MOST_MEMORY_BYTES = 512 * 1024**2
MOST_CPU_S = 60

_QCOW2 = b"QFI\xfb"
_ISO_MARK, _ISO_AT = b"CD001", 0x8001
_MARKS = (
    (0, _QCOW2, "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0, b"QED\0", "qed"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "ploop"),
    (0, b"WithouFreSpacExt", "ploop"),
    (_ISO_AT, _ISO_MARK, "iso"),
)
_PACKED = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7-zip"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_KNOWN_BY_MARK = {"qcow2", "vmdk", "vdi", "vhdx", "ploop", "iso"}  # a vhd of fixed size has its mark at its end alone
_DISKS = ("raw", "qcow2")  # what hosts make guests' disks of
_FLATTEN = "flatten it with `qemu-img convert -O qcow2` first"
_CONVERT = "convert it with `qemu-img convert -O qcow2` first"

# qcow2
_CORRUPT, _DATA_FILE, _COMPRESSION, _SUBCLUSTERS = 1 << 1, 1 << 2, 1 << 3, 1 << 4
_KNOWN_FEATURES = 0b11111
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_EXTENSIONS = {
    0x44415441: "keeps its data in another file",
    0x0537BE77: "is encrypted",
    0x23852875: "holds bitmaps of backups",
}


class BadFormat(Exception):
    """The bytes are not what was declared, or not safe to use."""


def look(file: int, declared: str) -> int | None:
    """The virtual size in bytes of the open `file`, whose format is declared; None where it is not read here.
    Raises BadFormat, in words for the person who uploads."""
    size = os.fstat(file).st_size
    if not size:
        raise BadFormat("the image holds no bytes")
    head = os.pread(file, HEAD_BYTES, 0)
    found = detect(head)
    if declared == "qcow2":
        if found != "qcow2":
            raise BadFormat(f"the image is declared qcow2 but its bytes are not (they look like {found}): {_CONVERT}")
        return _bounded(_Qcow2(file, size, head).check())
    if found not in ("raw", declared):
        raise BadFormat(f"the image is declared {declared} but its bytes are {found}: {_remedy(found)}")
    if found == "raw" and declared in _KNOWN_BY_MARK:
        raise BadFormat(f"the image is declared {declared} but its bytes are not")
    if declared != "raw":
        return None
    for mark, name in _PACKED:
        if head.startswith(mark):
            raise BadFormat(f"the image is declared raw but its bytes are packed with {name}: unpack it first")
    return _bounded(size)


def detect(head: bytes) -> str:
    """qcow2, vmdk, vdi, vhd, vhdx, qed, ploop, luks or iso where the bytes say so; else raw, which is also any
    unknown."""
    for offset, mark, name in _MARKS:
        if head[offset : offset + len(mark)] == mark:
            return name
    return "vmdk" if b"# Disk DescriptorFile" in head[:512] else "raw"


def _remedy(found: str) -> str:
    if found == "luks":
        return "nova0 has no key of encrypted images: decrypt it first"
    if found == "iso":
        return "hosts boot disks, not ISO files: install from it into a disk, and upload that"
    if found in _DISKS:
        return f"upload it with disk_format {found}"
    return _CONVERT


def _bounded(virtual_size: int) -> int:
    if virtual_size > MOST_BYTES:
        raise BadFormat(
            f"the image says that its disk has {virtual_size / GIB:.0f} GiB, and a disk has at most {MOST_BYTES // GIB}"
        )
    return virtual_size


class _Qcow2:
    """Its header and extensions, and every table that leads to a cluster: all of it has to be in the file."""

    def __init__(self, file: int, size: int, head: bytes) -> None:
        self._file, self._size, self._head = file, size, head

    def check(self) -> int:
        head, version = self._head, self._version()
        (backing,) = struct.unpack_from(">Q", head, 8)
        bits, virtual_size, method, l1_entries, l1_at = struct.unpack_from(">IQIIQ", head, 20)
        refcounts_at, refcount_clusters, snapshots = struct.unpack_from(">QII", head, 48)
        features, header_bytes = 0, 72
        if version == 3:
            (features,) = struct.unpack_from(">Q", head, 72)
            (header_bytes,) = struct.unpack_from(">I", head, 100)
        if backing:
            raise BadFormat(f"the qcow2 image has a backing file: {_FLATTEN}")
        if features & _DATA_FILE:
            raise BadFormat(f"the qcow2 image keeps its data in another file: {_FLATTEN}")
        if method:
            raise BadFormat("the qcow2 image is encrypted, and nova0 has no key of it: decrypt it first")
        if features & _CORRUPT:
            raise BadFormat("the qcow2 image is marked corrupt: repair it with `qemu-img check -r all` first")
        if features & ~_KNOWN_FEATURES:
            raise BadFormat(f"the qcow2 image needs features that nova0 does not know ({features:#x}): {_CONVERT}")
        if not 9 <= bits <= 21:
            raise BadFormat(f"the qcow2 image has clusters of 2^{bits} bytes, and they have 2^9 to 2^21: {_CONVERT}")
        if features & _SUBCLUSTERS and bits < 14:
            raise BadFormat(f"the qcow2 image has clusters too small for subclusters: {_CONVERT}")
        if snapshots:
            raise BadFormat(f"the qcow2 image holds {snapshots} snapshots: {_FLATTEN}")
        if not virtual_size:
            raise BadFormat("the qcow2 image is a disk of no bytes")
        _bounded(virtual_size)
        self._cluster = 1 << bits
        self._entry_bytes = 16 if features & _SUBCLUSTERS else 8
        self._check_extensions(header_bytes)
        guest_bytes_of_an_l1_entry = self._cluster * (self._cluster // self._entry_bytes)
        needed = -(-virtual_size // guest_bytes_of_an_l1_entry)
        if l1_entries * 8 > MOST_L1_BYTES:
            raise BadFormat(f"the qcow2 image says that its first table has {l1_entries} entries: {_CONVERT}")
        if l1_entries < needed:
            raise BadFormat(f"the qcow2 image has too few tables for its size ({l1_entries} of {needed}): {_CONVERT}")
        if refcount_clusters * self._cluster > MOST_REFCOUNT_BYTES:
            raise BadFormat(f"the qcow2 image says that {refcount_clusters} clusters count its uses: {_CONVERT}")
        if not refcount_clusters or not refcounts_at:
            raise BadFormat(f"the qcow2 image has no table of what is used: {_CONVERT}")
        self._check_clusters(l1_at, l1_entries, refcounts_at, refcount_clusters)
        return int(virtual_size)

    def _version(self) -> int:
        if len(self._head) < 72:
            raise BadFormat("the qcow2 header is cut short")
        (version,) = struct.unpack_from(">I", self._head, 4)
        if version not in (2, 3):
            raise BadFormat(f"qcow2 version {version} is not supported: {_CONVERT}")
        if version == 3 and len(self._head) < 104:
            raise BadFormat("the qcow2 header is cut short")
        return int(version)

    def _check_extensions(self, at: int) -> None:
        head, end = self._head, min(self._cluster, HEAD_BYTES)
        if at % 8 or not 72 <= at <= min(self._cluster, 4096):
            raise BadFormat(f"the qcow2 image says that its header has {at} bytes: {_CONVERT}")
        while at + 8 <= end:
            if at + 8 > len(head):
                raise BadFormat("the qcow2 header is cut short")
            kind, length = struct.unpack_from(">II", head, at)
            if not kind:
                return
            if kind in _EXTENSIONS:
                raise BadFormat(f"the qcow2 image {_EXTENSIONS[kind]}: {_FLATTEN}")
            if at + 8 + length > end:
                raise BadFormat(f"the qcow2 header is larger than its cluster: {_CONVERT}")
            at += 8 + -(-length // 8) * 8

    def _check_clusters(self, l1_at: int, l1_entries: int, refcounts_at: int, refcount_clusters: int) -> None:
        for block in self._table("table of uses", refcounts_at, refcount_clusters * self._cluster):
            for entry in block:
                if entry & ~511:
                    self._inside("count of uses", entry & ~511, self._cluster)
        tables: set[int] = set()  # many entries may lead to the same one
        for block in self._table("first table", l1_at, l1_entries * 8):
            tables.update(entry & _OFFSET for entry in block)
        tables.discard(0)
        for at in sorted(tables):
            for block in self._table("second table", at, self._cluster):
                self._check_entries(block[::2] if self._entry_bytes == 16 else block)

    def _check_entries(self, entries: array.array[int]) -> None:
        shift = 62 - (self._cluster.bit_length() - 1 - 8)
        for entry in entries:
            if entry & _COMPRESSED:
                self._inside("packed cluster", entry & ((1 << shift) - 1), 1)
            elif entry & _OFFSET:
                self._inside("cluster", entry & _OFFSET, 1)  # the last one may be shorter than a cluster

    def _table(self, what: str, at: int, length: int) -> Iterator[array.array[int]]:
        if at % self._cluster:
            raise BadFormat(f"the qcow2 image has a {what} at no cluster's beginning: {_CONVERT}")
        self._inside(what, at, length)
        while length:
            data = os.pread(self._file, min(length, 1 << 20), at)
            if len(data) % 8 or not data:
                raise self._cut(what)
            numbers = array.array("Q", data)
            if sys.byteorder == "little":
                numbers.byteswap()
            yield numbers
            at, length = at + len(data), length - len(data)

    def _inside(self, what: str, at: int, length: int) -> None:
        if at + length > self._size or at < self._cluster:
            raise self._cut(what)

    def _cut(self, what: str) -> BadFormat:
        return BadFormat(
            f"the qcow2 image is cut short or damaged: a {what} is not within its {self._size} bytes: upload it again"
        )


def _fence() -> None:
    """What this process may take from here on; nobody's rights where it had root's."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        resource.setrlimit(kind, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # the three that are open
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)


if __name__ == "__main__":
    _fence()
    answer: dict[str, int | str | None]
    try:
        answer = {"virtual_size": look(0, sys.argv[1])}
    except BadFormat as error:
        answer = {"refused": str(error)}
    print(json.dumps(answer))
