"""Images: made, listed, shown, deleted. Their bytes have a file of their own (image_data.py)."""

from __future__ import annotations

import uuid
from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.image import fields, search, views
from nova0.controller.api.image.limited import limited
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.image_tables import ImageMemberRow, ImageRow
from nova0.controller.image import storage
from nova0.controller.quota import images
from nova0.native import offload


@route("POST", "/images", needs="member", success=201)
def create(request: Request) -> Answer:
    body = request.body
    if not isinstance(body, dict):
        raise errors.bad_request("The body must be a JSON object: the image's attributes.")
    wanted = dict(body)
    owner = request.context.project_id if request.context.is_admin and wanted.get("owner") else request.project_id
    image_id = wanted.pop("id", None) or str(uuid.uuid4())
    _check_id(image_id)
    given = {name: value for name, value in wanted.items() if name not in fields.CHECKS}
    if len(given) > fields.PROPERTIES_AT_ONCE:
        raise errors.ApiError(413, f"One request sets at most {fields.PROPERTIES_AT_ONCE} properties of an image.")

    def closure() -> dict[str, Any]:
        if ImageRow.get_or_none(ImageRow.id == image_id) is not None:
            raise errors.conflict(f"Image ID {image_id} already exists!")
        row = ImageRow(id=image_id, owner=owner, properties={}, tags=[])
        with limited():  # before each is looked at
            images.properties(owner or "", {}, given)
        for name, value in wanted.items():
            fields.set_field(request, row, name, value)
        with limited():
            images.one_more(row.owner or "")
            images.properties(row.owner or "", {}, row.properties)
        row.save(force_insert=True)
        return views.view(row)

    made = request.store.write(closure)
    return Answer(made, headers={"Location": f"{request.prefix}/images/{image_id}"})


def _check_id(image_id: Any) -> None:
    try:
        if str(uuid.UUID(image_id)) != image_id:
            raise ValueError
    except (ValueError, AttributeError, TypeError):
        raise errors.bad_request(f"id: {str(image_id)[:80]} is not a UUID such as {uuid.uuid4()}.") from None


@route("GET", "/images", needs="reader", query_open=True)
def index(request: Request) -> dict[str, Any]:
    return search.page(request)


@route("GET", "/images/<image_id>", needs="reader")
def show(request: Request, image_id: str) -> dict[str, Any]:
    return request.store.read(lambda: views.view(views.get(request, image_id)))


@route("DELETE", "/images/<image_id>", needs="member", success=204)
def delete(request: Request, image_id: str) -> None:
    def closure() -> None:
        row = views.own(request, image_id)
        if row.protected:
            raise errors.forbidden(f"Image {image_id} is protected and cannot be deleted.")
        row.status, row.deleted_at, row.updated_at = "deleted", now(), now()
        row.properties, row.tags = {}, []
        row.save()
        ImageMemberRow.delete().where(ImageMemberRow.image_id == image_id).execute()

    request.store.write(closure)
    offload(storage.remove, request.services.state_dir, image_id)
