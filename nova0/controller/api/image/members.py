"""Who a shared image is shared with; the project it is offered to decides whether to see it in lists."""

from __future__ import annotations

from typing import Any

import peewee

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.image import views
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.api.times import iso_z
from nova0.controller.db.base_table import now
from nova0.controller.db.image_tables import ImageMemberRow

MEMBERS_MOST = 128
_ADD = v.obj({"member": v.NAME}, ["member"])
_DECIDE = v.obj({"status": {"enum": ["pending", "accepted", "rejected"]}}, ["status"])


def view(row: ImageMemberRow) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "member_id": row.member_id,
        "status": row.status,
        "created_at": iso_z(row.created_at),
        "updated_at": iso_z(row.updated_at),
        "schema": "/v2/schemas/member",
    }


def _owned_shared(request: Request, image_id: str) -> None:
    if views.own(request, image_id).visibility != "shared":
        raise errors.forbidden("Only shared images have members.")


def _get(request: Request, image_id: str, member_id: str) -> ImageMemberRow:
    """Its owner sees every member, a member itself."""
    image = views.get(request, image_id)
    allowed = request.context.can_see(image.owner or "") or member_id == request.context.project_id
    row = ImageMemberRow.get_or_none(image_id=image_id, member_id=member_id)
    if row is None or not allowed:
        raise errors.ApiError(404, f"{member_id} not found in the member list of the image {image_id}.")
    return row


@route("GET", "/images/<image_id>/members", needs="reader")
def index(request: Request, image_id: str) -> dict[str, Any]:
    def closure() -> list[ImageMemberRow]:
        image = views.get(request, image_id)
        if image.visibility != "shared":
            raise errors.forbidden("Only shared images have members.")
        rows = ImageMemberRow.select().where(ImageMemberRow.image_id == image_id).order_by(ImageMemberRow.created_at)
        if not request.context.can_see(image.owner or ""):
            rows = rows.where(ImageMemberRow.member_id == request.context.project_id)
        return list(rows)

    return {"members": [view(row) for row in request.store.read(closure)], "schema": "/v2/schemas/members"}


@route("GET", "/images/<image_id>/members/<member_id>", needs="reader")
def show(request: Request, image_id: str, member_id: str) -> dict[str, Any]:
    return view(request.store.read(lambda: _get(request, image_id, member_id)))


@route("POST", "/images/<image_id>/members", needs="member", body=_ADD)
def add(request: Request, image_id: str) -> dict[str, Any]:
    member_id = request.body["member"]

    def closure() -> ImageMemberRow:
        _owned_shared(request, image_id)
        if ImageMemberRow.select().where(ImageMemberRow.image_id == image_id).count() >= MEMBERS_MOST:
            raise errors.ApiError(413, f"The limit of {MEMBERS_MOST} members of an image is reached.")
        try:
            ImageMemberRow.insert(image_id=image_id, member_id=member_id).execute()
        except peewee.IntegrityError:
            raise errors.conflict(f"Member {member_id} is duplicated for image {image_id}") from None
        return ImageMemberRow.get(image_id=image_id, member_id=member_id)

    return view(request.store.write(closure))


@route("PUT", "/images/<image_id>/members/<member_id>", needs="member", body=_DECIDE)
def decide(request: Request, image_id: str, member_id: str) -> dict[str, Any]:
    """The member's word, not the owner's."""

    def closure() -> ImageMemberRow:
        row = _get(request, image_id, member_id)
        if member_id != request.context.project_id and not request.context.is_admin:
            raise errors.forbidden("Only the member itself accepts or rejects an image.")
        table = ImageMemberRow
        table.update(status=request.body["status"], updated_at=now()).where(
            table.image_id == image_id, table.member_id == member_id
        ).execute()
        row.status = request.body["status"]
        return row

    return view(request.store.write(closure))


@route("DELETE", "/images/<image_id>/members/<member_id>", needs="member", success=204)
def remove(request: Request, image_id: str, member_id: str) -> None:
    def closure() -> None:
        _owned_shared(request, image_id)
        _get(request, image_id, member_id)
        table = ImageMemberRow
        table.delete().where(table.image_id == image_id, table.member_id == member_id).execute()

    request.store.write(closure)
