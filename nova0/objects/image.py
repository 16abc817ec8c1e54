"""What a host needs to know of an image; the bytes come as `ImagesAPI.holders` says."""

from __future__ import annotations

import msgspec

from nova0.objects.fields import HostName, Name, PathPart, Sha512, Size, Text, Word


class ImageRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An active image. `sha512` (hex) and `size` (bytes) are checked before its first use on a host."""

    id: PathPart
    name: Name
    size: Size
    sha512: Sha512
    disk_format: Word  # raw, qcow2
    container_format: Word = "bare"
    min_disk_gb: Size = 0
    min_ram_mb: Size = 0
    properties: dict[Name, Text] = {}  # hw_*, img_*, kernel_id, ramdisk_id, os_* ...
    kernel: ImageRef | None = None  # resolved from properties kernel_id / ramdisk_id
    ramdisk: ImageRef | None = None


class ImageHolders(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image's bytes can be had. `digest`: of `mesh.streams.files`, over `size` bytes."""

    size: Size
    digest: bytes
    holders: list[HostName]  # hosts; the controller's own first
