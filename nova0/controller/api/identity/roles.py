"""Roles. The five built in imply one another (admin, manager, member, reader) and can't be changed away."""

from __future__ import annotations

import uuid
from typing import Any

import peewee

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.identity.listing import DESCRIPTION, TEXT, collection, filters, matching
from nova0.controller.api.identity.rows import found
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.identity_tables import AssignmentRow, RoleRow
from nova0.controller.identity.bootstrap import ROLES
from nova0.controller.identity.tokens import IMPLIED

_FIELDS = {
    "name": v.NAME,
    "description": DESCRIPTION,
    "domain_id": {"type": "null"},
    "options": v.obj({}, extra=True),
}
_CREATE = v.wrapped("role", _FIELDS, ["name"], extra=True)
_UPDATE = v.wrapped("role", _FIELDS, extra=True)


def view(request: Request, row: RoleRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "domain_id": None,
        "description": row.description,
        "options": {},
        "links": {"self": f"{request.prefix}/roles/{row.id}"},
    }


def get(role_id: str) -> RoleRow:
    """Inside a store closure; ApiError 404."""
    return found(RoleRow, role_id, "role")


@route("GET", "/roles", needs="admin", query=filters("name") | {"domain_id": TEXT})
def index(request: Request) -> dict[str, Any]:
    rows = request.store.read(lambda: list(RoleRow.select().order_by(RoleRow.name)))
    return collection(request, "roles", matching(request, [view(request, row) for row in rows]))


@route("GET", "/roles/<role_id>", needs="admin")
def show(request: Request, role_id: str) -> dict[str, Any]:
    return {"role": view(request, request.store.read(lambda: get(role_id)))}


@route("POST", "/roles", needs="admin", success=201, body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    wanted = request.body["role"]

    def closure() -> RoleRow:
        try:
            return RoleRow.create(id=uuid.uuid4().hex, name=wanted["name"], description=wanted.get("description"))
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None

    return {"role": view(request, request.store.write(closure))}


@route("PATCH", "/roles/<role_id>", needs="admin", body=_UPDATE)
def update(request: Request, role_id: str) -> dict[str, Any]:
    wanted = request.body["role"]

    def closure() -> RoleRow:
        row = get(role_id)
        if wanted.get("name", row.name) != row.name:
            _keep_built_in(row)
            row.name = wanted["name"]
        if "description" in wanted:
            row.description = wanted["description"]
        try:
            row.save()
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None
        return row

    return {"role": view(request, request.store.write(closure))}


@route("DELETE", "/roles/<role_id>", needs="admin", success=204)
def delete(request: Request, role_id: str) -> None:
    def closure() -> None:
        row = get(role_id)
        _keep_built_in(row)
        AssignmentRow.delete().where(AssignmentRow.role_id == role_id).execute()
        row.delete_instance()

    request.store.write(closure)


def _inference(prior: RoleRow, by_name: dict[str, RoleRow], request: Request) -> dict[str, Any]:
    def short(row: RoleRow) -> dict[str, Any]:
        return {"id": row.id, "name": row.name, "links": {"self": f"{request.prefix}/roles/{row.id}"}}

    implied = [by_name[name] for name in IMPLIED.get(prior.name, ()) if name in by_name]
    return {"prior_role": short(prior), "implies": [short(row) for row in implied]}


@route("GET", "/role_inferences", needs="admin")
def inferences(request: Request) -> dict[str, Any]:
    by_name = {row.name: row for row in request.store.read(lambda: list(RoleRow.select()))}
    found = [_inference(by_name[name], by_name, request) for name in IMPLIED if name in by_name]
    return collection(request, "role_inferences", found)


@route("GET", "/roles/<role_id>/implies", needs="admin")
def implies(request: Request, role_id: str) -> dict[str, Any]:
    def closure() -> tuple[RoleRow, dict[str, RoleRow]]:
        return get(role_id), {row.name: row for row in RoleRow.select()}

    prior, by_name = request.store.read(closure)
    return {"role_inference": _inference(prior, by_name, request)}


def _keep_built_in(row: RoleRow) -> None:
    if row.name in ROLES:
        raise errors.forbidden(f"The role {row.name} is built in: this cloud's rules name it. It stays as it is.")


def _taken(name: str) -> errors.ApiError:
    return errors.conflict(f"Conflict occurred attempting to store role - Duplicate entry found with name {name}.")
