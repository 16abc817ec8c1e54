"""A volume host as the scheduler sees it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Drives:
    """One kind of drive on a host: sizes in GiB."""

    size_gb: int
    total: int
    used: int = 0
    qos: dict[str, str] = field(default_factory=dict)

    @property
    def free_gb(self) -> int:
        return (self.total - self.used) * self.size_gb


@dataclass(kw_only=True)
class StorageView:
    """`volumes_gb`: promised to volumes; `drives` by type, as VSA policies ask for them; `networks`: how many
    networks it serves, where it is a network host."""

    host: str
    alive: bool = True
    zone: str = "nova"
    total_gb: int = 0
    volumes_gb: int = 0
    drives: dict[str, Drives] = field(default_factory=dict)
    networks: int = 0


@dataclass(frozen=True, kw_only=True)
class VolumeRequest:
    """A volume of `size_gb`; of `drive_type` where it belongs to a virtual storage array."""

    size_gb: int
    zone: str | None = None
    forced_host: str | None = None
    drive_type: str = ""
    drives: int = 1


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    network_id: str
