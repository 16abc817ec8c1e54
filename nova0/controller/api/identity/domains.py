"""Domains: the outermost namespace of users and projects. An enabled one can't be deleted."""

from __future__ import annotations

import uuid
from typing import Any

import peewee

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.identity.listing import DESCRIPTION, collection, filters, matching
from nova0.controller.api.identity.rows import found
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.identity_tables import DomainRow, ProjectRow, UserRow
from nova0.controller.identity import removal

_FIELDS = {
    "name": v.NAME | {"maxLength": 64},
    "description": DESCRIPTION,
    "enabled": {"type": "boolean"},
    "options": v.obj({}, extra=True),
    "tags": {"type": "array", "maxItems": 80, "items": v.TEXT},
}
_CREATE = v.wrapped("domain", _FIELDS, ["name"], extra=True)
_UPDATE = v.wrapped("domain", _FIELDS, extra=True)


def view(request: Request, row: DomainRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "tags": [],
        "options": {},
        "links": {"self": f"{request.prefix}/domains/{row.id}"},
    }


def get(domain_id: str) -> DomainRow:
    """Inside a store closure; ApiError 404."""
    return found(DomainRow, domain_id, "domain")


@route("GET", "/domains", needs="admin", query=filters("name", "enabled"))
def index(request: Request) -> dict[str, Any]:
    rows = request.store.read(lambda: list(DomainRow.select().order_by(DomainRow.name)))
    return collection(request, "domains", matching(request, [view(request, row) for row in rows]))


@route("GET", "/domains/<domain_id>", needs="any")
def show(request: Request, domain_id: str) -> dict[str, Any]:
    own = {request.who.user_domain[0], *(request.who.project_domain or ())}
    if not request.context.is_admin and domain_id not in own:
        raise errors.forbidden("You are not authorized to perform the requested action: identity:get_domain.")
    return {"domain": view(request, request.store.read(lambda: get(domain_id)))}


@route("POST", "/domains", needs="admin", success=201, body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    wanted = request.body["domain"]

    def closure() -> DomainRow:
        try:
            return DomainRow.create(
                id=uuid.uuid4().hex,
                name=wanted["name"],
                description=wanted.get("description") or "",
                enabled=wanted.get("enabled", True),
            )
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None

    return {"domain": view(request, request.store.write(closure))}


@route("PATCH", "/domains/<domain_id>", needs="admin", body=_UPDATE)
def update(request: Request, domain_id: str) -> dict[str, Any]:
    wanted = request.body["domain"]

    def closure() -> DomainRow:
        row = get(domain_id)
        if domain_id == "default" and wanted.get("enabled") is False:
            raise errors.forbidden("The default domain can't be disabled: every user of this cloud is in it.")
        for key in ("name", "description", "enabled"):
            if wanted.get(key) is not None:
                setattr(row, key, wanted[key])
        try:
            row.save()
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None
        return row

    return {"domain": view(request, request.store.write(closure))}


@route("DELETE", "/domains/<domain_id>", needs="admin", success=204)
def delete(request: Request, domain_id: str) -> None:
    def closure() -> None:
        row = get(domain_id)
        if row.enabled:
            raise errors.forbidden("Cannot delete a domain that is enabled, please disable it first.")
        for user in UserRow.select().where(UserRow.domain_id == domain_id):
            removal.user(user.id)
        for project in ProjectRow.select().where(ProjectRow.domain_id == domain_id):
            try:
                removal.project(project.id)
            except removal.StillUsed as left:
                raise errors.conflict(str(left)) from None
        removal.assignments("domain", domain_id)
        row.delete_instance()

    request.store.write(closure)


def _taken(name: str) -> errors.ApiError:
    return errors.conflict(
        f"Conflict occurred attempting to store domain - it is not permitted to have two with the name {name}."
    )
