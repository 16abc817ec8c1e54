"""Files of disk images for tests: a sound qcow2, and its header's fields changed."""

from __future__ import annotations

import struct

CLUSTER = 1 << 16
FIELDS = {  # name -> (offset in the header, form)
    "version": (4, ">I"),
    "backing": (8, ">Q"),
    "cluster_bits": (20, ">I"),
    "size": (24, ">Q"),
    "method": (32, ">I"),
    "l1_entries": (36, ">I"),
    "l1_at": (40, ">Q"),
    "refcounts_at": (48, ">Q"),
    "refcount_clusters": (56, ">I"),
    "snapshots": (60, ">I"),
    "incompatible": (72, ">Q"),
    "header_bytes": (100, ">I"),
    "extension": (104, ">Q"),  # kind and length of the first one
}


def qcow2(size: int = 1 << 30, l1: tuple[int, ...] = (), l2: tuple[int, ...] = (), **changed: int) -> bytes:
    """Header, table and block of uses, first table (entry 0 leads to the second one when `l2` is given), second table,
    a cluster of data; `changed` are fields of the header."""
    entries = min(max(-(-size // (CLUSTER * CLUSTER // 8)), 1), 2**32 - 1)
    head = bytearray(CLUSTER)
    usual = {
        "version": 3, "cluster_bits": 16, "size": size, "l1_entries": entries, "l1_at": 3 * CLUSTER,
        "refcounts_at": CLUSTER, "refcount_clusters": 1, "header_bytes": 104,
    }  # fmt: skip
    head[:4] = b"QFI\xfb"
    head[96:100] = struct.pack(">I", 4)
    for name, value in {**usual, **changed}.items():
        offset, form = FIELDS[name]
        struct.pack_into(form, head, offset, value)
    first = l1 or ((4 * CLUSTER | 1 << 63,) if l2 else ())
    parts = (
        bytes(head),
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">6H", 1, 1, 1, 1, 1, 1),
        struct.pack(f">{len(first)}Q", *first),
        struct.pack(f">{len(l2)}Q", *l2),
        b"data",
    )
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)
