"""What is asked of the scheduler, for one server."""

from __future__ import annotations

from typing import Any

import msgspec

from nova0.controller.db.compute_tables import ClaimRow, InstanceRow, ServerGroupRow
from nova0.objects.flavor import Flavor
from nova0.objects.image import ImageRef


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The server group of a request. `placed_on`: hosts of its other members now."""

    policy: str
    members: frozenset[str]
    placed_on: frozenset[str] = frozenset()
    most_per_host: int = 1  # of an anti-affinity group

    def others(self, uuid: str) -> frozenset[str]:
        return self.members - {uuid}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`forced_host` skips the filters (admin's zone:host); `ignore` are hosts already tried."""

    uuid: str
    project_id: str
    flavor: Flavor
    image: ImageRef | None = None
    zone: str | None = None
    forced_host: str | None = None
    ignore: tuple[str, ...] = ()
    hints: dict[str, Any] = {}
    group: Group | None = None

    @classmethod
    def of(cls, row: InstanceRow, ignore: tuple[str, ...] = ()) -> Request:
        """The request a server's row stands for. Inside a store closure."""
        return cls(
            uuid=row.uuid,
            project_id=row.project_id,
            flavor=msgspec.convert(row.flavor, Flavor),
            image=msgspec.convert(row.image, ImageRef) if row.image else None,
            zone=row.requested_zone,
            forced_host=row.forced_host,
            ignore=ignore,
            hints=row.scheduler_hints or {},
            group=_group(row),
        )


def _group(row: InstanceRow) -> Group | None:
    asked = (row.scheduler_hints or {}).get("group")
    found = ServerGroupRow.get_or_none(ServerGroupRow.uuid == str(asked)) if asked else None
    if found is None:
        return None
    others = [member for member in found.members if member != row.uuid]
    claims = ClaimRow.select(ClaimRow.host).where(ClaimRow.instance_uuid.in_(others))
    return Group(
        policy=found.policy,
        members=frozenset(found.members),
        placed_on=frozenset(claim.host for claim in claims),
        most_per_host=int((found.rules or {}).get("max_server_per_host", 1)),
    )
