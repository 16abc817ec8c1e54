"""The image a boot asks for, as the copy the server keeps. Runs inside a transaction of the store."""

from __future__ import annotations

from nova0.controller.compute.refusals import BadRequest
from nova0.controller.context import RequestContext
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow
from nova0.controller.image import books
from nova0.objects.image import ImageRef

_GIVEN_ON = ("kernel_id", "ramdisk_id")


def ref(image_id: str, context: RequestContext) -> ImageRef:
    """An active image the caller may use, with its kernel and ramdisk. Raises BadRequest in the field's words."""
    row = find(image_id, context)
    if row is None:
        raise BadRequest(f"Can not find requested image: {image_id}")
    if row.status != "active":
        raise BadRequest(f"Image {image_id} is not active.")
    for name in _GIVEN_ON:
        part = row.properties.get(name)
        if part and part != "nokernel" and find(str(part), context) is None:
            raise BadRequest(f"Can not find requested image: {part}")
    found = books.ref(image_id)
    assert found is not None  # active, as just seen in this transaction
    return found


def disk_bytes(image_id: str) -> int:
    """How large a disk the image needs: what a guest sees of it, or its bytes where that is not known."""
    row = ImageRow.get_by_id(image_id)
    return max(row.size or 0, row.virtual_size or 0)


def find(image_id: str, context: RequestContext) -> ImageRow | None:
    """An image that exists and is shown to the caller: its own, public, community or shared with its project."""
    row = ImageRow.one("id", image_id)
    if row is None or row.deleted_at is not None:
        return None
    if context.can_see(row.owner or "") or row.visibility in ("public", "community"):
        return row
    if row.visibility == "shared":
        member = ImageMemberRow.get_or_none(
            ImageMemberRow.image_id == row.id, ImageMemberRow.member_id == context.project_id
        )
        return row if member is not None else None
    return None


def visible(context: RequestContext) -> list[ImageRow]:
    """All images a list shows the caller."""
    mine = ImageRow.owner == context.project_id
    query = ImageRow.select().where(ImageRow.deleted_at.is_null(), ~ImageRow.hidden)
    if not context.is_admin:
        accepted = ImageMemberRow.select(ImageMemberRow.image_id).where(
            ImageMemberRow.member_id == context.project_id, ImageMemberRow.status == "accepted"
        )
        query = query.where(mine | (ImageRow.visibility == "public") | ImageRow.id.in_(accepted))
    return list(query)
