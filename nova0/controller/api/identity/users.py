"""Users and their passwords. A user may look at themselves and change their own password."""

from __future__ import annotations

import uuid
from typing import Any

import peewee

from nova0.controller.api import authentication, errors
from nova0.controller.api import validation as v
from nova0.controller.api.identity import domains, projects
from nova0.controller.api.identity.listing import DESCRIPTION, REFERENCE, collection, filters, matching
from nova0.controller.api.identity.rows import found
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.identity_tables import AssignmentRow, ProjectRow, UserRow
from nova0.controller.identity import login, passwords, removal
from nova0.controller.identity.tokens import void_all

_PASSWORD = {"type": "string", "minLength": 1, "maxLength": passwords.MOST_LENGTH}
_FIELDS = {
    "name": v.NAME | {"pattern": v.VISIBLE},
    "domain_id": REFERENCE,
    "description": DESCRIPTION,
    "email": {"type": ["string", "null"], "maxLength": 255},
    "enabled": {"type": "boolean"},
    "default_project_id": REFERENCE,
    "password": {"oneOf": [_PASSWORD, {"type": "null"}]},
    "options": v.obj({}, extra=True),
}
_CREATE = v.wrapped("user", _FIELDS, ["name"], extra=True)
_UPDATE = v.wrapped("user", _FIELDS, extra=True)
_CHANGE = v.wrapped("user", {"password": _PASSWORD, "original_password": _PASSWORD}, ["password", "original_password"])


def view(request: Request, row: UserRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "enabled": row.enabled,
        "options": {},
        "password_expires_at": None,
        "links": {"self": f"{request.prefix}/users/{row.id}"},
    }
    for key in ("email", "description", "default_project_id"):
        if getattr(row, key) is not None:
            shown[key] = getattr(row, key)
    return shown


def get(user_id: str) -> UserRow:
    """Inside a store closure; ApiError 404."""
    return found(UserRow, user_id, "user")


def only_self(request: Request, user_id: str, action: str) -> None:
    """ApiError 403 unless it is the user themselves or an admin."""
    if user_id != request.context.user_id and not request.context.is_admin:
        raise errors.forbidden(f"You are not authorized to perform the requested action: identity:{action}.")


@route("GET", "/users", needs="admin", query=filters("name", "domain_id", "enabled", "default_project_id"))
def index(request: Request) -> dict[str, Any]:
    rows = request.store.read(lambda: list(UserRow.select().order_by(UserRow.name)))
    return collection(request, "users", matching(request, [view(request, row) for row in rows]))


@route("GET", "/users/<user_id>", needs="any")
def show(request: Request, user_id: str) -> dict[str, Any]:
    only_self(request, user_id, "get_user")
    return {"user": view(request, request.store.read(lambda: get(user_id)))}


@route("POST", "/users", needs="admin", success=201, body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    wanted = request.body["user"]
    domain_id = wanted.get("domain_id") or request.who.user_domain[0]
    hashed = passwords.hash_password(wanted["password"]) if wanted.get("password") else None

    def closure() -> UserRow:
        domains.get(domain_id)
        try:
            return UserRow.create(
                id=uuid.uuid4().hex,
                name=wanted["name"],
                domain_id=domain_id,
                password_hash=hashed,
                enabled=wanted.get("enabled", True),
                email=wanted.get("email"),
                description=wanted.get("description"),
                default_project_id=wanted.get("default_project_id"),
            )
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None

    return {"user": view(request, request.store.write(closure))}


@route("PATCH", "/users/<user_id>", needs="admin", body=_UPDATE)
def update(request: Request, user_id: str) -> dict[str, Any]:
    wanted = request.body["user"]
    hashed = passwords.hash_password(wanted["password"]) if wanted.get("password") else None

    def closure() -> UserRow:
        row = get(user_id)
        if wanted.get("domain_id", row.domain_id) != row.domain_id:
            raise errors.bad_request("domain_id of a user can't be changed.")
        for key in ("description", "email", "default_project_id", "name", "enabled"):
            if key in wanted and (wanted[key] is not None or key not in ("name", "enabled")):
                setattr(row, key, wanted[key])
        if hashed:
            row.password_hash = hashed
        if hashed or wanted.get("enabled") is False:
            void_all(row)
        try:
            row.save()
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None
        return row

    return {"user": view(request, request.store.write(closure))}


@route("DELETE", "/users/<user_id>", needs="admin", success=204)
def delete(request: Request, user_id: str) -> None:
    def closure() -> None:
        get(user_id)
        removal.user(user_id)

    request.store.write(closure)


@route("POST", "/users/<user_id>/password", needs="public", success=204, body=_CHANGE)
def change_password(request: Request, user_id: str) -> None:
    """The old password is the proof, so no token is asked for. Tokens issued until now are void."""
    wanted = {key: request.body["user"][key] for key in ("password", "original_password")}
    request.body.clear()  # it may have to wait, and shall hold little

    def found() -> UserRow | None:
        return UserRow.get_or_none(UserRow.id == user_id)

    exists = request.store.read(found) is not None
    with authentication.judged(request, user_id if exists else login.unknown(user_id)) as attempt:
        row = request.store.read(found)
        passwords.verify(row.password_hash if row else None, wanted["original_password"], attempt)
        attempt.good = attempt.good and row is not None and row.enabled
    if not attempt.good:
        raise authentication.unauthorized(request.services.public_url)
    hashed = passwords.hash_password(wanted["password"])

    def closure() -> None:
        user = get(user_id)
        user.password_hash = hashed
        void_all(user)
        user.save()

    request.store.write(closure)


@route("GET", "/users/<user_id>/projects", needs="any", query=filters("name", "domain_id", "enabled"))
def list_projects(request: Request, user_id: str) -> dict[str, Any]:
    only_self(request, user_id, "list_user_projects")

    def closure() -> list[ProjectRow]:
        get(user_id)
        held = AssignmentRow.select(AssignmentRow.target_id).where(
            AssignmentRow.user_id == user_id, AssignmentRow.target_type == "project"
        )
        return list(ProjectRow.select().where(ProjectRow.id.in_(held)).order_by(ProjectRow.name))

    rows = request.store.read(closure)
    return collection(request, "projects", matching(request, [projects.view(request, row) for row in rows]))


@route("GET", "/users/<user_id>/groups", needs="any")
def list_groups(request: Request, user_id: str) -> dict[str, Any]:
    """Groups are not offered, so nobody is in one; clients ask all the same."""
    only_self(request, user_id, "list_groups_for_user")
    request.store.read(lambda: get(user_id))
    return collection(request, "groups", [])


def _taken(name: str) -> errors.ApiError:
    return errors.conflict(f"Conflict occurred attempting to store user - Duplicate entry found with name {name}.")
