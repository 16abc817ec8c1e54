"""Who has which role where: on a project, a domain or the system. Only users have roles; groups are not offered."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.identity import domains, projects, roles, users
from nova0.controller.api.identity.listing import TEXT, collection
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.identity_tables import AssignmentRow, DomainRow, ProjectRow, RoleRow, UserRow
from nova0.controller.identity.tokens import implied

Found = tuple[AssignmentRow, RoleRow]


def _target(kind: str, target_id: str) -> None:
    """Inside a store closure: ApiError 404 when there is no such project or domain."""
    if kind == "project":
        projects.get(target_id)
    elif kind == "domain":
        domains.get(target_id)


def _grant(request: Request, kind: str, target_id: str, user_id: str, role_id: str) -> None:
    def closure() -> None:
        users.get(user_id)
        roles.get(role_id)
        _target(kind, target_id)
        AssignmentRow.insert(
            user_id=user_id, target_type=kind, target_id=target_id, role_id=role_id
        ).on_conflict_ignore().execute()

    request.store.write(closure)


def _row(kind: str, target_id: str, user_id: str, role_id: str) -> AssignmentRow:
    users.get(user_id)
    roles.get(role_id)
    _target(kind, target_id)
    row = AssignmentRow.get_or_none(user_id=user_id, target_type=kind, target_id=target_id, role_id=role_id)
    if row is None:
        raise errors.ApiError(404, f"Could not find role assignment with role: {role_id}, user: {user_id}.")
    return row


def _list(request: Request, kind: str, target_id: str, user_id: str) -> dict[str, Any]:
    def closure() -> list[RoleRow]:
        users.get(user_id)
        _target(kind, target_id)
        held = AssignmentRow.select(AssignmentRow.role_id).where(
            AssignmentRow.user_id == user_id, AssignmentRow.target_type == kind, AssignmentRow.target_id == target_id
        )
        return list(RoleRow.select().where(RoleRow.id.in_(held)).order_by(RoleRow.name))

    return collection(request, "roles", [roles.view(request, row) for row in request.store.read(closure)])


@route("GET", "/projects/<target_id>/users/<user_id>/roles", needs="admin")
def list_on_project(request: Request, target_id: str, user_id: str) -> dict[str, Any]:
    return _list(request, "project", target_id, user_id)


@route("PUT", "/projects/<target_id>/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def grant_on_project(request: Request, target_id: str, user_id: str, role_id: str) -> None:
    _grant(request, "project", target_id, user_id, role_id)


@route("GET", "/projects/<target_id>/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def check_on_project(request: Request, target_id: str, user_id: str, role_id: str) -> None:
    request.store.read(lambda: _row("project", target_id, user_id, role_id))


@route("DELETE", "/projects/<target_id>/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def revoke_on_project(request: Request, target_id: str, user_id: str, role_id: str) -> None:
    request.store.write(lambda: _row("project", target_id, user_id, role_id).delete_instance())


@route("GET", "/domains/<target_id>/users/<user_id>/roles", needs="admin")
def list_on_domain(request: Request, target_id: str, user_id: str) -> dict[str, Any]:
    return _list(request, "domain", target_id, user_id)


@route("PUT", "/domains/<target_id>/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def grant_on_domain(request: Request, target_id: str, user_id: str, role_id: str) -> None:
    _grant(request, "domain", target_id, user_id, role_id)


@route("GET", "/domains/<target_id>/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def check_on_domain(request: Request, target_id: str, user_id: str, role_id: str) -> None:
    request.store.read(lambda: _row("domain", target_id, user_id, role_id))


@route("DELETE", "/domains/<target_id>/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def revoke_on_domain(request: Request, target_id: str, user_id: str, role_id: str) -> None:
    request.store.write(lambda: _row("domain", target_id, user_id, role_id).delete_instance())


@route("GET", "/system/users/<user_id>/roles", needs="admin")
def list_on_system(request: Request, user_id: str) -> dict[str, Any]:
    return _list(request, "system", "all", user_id)


@route("PUT", "/system/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def grant_on_system(request: Request, user_id: str, role_id: str) -> None:
    _grant(request, "system", "all", user_id, role_id)


@route("GET", "/system/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def check_on_system(request: Request, user_id: str, role_id: str) -> None:
    request.store.read(lambda: _row("system", "all", user_id, role_id))


@route("DELETE", "/system/users/<user_id>/roles/<role_id>", needs="admin", success=204)
def revoke_on_system(request: Request, user_id: str, role_id: str) -> None:
    request.store.write(lambda: _row("system", "all", user_id, role_id).delete_instance())


_FILTERS = ("user.id", "role.id", "scope.project.id", "scope.domain.id", "scope.system", "group.id")
_WORDS = ("effective", "include_names", "include_subtree", "scope.OS-INHERIT:inherited_to")


@route("GET", "/role_assignments", needs="admin", query={name: TEXT for name in _FILTERS + _WORDS})
def index(request: Request) -> dict[str, Any]:
    query = request.query
    effective = "effective" in query and query.get("effective") not in ("0", "False", "false")
    names = "include_names" in query and query.get("include_names") not in ("0", "False", "false")
    if "group.id" in query or "scope.OS-INHERIT:inherited_to" in query:
        return collection(request, "role_assignments", [])

    def closure() -> list[dict[str, Any]]:
        known = _Names()
        shown = []
        for row in AssignmentRow.select():
            role_ids = [row.role_id]
            if effective and row.role_id in known.roles:
                role_ids = [
                    known.role_ids[name] for name in implied([known.roles[row.role_id]]) if name in known.role_ids
                ]
            for role_id in role_ids:
                if _wanted(query, row, role_id):
                    shown.append(_view(request, row, role_id, known if names else None))
        return shown

    unique = {(str(one["user"]), str(one["scope"]), one["role"]["id"]): one for one in request.store.read(closure)}
    return collection(request, "role_assignments", list(unique.values()))


def _wanted(query: Any, row: AssignmentRow, role_id: str) -> bool:
    scope = {
        "scope.project.id": row.target_id if row.target_type == "project" else None,
        "scope.domain.id": row.target_id if row.target_type == "domain" else None,
    }
    have = {"user.id": row.user_id, "role.id": role_id} | scope
    if query.get("scope.system") and row.target_type != "system":
        return False
    return all(query.get(key) in (None, value) for key, value in have.items())


class _Names:
    """Names of everything an assignment may name, read at once."""

    def __init__(self) -> None:
        self.roles = {row.id: row.name for row in RoleRow.select()}
        self.role_ids = {name: id for id, name in self.roles.items()}
        self.users = {row.id: row for row in UserRow.select()}
        self.domains = {row.id: row.name for row in DomainRow.select()}
        self.projects = {row.id: row for row in ProjectRow.select()}

    def domain(self, domain_id: str) -> dict[str, str]:
        return {"id": domain_id, "name": self.domains.get(domain_id, "")}


def _view(request: Request, row: AssignmentRow, role_id: str, known: _Names | None) -> dict[str, Any]:
    scope: dict[str, Any] = {"all": True} if row.target_type == "system" else {"id": row.target_id}
    user: dict[str, Any] = {"id": row.user_id}
    role: dict[str, Any] = {"id": role_id}
    if known:
        role["name"] = known.roles.get(role_id, "")
        if row.user_id in known.users:
            user |= {"name": known.users[row.user_id].name, "domain": known.domain(known.users[row.user_id].domain_id)}
        if row.target_type == "domain":
            scope["name"] = known.domains.get(row.target_id, "")
        elif row.target_id in known.projects:
            project = known.projects[row.target_id]
            scope |= {"name": project.name, "domain": known.domain(project.domain_id)}
    where = "system" if row.target_type == "system" else f"{row.target_type}s/{row.target_id}"
    link = f"{request.prefix}/{where}/users/{row.user_id}/roles/{row.role_id}"
    return {"scope": {row.target_type: scope}, "user": user, "role": role, "links": {"assignment": link}}
