"""Application credentials: a secret of a user for one project, for programs. The secret is shown once."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Any

import peewee

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.identity.listing import DESCRIPTION, collection, filters, matching
from nova0.controller.api.identity.users import only_self
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.api.times import iso_micro_z, seconds_of
from nova0.controller.db.identity_tables import ApplicationCredentialRow, RoleRow
from nova0.controller.identity import passwords

CREDENTIALS_MOST = 128  # of one user: they are listed without pages
_ROLE = v.obj({"id": v.TEXT, "name": v.TEXT}, extra=True)
_CREATE = v.wrapped(
    "application_credential",
    {
        "name": v.NAME,
        "description": DESCRIPTION,
        "secret": {"type": ["string", "null"], "minLength": 1, "maxLength": passwords.MOST_LENGTH},
        "expires_at": {"anyOf": [{"type": "null"}, v.TIME]},
        "roles": {"type": "array", "maxItems": 64, "items": _ROLE},
        "unrestricted": {"type": ["boolean", "null"]},
        "access_rules": {"type": "array", "maxItems": 0},
        "project_id": v.TEXT,
    },
    ["name"],
)


def view(request: Request, row: ApplicationCredentialRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "roles": row.roles,
        "unrestricted": row.unrestricted,
        "expires_at": iso_micro_z(row.expires_at).removesuffix("Z") if row.expires_at else None,
        "system": None,
        "links": {"self": f"{request.prefix}/users/{row.user_id}/application_credentials/{row.id}"},
    }


def _get(user_id: str, id: str) -> ApplicationCredentialRow:
    row = ApplicationCredentialRow.get_or_none(id=id, user_id=user_id)
    if row is None:
        raise errors.ApiError(404, f"Could not find application credential: {id}.")
    return row


def _may_change(request: Request, user_id: str, action: str) -> None:
    if user_id != request.context.user_id:
        raise errors.forbidden(f"You are not authorized to perform the requested action: identity:{action}.")
    if request.who.credential and request.who.credential["restricted"]:
        raise errors.forbidden("This application credential is restricted: it can't make or remove others.")


@route("GET", "/users/<user_id>/application_credentials", needs="any", query=filters("name"))
def index(request: Request, user_id: str) -> dict[str, Any]:
    only_self(request, user_id, "list_application_credentials")
    table = ApplicationCredentialRow
    rows = request.store.read(lambda: list(table.select().where(table.user_id == user_id).order_by(table.name)))
    return collection(request, "application_credentials", matching(request, [view(request, row) for row in rows]))


@route("GET", "/users/<user_id>/application_credentials/<id>", needs="any")
def show(request: Request, user_id: str, id: str) -> dict[str, Any]:
    only_self(request, user_id, "get_application_credential")
    return {"application_credential": view(request, request.store.read(lambda: _get(user_id, id)))}


@route("POST", "/users/<user_id>/application_credentials", needs="any", success=201, body=_CREATE)
def create(request: Request, user_id: str) -> dict[str, Any]:
    _may_change(request, user_id, "create_application_credential")
    if not request.context.project_id:
        raise errors.bad_request("An application credential is made with a token scoped to its project.")
    wanted = request.body["application_credential"]
    expires = wanted.get("expires_at")
    if expires and seconds_of(expires) <= time.time():
        raise errors.bad_request(f"Invalid input for field/attribute expires_at. Value: {expires}. It is in the past.")
    request.store.read(lambda: _room_for_one(user_id))
    secret = wanted.get("secret") or secrets.token_urlsafe(64)
    hashed = passwords.hash_password(secret)

    def closure() -> ApplicationCredentialRow:
        _room_for_one(user_id)
        try:
            return ApplicationCredentialRow.create(
                id=uuid.uuid4().hex,
                name=wanted["name"],
                user_id=user_id,
                project_id=request.context.project_id,
                secret_hash=hashed,
                roles=_roles(request, wanted.get("roles")),
                description=wanted.get("description"),
                unrestricted=bool(wanted.get("unrestricted")),
                expires_at=seconds_of(expires) if expires else None,
            )
        except peewee.IntegrityError:
            raise errors.conflict(
                f"Conflict occurred attempting to store application_credential - Duplicate entry {wanted['name']}."
            ) from None

    row = request.store.write(closure)
    return {"application_credential": view(request, row) | {"secret": secret}}


def _room_for_one(user_id: str) -> None:
    table = ApplicationCredentialRow
    if table.select().where(table.user_id == user_id).count() >= CREDENTIALS_MOST:
        raise errors.forbidden(
            f"Unable to create additional application credentials, maximum of {CREDENTIALS_MOST} already exceeded for "
            "user: delete one that is not needed."
        )


def _roles(request: Request, wanted: list[dict[str, str]] | None) -> list[dict[str, Any]]:
    """The roles to give: those asked for, which the token must have, else all of the token's."""
    held = dict(request.who.roles)
    if wanted is None:
        chosen = set(held)
    else:
        ids = {row.name: row.id for row in RoleRow.select()}
        chosen = {role.get("id") or ids.get(role.get("name", ""), "") for role in wanted}
        missing = chosen - set(held)
        if missing:
            raise errors.bad_request("roles: an application credential can't have a role its maker lacks.")
    return [{"id": id, "name": held[id], "domain_id": None} for id in sorted(chosen, key=lambda id: held[id])]


@route("DELETE", "/users/<user_id>/application_credentials/<id>", needs="any", success=204)
def delete(request: Request, user_id: str, id: str) -> None:
    _may_change(request, user_id, "delete_application_credential")
    request.store.write(lambda: _get(user_id, id).delete_instance())


@route("GET", "/users/<user_id>/access_rules", needs="any")
def access_rules(request: Request, user_id: str) -> dict[str, Any]:
    """None are ever made: a credential with rules is refused rather than half kept."""
    only_self(request, user_id, "list_access_rules")
    return collection(request, "access_rules", [])
