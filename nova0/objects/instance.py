"""A server as it travels to a host: everything needed to make and describe it, nothing of the store."""

from __future__ import annotations

import msgspec

from nova0.objects.fields import Count, Generation, GuestName, Instant, Name, Text, Uuid, Word
from nova0.objects.flavor import Flavor
from nova0.objects.image import ImageRef
from nova0.objects.network import Port


class Keypair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    name: Name
    public_key: Text
    type: Word = "ssh"


class Instance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`generation` grows with each decision that moves or ends it; a host refuses lower ones (Stale)."""

    uuid: Uuid
    generation: Generation
    name: Name
    hostname: GuestName
    project_id: Name
    user_id: Name
    flavor: Flavor
    image: ImageRef | None
    ports: tuple[Port, ...] = ()
    keypair: Keypair | None = None
    user_data: Text | None = None  # base64 as the user sent it
    config_drive: bool = False
    metadata: dict[str, str] = {}
    admin_password: str | None = None
    availability_zone: Name = "nova"
    launch_index: Count = 0
    reservation_id: Word = ""
    created_at: Instant = 0.0  # seconds since the epoch, for show
    number: Generation = 0  # the store's integer id: EC2 ids and instance-%08x names come from it
    cluster_id: Word = ""

    @property
    def domain_name(self) -> str:
        """Name of its guest in a hypervisor: instance-0000002a."""
        return f"instance-{self.number:08x}"
