"""The image books as the conductor, hosts and `nova0 up` use them: what an image is, and its bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from nova0.controller.db.base_table import new_id, now
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.db.store import Store
from nova0.controller.image import storage
from nova0.controller.image.storage import path, read
from nova0.objects import fields
from nova0.objects.image import ImageRef

__all__ = ["activate", "of_server", "path", "read", "ref", "register_file"]


def ref(image_id: str) -> ImageRef | None:
    """Inside a store closure: an image as hosts know it, with kernel and ramdisk; None when it is not active."""
    row = ImageRow.one("id", image_id)
    return _ref(row) if row is not None and row.status == "active" and row.deleted_at is None else None


def _ref(row: ImageRow, *, with_parts: bool = True) -> ImageRef:
    properties = {key: str(value) for key, value in row.properties.items() if value is not None}
    parts: dict[str, ImageRef] = {}
    for part in ("kernel", "ramdisk") if with_parts else ():
        part_id = properties.get(f"{part}_id")
        found = ImageRow.get_or_none(ImageRow.id == part_id, ImageRow.status == "active") if part_id else None
        if found is not None:
            parts[part] = _ref(found, with_parts=False)
    return ImageRef(
        id=row.id,
        name=fields.name(row.name or ""),
        size=row.size or 0,
        sha512=row.sha512 or "",
        disk_format=row.disk_format or "raw",
        container_format=row.container_format or "bare",
        min_disk_gb=row.min_disk,
        min_ram_mb=row.min_ram,
        properties=_fitting(properties),
        **parts,
    )


def of_server(image: dict[str, Any] | None) -> ImageRef | None:
    """The image as a server's row has it. What an earlier version took as a name or property and hosts do not is
    made to fit. Raises msgspec.ValidationError."""
    if not image:
        return None
    kept = {**image, "name": fields.name(str(image.get("name") or "")), "properties": image.get("properties") or {}}
    if isinstance(kept["properties"], dict):
        kept["properties"] = _fitting(kept["properties"])
    parts = {part: of_server(image[part]) for part in ("kernel", "ramdisk") if isinstance(image.get(part), dict)}
    return msgspec.structs.replace(msgspec.convert(kept, ImageRef), **parts)


def _fitting(properties: dict[str, Any]) -> dict[str, Any]:
    """Those in whose names and values a host would find no control characters."""
    return {
        key: value
        for key, value in properties.items()
        if not fields.holds_control(key) and not fields.holds_control(re.sub(r"[\t\r\n]", "", str(value)))
    }


def activate(image_id: str, received: storage.Received) -> bool:
    """Inside a store closure: the bytes are there. False when the image was deleted, or got its bytes, meanwhile."""
    return (
        ImageRow.update(
            status="active",
            size=received.size,
            virtual_size=received.virtual_size,
            checksum=received.md5,
            sha512=received.sha512,
            updated_at=now(),
        )
        .where(ImageRow.id == image_id, ImageRow.status == "queued", ImageRow.deleted_at.is_null())
        .execute()
        == 1
    )


def register_file(
    store: Store,
    state_dir: Path,
    *,
    name: str,
    path: Path,
    disk_format: str,
    container_format: str = "bare",
    properties: dict[str, Any] | None = None,
    visibility: str = "public",
    owner: str | None = None,
    min_disk_gb: int = 0,
    min_ram_mb: int = 0,
) -> str:
    """Make an active image from a file on this machine; returns its id. Raises as storage.receive does, and OSError."""
    image_id = new_id()

    def done(received: storage.Received) -> None:
        def closure() -> None:
            ImageRow.create(
                id=image_id,
                name=name,
                visibility=visibility,
                owner=owner,
                disk_format=disk_format,
                container_format=container_format,
                min_disk=min_disk_gb,
                min_ram=min_ram_mb,
                properties=properties or {},
            )
            activate(image_id, received)

        store.write(closure)

    with open(path, "rb") as file:
        blocks = iter(lambda: file.read(1024 * 1024), b"")
        length = path.stat().st_size
        storage.receive(state_dir, image_id, blocks, disk_format, length, begin=lambda: None, done=done)
    return image_id
