"""The size of a server."""

from __future__ import annotations

import msgspec


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    """`flavor_id` is the user's id (free text), units are the field's: MiB, GiB, MiB swap."""

    flavor_id: str
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: dict[str, str] = {}

    @property
    def disk_gb(self) -> int:
        """Disk a host must find: root + ephemeral + swap, in whole GiB (swap rounded up)."""
        return self.root_gb + self.ephemeral_gb + -(-self.swap_mb // 1024)
