"""Image bytes for hosts: from here, and from hosts that have fetched them before."""

from __future__ import annotations

import random

from nova0.controller.assembly import Controller
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.image import books as images
from nova0.mesh.errors import BadArguments, NotAllowed
from nova0.mesh.streams.contents import Contents
from nova0.mesh.streams.files import Files
from nova0.mesh.streams.tickets import Ticket
from nova0.native import offload
from nova0.objects.errors import ImageUnusable
from nova0.objects.image import ImageHolders, ImageRef
from nova0.rpcapi.compute import ComputeAPI
from nova0.rpcapi.images import PIECE, ImagesAPI

OTHERS = 3  # hosts named as holders besides the controller; more make nothing faster
TICKET_S = 60.0


class ImagesAgent(ImagesAPI):
    """A host reads only images of servers placed on it."""

    def __init__(self, controller: Controller) -> None:
        self.controller, self.store = controller, controller.store
        self.files = Files(controller.bus)
        self._allowed: set[tuple[str, str]] = set()

    def stat(self, image_id: str) -> ImageRef:
        self._check(image_id)
        found = self.store.read(lambda: images.ref(image_id))
        if found is None:
            raise ImageUnusable(f"image {image_id} is not active: see `openstack image show {image_id}`")
        return found

    def holders(self, image_id: str) -> ImageHolders:
        self._check(image_id)
        me, asker = self.controller.bus.host, self.controller.bus.caller().host
        known = self._contents(image_id)
        # whoever was let to it since this controller started has it, or soon will; it says so itself
        others = [host for host, image in self._allowed if image == image_id and host not in (me, asker)]
        some = random.sample(others, min(OTHERS, len(others)))
        return ImageHolders(size=known.size, digest=known.digest, holders=[me, *some])

    def ticket(self, image_id: str, holder: str) -> Ticket:
        self._check(image_id)
        bus = self.controller.bus
        node = bus.caller().node
        if holder == bus.host:
            path = images.path(self.controller.services.state_dir, image_id)
            return self.files.offer(path, peer=node, expires_s=TICKET_S).ticket
        if (holder, image_id) not in self._allowed or holder == bus.caller().host:
            raise ImageUnusable(f"{holder} never fetched image {image_id}, or asks for its own")
        given = bus.stub(ComputeAPI, holder).offer_image(image_id, self._contents(image_id).digest, node)
        given.check_of(holder)
        return given

    def _contents(self, image_id: str) -> Contents:
        try:
            return self.files.contents(images.path(self.controller.services.state_dir, image_id))
        except OSError as error:
            raise ImageUnusable(
                f"image {image_id}: its file on {self.controller.bus.host}: {error.strerror}: upload it again"
            ) from error

    def read(self, image_id: str, offset: int, length: int) -> bytes:
        if not 0 < length <= PIECE or offset < 0:
            raise BadArguments(f"length must be 1..{PIECE} and offset not negative", field="length")
        self._check(image_id)
        return offload(images.read, self.controller.services.state_dir, image_id, offset, length)

    def _check(self, image_id: str) -> None:
        host = self.controller.bus.caller().host
        if (host, image_id) in self._allowed:
            return

        def closure() -> bool:
            for row in InstanceRow.select(InstanceRow.image).where(
                InstanceRow.host == host, InstanceRow.deleted_at.is_null(), InstanceRow.image.is_null(False)
            ):
                parts = [row.image, row.image.get("kernel") or {}, row.image.get("ramdisk") or {}]
                if any(part.get("id") == image_id for part in parts):
                    return True
            return False

        if not self.store.read(closure):
            raise NotAllowed(f"{host} has no server made from image {image_id}")
        self._allowed.add((host, image_id))  # pieces come by the thousand; a host keeps what it may have
