"""The size of a server."""

from __future__ import annotations

from typing import Annotated

import msgspec

from nova0.objects.fields import Count, Free, Name, Short


class Flavor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`flavor_id` is the user's id (free text), units are the field's: MiB, GiB, MiB swap."""

    flavor_id: Name
    name: Name
    vcpus: Count
    memory_mb: Count
    root_gb: Count
    ephemeral_gb: Count = 0
    swap_mb: Count = 0
    rxtx_factor: Annotated[float, msgspec.Meta(ge=0, le=3.5e38)] = 1.0
    is_public: bool = True
    disabled: bool = False
    description: Free | None = None
    extra_specs: dict[Short, Free] = {}  # for the scheduler; nothing on a host is made of them

    @property
    def disk_gb(self) -> int:
        """Disk a host must find: root + ephemeral + swap, in whole GiB (swap rounded up)."""
        return self.root_gb + self.ephemeral_gb + -(-self.swap_mb // 1024)
