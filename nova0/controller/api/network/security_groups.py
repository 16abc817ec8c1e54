"""Security groups: what may reach a port and what it may reach. Closed to the outside until a rule opens it."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import limits, listing
from nova0.controller.api.network.security_group_rules import view as rule_view
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.base_table import now
from nova0.controller.db.network_tables import SecurityGroupRow, SecurityGroupRuleRow
from nova0.controller.network import groups, revision

_FIELDS = {
    "name": v.NAME,
    "description": listing.DESCRIBED["description"],
}
_CREATE = v.obj(_FIELDS | listing.OWNED | {"stateful": {"enum": [True, "true", "True"]}}, ["name"])
_UPDATE = v.obj(_FIELDS)


def view(row: SecurityGroupRow, rules: list[SecurityGroupRuleRow]) -> dict[str, Any]:
    return listing.common(row) | {
        "stateful": row.stateful,
        "shared": False,
        "security_group_rules": [rule_view(rule) for rule in rules],
    }


def get(request: Request, id: str) -> SecurityGroupRow:
    """Inside a store closure. ApiError 404."""
    return listing.get(request, SecurityGroupRow, id, "Security group")


def _rules(group_id: str) -> list[SecurityGroupRuleRow]:
    table = SecurityGroupRuleRow
    return list(table.select().where(table.security_group_id == group_id).order_by(table.created_at, table.id))


@route("GET", "/security-groups", needs="reader", query=listing.query("stateful", "shared"))
def index(request: Request) -> dict[str, Any]:
    _make_defaults(request)

    def closure() -> list[dict[str, Any]]:
        rules: dict[str, list[SecurityGroupRuleRow]] = {}
        for rule in SecurityGroupRuleRow.select().order_by(SecurityGroupRuleRow.created_at):
            rules.setdefault(rule.security_group_id, []).append(rule)
        return [view(row, rules.get(row.id, [])) for row in listing.visible(request, SecurityGroupRow)]

    return listing.page(request, "security_groups", request.store.read(closure))


def _make_defaults(request: Request) -> None:
    """The default groups of the projects looked at: made when a project first looks, written only then."""
    asked = {request.context.project_id, *request.query.all("project_id"), *request.query.all("tenant_id")}
    wanted = [project_id for project_id in asked if project_id and request.context.can_see(project_id)]
    table = SecurityGroupRow
    own = table.select(table.project_id).where(table.name == groups.DEFAULT, table.project_id.in_(wanted))
    have = request.store.read(lambda: {row.project_id for row in own})
    missing = [project_id for project_id in wanted if project_id not in have]
    if missing:
        request.store.write(lambda: [groups.default_group(project_id) for project_id in missing])


@route("GET", "/security-groups/<id>", needs="reader", query=listing.FIELDS)
def show(request: Request, id: str) -> dict[str, Any]:
    found = request.store.read(lambda: view(get(request, id), _rules(id)))
    return {"security_group": listing.only_fields(request, found)}


@route("POST", "/security-groups", needs="member", success=201)
def create(request: Request) -> dict[str, Any]:
    items, many = listing.wanted(request, "security_group", _CREATE, "security_groups")

    def closure() -> list[dict[str, Any]]:
        made = [_create(request, item) for item in items]
        return [view(row, _rules(row.id)) for row in made]

    return listing.answer_created("security_group", "security_groups", request.store.write(closure), many)


def _create(request: Request, item: dict[str, Any]) -> SecurityGroupRow:
    project_id = listing.owner(request, item)
    if item["name"] == groups.DEFAULT:
        raise errors.conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists")
    groups.default_group(project_id)
    limits.check("security_group", project_id)
    row = SecurityGroupRow.create(name=item["name"], description=item.get("description", ""), project_id=project_id)
    groups.allow_egress(row)
    return row


@route("PUT", "/security-groups/<id>", needs="member")
def update(request: Request, id: str) -> dict[str, Any]:
    [item], _ = listing.wanted(request, "security_group", _UPDATE)

    def closure() -> dict[str, Any]:
        row = get(request, id)
        if groups.DEFAULT in (row.name, item.get("name")) and item.get("name", row.name) != row.name:
            raise errors.conflict("Updating default security group not allowed.", "SecurityGroupCannotUpdateDefault")
        for key in ("name", "description"):
            if key in item:
                setattr(row, key, item[key])
        row.revision, row.updated_at = row.revision + 1, now()
        row.save()
        return view(row, _rules(id))

    return {"security_group": request.store.write(closure)}


@route("DELETE", "/security-groups/<id>", needs="member", success=204)
def delete(request: Request, id: str) -> None:
    def closure() -> list[str]:
        row = get(request, id)
        if row.name == groups.DEFAULT and not request.context.is_admin:
            raise errors.conflict(
                "Insufficient rights for removing default security group.", "SecurityGroupCannotRemoveDefault"
            )
        ports = revision.count_in(id)
        if ports:
            raise errors.conflict(f"Security Group {id} in use by {ports} ports.", "SecurityGroupInUse")
        told = revision.touch(revision.networks_naming([id]))
        table = SecurityGroupRuleRow
        table.delete().where((table.security_group_id == id) | (table.remote_group_id == id)).execute()
        row.delete_instance()
        return told

    listing.tell(request, request.store.write(closure))
