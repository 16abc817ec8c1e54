"""What is asked of the scheduler, for one server."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from nova0.controller.compute import flavors
from nova0.controller.db.compute_tables import ClaimRow, InstanceRow, ServerGroupRow
from nova0.controller.image import books as images
from nova0.controller.numbers import whole
from nova0.controller.scheduler.hints import as_list
from nova0.controller.scheduler.host_view import PCI, Taken
from nova0.objects.flavor import Flavor
from nova0.objects.image import ImageRef

_MOST = 2**31 - 1  # of anything a flavor asks for
_STANDARD = {"VCPU": "vcpus", "MEMORY_MB": "memory_mb", "DISK_GB": "disk_gb"}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The server group of a request. `placed_on`: hosts of its other members now."""

    policy: str
    members: frozenset[str]
    placed_on: frozenset[str] = frozenset()
    most_per_host: int = 1  # of an anti-affinity group

    def others(self, uuid: str) -> frozenset[str]:
        return self.members - {uuid}


class Request(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`forced_host` skips the filters (admin's zone:host); `wanted_host` does not (the field's requested
    destination); `tried` are hosts that failed this request before."""

    uuid: str
    project_id: str
    flavor: Flavor
    image: ImageRef | None = None
    zone: str | None = None
    cell: str = ""  # of a server that moves
    forced_host: str | None = None
    wanted_host: str | None = None
    tried: tuple[str, ...] = ()
    hints: dict[str, Any] = {}
    group: Group | None = None

    @classmethod
    def of(cls, row: InstanceRow, tried: tuple[str, ...] = ()) -> Request:
        """The request a server's row stands for. Inside a store closure."""
        return cls(
            uuid=row.uuid,
            project_id=row.project_id,
            flavor=flavors.of_server(row.flavor),
            image=images.of_server(row.image),
            zone=row.requested_zone,
            forced_host=row.forced_host,
            wanted_host=row.wanted_host,
            tried=tried,
            hints=row.scheduler_hints or {},
            group=group_of(row.uuid, row.scheduler_hints or {}),
        )

    @property
    def image_properties(self) -> dict[str, str]:
        return self.image.properties if self.image else {}

    @cached_property
    def takes(self) -> Taken:
        """What the server will hold on its host: the flavor's numbers, or what its `resources:` say instead."""
        return taken_by(self.flavor, self.image_properties)

    @cached_property
    def traits(self) -> tuple[frozenset[str], frozenset[str]]:
        """(required, forbidden) by the flavor and the image."""
        required: set[str] = set()
        forbidden: set[str] = set()
        for name, value in (*self.flavor.extra_specs.items(), *self.image_properties.items()):
            if name.startswith("trait:"):
                (forbidden if value.strip().lower() == "forbidden" else required).add(name.removeprefix("trait:"))
        return frozenset(required), frozenset(forbidden)


def taken_by(flavor: Flavor, image_properties: dict[str, str] | None = None) -> Taken:
    """What a server of this flavor takes on a host, with the flavor's `resources:CLASS=N` applied."""
    numbers = {"vcpus": flavor.vcpus, "memory_mb": flavor.memory_mb, "disk_gb": flavor.disk_gb}
    custom: dict[str, int] = {}
    for name, value in flavor.extra_specs.items():
        number = whole(value.strip(), most=_MOST) if name.startswith("resources:") else None
        if number is not None:
            resource = name.removeprefix("resources:")
            if resource in _STANDARD:
                numbers[_STANDARD[resource]] = number
            elif number:
                custom[resource] = number
    for alias, count in pci_devices(flavor).items():
        custom[PCI + alias] = custom.get(PCI + alias, 0) + count
    return Taken(**numbers, resources=custom, flavor_id=flavor.flavor_id, image=dict(image_properties or {}))


def pci_devices(flavor: Flavor) -> dict[str, int]:
    """Alias (upper case) -> devices asked for by `pci_passthrough:alias = gpu:1, nic:2`."""
    found: dict[str, int] = {}
    for part in flavor.extra_specs.get("pci_passthrough:alias", "").split(","):
        alias, colon, number = part.strip().upper().rpartition(":")
        if colon:
            count = whole(number, most=_MOST)
            found[alias] = found.get(alias, 0) + (1 if count is None else count)
        elif number:
            found[number] = found.get(number, 0) + 1
    return found


def group_of(uuid: str, hints: dict[str, Any]) -> Group | None:
    """The server group a hint names, with where its other members are. Inside a store closure."""
    asked = "".join(as_list(hints.get("group"))[:1])
    found = ServerGroupRow.get_or_none(ServerGroupRow.uuid == asked) if asked else None
    if found is None:
        return None
    others = [member for member in found.members if member != uuid]
    claims = ClaimRow.select(ClaimRow.host).where(ClaimRow.instance_uuid.in_(others))
    return Group(
        policy=found.policy,
        members=frozenset(found.members),
        placed_on=frozenset(claim.host for claim in claims),
        most_per_host=int((found.rules or {}).get("max_server_per_host", 1)),
    )
