"""How a host gets image bytes from a controller."""

from __future__ import annotations

from typing import Annotated

from nova0.mesh.surface import HOST, NORMAL, SHORT, Surface, call
from nova0.objects.image import ImageRef

PIECE = 1024 * 1024  # bytes asked for at a time


class ImagesAPI(Surface):
    topic = "images"

    @call(timeout=SHORT, allow=HOST, repeatable=True)
    def stat(self, image_id: str) -> ImageRef:  # type: ignore[empty-body]
        """The image as it is now. Raises ImageUnusable when it is not active."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def read(self, image_id: str, offset: Annotated[int, "bytes"], length: Annotated[int, "bytes"]) -> bytes:  # type: ignore[empty-body]
        """Bytes [offset, offset+length), fewer only at the end; `length` at most PIECE. Only for
        images of instances placed on the calling host."""
