"""How a host gets image bytes: by streams, from the controller and from hosts that have them verified."""

from __future__ import annotations

from typing import Annotated

from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.surface import CONTROLLER, HOST, LONG, NORMAL, SHORT, Surface, call
from nova0.objects.fields import HostName, PathPart, Size
from nova0.objects.image import ImageHolders, ImageRef

PIECE = 1024 * 1024  # bytes `read` gives at most


class ImagesAPI(Surface):
    topic = "images"
    served_by = CONTROLLER

    @call(timeout=SHORT, allow=HOST, repeatable=True)
    def stat(self, image_id: PathPart) -> ImageRef:  # type: ignore[empty-body]
        """The image as it is now. Raises ImageUnusable when it is not active."""

    @call(timeout=LONG, allow=HOST, repeatable=True)
    def holders(self, image_id: PathPart) -> ImageHolders:  # type: ignore[empty-body]
        """Who to fetch it from, and the digest that proves each block. Only for images of instances placed
        on the calling host. The first time for an image it is hashed: a second for each GB or so."""

    @call(timeout=LONG, allow=HOST, repeatable=True)
    def ticket(self, image_id: PathPart, holder: HostName) -> Ticket:  # type: ignore[empty-body]
        """Leave for the calling node to fetch it from that one of its holders. Raises ImageUnusable where it
        is not there (any more, or not yet whole), Unreachable."""

    @call(timeout=NORMAL, allow=HOST, repeatable=True)
    def read(self, image_id: PathPart, offset: Annotated[Size, "bytes"], length: Annotated[Size, "bytes"]) -> bytes:  # type: ignore[empty-body]
        """Bytes [offset, offset+length), fewer only at the end; `length` at most PIECE. Only for
        images of instances placed on the calling host. What hosts of protocol 1 fetch by."""
