"""What a host needs to know of an image; the bytes come as `ImagesAPI.holders` says."""

from __future__ import annotations

import msgspec


class ImageRef(msgspec.Struct, frozen=True, kw_only=True):
    """An active image. `sha512` (hex) and `size` (bytes) are checked before its first use on a host."""

    id: str
    name: str
    size: int
    sha512: str
    disk_format: str  # raw, qcow2
    container_format: str = "bare"
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    properties: dict[str, str] = {}  # hw_*, img_*, kernel_id, ramdisk_id, os_* ...
    kernel: ImageRef | None = None  # resolved from properties kernel_id / ramdisk_id
    ramdisk: ImageRef | None = None


class ImageHolders(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image's bytes can be had. `digest`: of `mesh.streams.files`, over `size` bytes."""

    size: int
    digest: bytes
    holders: list[str]  # hosts; the controller's own first
