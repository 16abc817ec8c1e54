"""A member uploads images whose tables lie: 2 EiB, encrypted, endless tables, many snapshots, cut short, an ISO."""

import struct

BEFORE = "all were taken, 204, and became active"
NEEDS = ()


def _qcow2(size=1 << 30, method=0, l1_entries=2, snapshots=0, keep=4 << 16):
    cluster = 1 << 16
    head = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, size, method, l1_entries, 3 * cluster, cluster, 1, snapshots,
        0, 0, 0, 0, 4, 104,
    )  # fmt: skip
    parts = (head, struct.pack(">Q", 2 * cluster), b"\0\1\0\1\0\1\0\1", b"")
    return b"".join(part.ljust(cluster, b"\0") for part in parts)[:keep]


def attack(world):
    cloud = world.cloud(hosts=1)
    tries = {
        "2 EiB": ("qcow2", _qcow2(size=2 << 60)),
        "encrypted": ("qcow2", _qcow2(method=2)),
        "endless table": ("qcow2", _qcow2(l1_entries=0x7FFFFFFF)),
        "million snapshots": ("qcow2", _qcow2(snapshots=1_000_000)),
        "cut short": ("qcow2", _qcow2(keep=200)),
        "ISO as raw": ("raw", bytes(0x8001) + b"CD001" + bytes(4096)),
        "LUKS as raw": ("raw", b"LUKS\xba\xbe" + bytes(4096)),
        "sound": ("qcow2", _qcow2()),
    }
    said = {}
    for what, (disk_format, data) in tries.items():
        wanted = {"name": what, "disk_format": disk_format, "container_format": "bare"}
        image = cloud.session.post(f"{cloud.url}/image/v2/images", json=wanted, timeout=30).json()["id"]
        answer = cloud.session.put(
            f"{cloud.url}/image/v2/images/{image}/file",
            data=data,
            headers={"Content-Type": "application/octet-stream"},
            timeout=200,
        )
        said[what] = answer.status_code
    return said == {what: 204 if what == "sound" else 400 for what in tries}, f"{said}"
