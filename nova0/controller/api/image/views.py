"""An image as the API shows it, and which images a caller may see."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.request import Request
from nova0.controller.api.times import iso_z
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow

# What the service itself knows of an image; everything else at its top level is a property of the user's.
READ_ONLY = frozenset(
    {"id", "status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at",
     "self", "file", "schema", "direct_url", "stores"}
)  # fmt: skip
BASE = READ_ONLY | frozenset(
    {"name", "visibility", "owner", "protected", "os_hidden", "disk_format", "container_format", "min_disk",
     "min_ram", "tags", "locations"}
)  # fmt: skip


def view(row: ImageRow) -> dict[str, Any]:
    properties = {key: value for key, value in row.properties.items() if key not in BASE}
    return properties | {
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "visibility": row.visibility,
        "owner": row.owner,
        "protected": row.protected,
        "os_hidden": row.hidden,
        "disk_format": row.disk_format,
        "container_format": row.container_format,
        "size": row.size,
        "virtual_size": row.virtual_size,
        "checksum": row.checksum,
        "os_hash_algo": "sha512" if row.sha512 else None,
        "os_hash_value": row.sha512,
        "min_disk": row.min_disk,
        "min_ram": row.min_ram,
        "tags": row.tags,
        "created_at": iso_z(row.created_at),
        "updated_at": iso_z(row.updated_at),
        "self": f"/v2/images/{row.id}",
        "file": f"/v2/images/{row.id}/file",
        "schema": "/v2/schemas/image",
    }


def length(row: ImageRow) -> int:
    """Bytes of what is shown of it, about."""
    return 1000 + sum(len(name) + len(str(value)) for name, value in row.properties.items()) + sum(map(len, row.tags))


def get(request: Request, image_id: str) -> ImageRow:
    """Inside a store closure: an image the caller may see by its id. ApiError 404."""
    row = ImageRow.get_or_none(ImageRow.id == image_id, ImageRow.deleted_at.is_null())
    if row is None or not _may_see(request, row):
        raise errors.ApiError(404, f"No image found with ID {image_id}")
    return row


def _may_see(request: Request, row: ImageRow) -> bool:
    if request.context.can_see(row.owner or "") or row.visibility in ("public", "community"):
        return True
    if row.visibility != "shared":
        return False
    project_id = request.context.project_id
    return (
        ImageMemberRow.get_or_none(ImageMemberRow.image_id == row.id, ImageMemberRow.member_id == project_id)
        is not None
    )


def own(request: Request, image_id: str) -> ImageRow:
    """Inside a store closure: an image the caller may change. ApiError 404, 403."""
    row = get(request, image_id)
    if not request.context.can_see(row.owner or ""):
        raise errors.forbidden("You are not permitted to modify this image: it belongs to another project.")
    return row
