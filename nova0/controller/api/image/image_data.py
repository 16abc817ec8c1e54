"""The bytes of an image: taken in and given out as streams, never held whole in memory."""

from __future__ import annotations

import re
from typing import Any

from nova0.controller.api import bodies, errors
from nova0.controller.api.errors import ApiError
from nova0.controller.api.image import views
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.image import books, storage
from nova0.controller.quota import images
from nova0.disk_image.layout import BadFormat

_UPLOADS = images.Uploads()
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@route("PUT", "/images/<image_id>/file", needs="member", success=204, raw=True)
def upload(request: Request, image_id: str) -> None:
    """The image is active when this answers; when it fails in any way it is queued as before."""
    if request.content_type != "application/octet-stream":
        request.environ["nova0.unread"] = True
        raise ApiError(415, "Image bytes are sent with Content-Type application/octet-stream.")
    length = bodies.declared_length(request.environ)
    if length is None and not bodies.is_chunked(request.environ):
        raise ApiError(411, "Image bytes need a Content-Length, or chunked transfer.")
    try:
        _receive(request, image_id, length)
    except BaseException:
        request.environ["nova0.unread"] = True  # the rest is not worth reading
        raise


def _receive(request: Request, image_id: str, length: int | None) -> None:
    def begin() -> ImageRow:
        row = request.store.read(lambda: views.own(request, image_id))
        if row.status != "queued":
            raise errors.conflict(f"Image status transition from {row.status} to saving is not allowed")
        if not row.disk_format or not row.container_format:
            raise errors.bad_request("Properties disk_format, container_format must be set prior to saving data.")
        return row

    def done(received: storage.Received) -> None:
        if not request.store.write(lambda: _activate(image_id, received)):
            raise ApiError(410, f"Image {image_id} was deleted while its bytes came.")

    row = begin()
    declared = row.disk_format or ""
    owner = row.owner or ""
    try:
        storage.receive(
            request.services.state_dir,
            image_id,
            _UPLOADS.watched(owner, request.stream(), lambda: request.store.read(lambda: images.room(owner)), length),
            declared,
            length,
            begin=begin,
            done=done,
        )
    except images.OverLimit as error:
        raise ApiError(413, str(error)) from None
    except storage.UploadBusy:
        raise errors.conflict(f"Image {image_id} is being uploaded by another request.") from None
    except storage.StorageFull as error:
        raise ApiError(413 if error.too_large else 507, str(error)) from None
    except BadFormat as error:
        raise errors.bad_request(f"Image {image_id} was refused: {error}.") from None


def _activate(image_id: str, received: storage.Received) -> bool:
    row = ImageRow.one("id", image_id)
    images.bytes_more((row.owner if row else None) or "", received.size)
    return books.activate(image_id, received)


@route("GET", "/images/<image_id>/file", needs="reader")
def download(request: Request, image_id: str) -> Answer:
    row = request.store.read(lambda: views.get(request, image_id))
    if row.status == "deactivated" and not request.context.is_admin:
        raise errors.forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if row.status not in ("active", "deactivated"):
        return Answer(None, status=204)
    size = row.size or 0
    start, stop, partial = _range(request.header("Range"), size)
    headers: dict[str, str] = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(stop - start),
        "Content-MD5": row.checksum or "",
        "Accept-Ranges": "bytes",
    }
    if partial:
        headers.pop("Content-MD5")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    try:
        blocks: Any = storage.send(request.services.state_dir, image_id, start, stop)
    except FileNotFoundError:
        raise ApiError(404, f"The bytes of image {image_id} are missing on this controller.") from None
    return Answer(blocks, status=206 if partial else 200, headers=headers)


def _range(header: str | None, size: int) -> tuple[int, int, bool]:
    """(start, stop, whether a part was asked for). ApiError 416 for a part that is not there."""
    found = _RANGE.fullmatch(header or "")
    if not found or not any(found.groups()):
        return 0, size, False
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if start >= stop:
        raise ApiError(416, f"Range {header} is not within {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, stop, True
