"""The book of server groups. A group's members are those of its servers that still exist.

All functions run inside a transaction of the store.
"""

from __future__ import annotations

from typing import Any

from nova0.controller.compute.refusals import BadRequest, NotFound
from nova0.controller.context import RequestContext
from nova0.controller.db.compute_tables import InstanceRow, ServerGroupRow
from nova0.controller.quota import check

POLICIES = ("anti-affinity", "affinity")
SOFT_POLICIES = ("soft-anti-affinity", "soft-affinity")


def create(context: RequestContext, name: str, policy: str, rules: dict[str, Any]) -> ServerGroupRow:
    check.server_groups(context.project_id)
    return ServerGroupRow.create(
        name=name, project_id=context.project_id, user_id=context.user_id, policy=policy, rules=rules
    )


def get(group_id: str, context: RequestContext) -> ServerGroupRow:
    row = ServerGroupRow.get_or_none(ServerGroupRow.uuid == group_id)
    if row is None or not context.can_see(row.project_id):
        raise NotFound(f"Instance group {group_id} could not be found.")
    return row


def listed(context: RequestContext, *, all_projects: bool, offset: int, limit: int) -> list[ServerGroupRow]:
    query = ServerGroupRow.select().order_by(ServerGroupRow.id)
    if not (all_projects and context.is_admin):
        query = query.where(ServerGroupRow.project_id == context.project_id)
    return list(query.offset(offset).limit(limit))


def living(members: list[str]) -> list[str]:
    """Those of the uuids that are servers still, in the group's order."""
    if not members:
        return []
    rows = InstanceRow.select(InstanceRow.uuid).where(InstanceRow.uuid.in_(members), InstanceRow.deleted_at.is_null())
    alive = {row.uuid for row in rows}
    return [member for member in members if member in alive]


def of_hint(hint: Any, context: RequestContext) -> ServerGroupRow | None:
    """The group a boot asks for by the scheduler hint `group`. Raises BadRequest when there is none such."""
    if hint is None:
        return None
    row = ServerGroupRow.get_or_none(ServerGroupRow.uuid == str(hint))
    if row is None or not context.can_see(row.project_id):
        raise BadRequest(f"Instance group {hint} could not be found.")
    return row


def add(row: ServerGroupRow, uuids: list[str]) -> None:
    """Put new servers into the group; over the quota of members is refused."""
    members = living(row.members)
    check.group_members(row.project_id, len(members), len(uuids))
    row.members = [*members, *uuids]
    row.save()


def of_server(uuid: str) -> str | None:
    """The group a server is in, or None."""
    for row in ServerGroupRow.select().where(ServerGroupRow.members.contains(uuid)):
        if uuid in row.members:
            return str(row.uuid)
    return None
