"""Projects and their tags. A project's member may look at it; the rest is for admins."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

import peewee

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.identity import domains
from nova0.controller.api.identity.listing import DESCRIPTION, REFERENCE, TEXT, collection, filters, matching
from nova0.controller.api.identity.rows import found
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.db.identity_tables import ProjectRow
from nova0.controller.identity import removal

_TAG = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"[^,/\x00-\x1f\x7f]*"}
_TAGS = {"type": "array", "items": _TAG, "maxItems": 80, "uniqueItems": True}
_FIELDS = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": v.VISIBLE},
    "description": DESCRIPTION,
    "enabled": {"type": "boolean"},
    "domain_id": REFERENCE,
    "parent_id": REFERENCE,
    "is_domain": {"const": False},
    "options": v.obj({}, extra=True),
    "tags": _TAGS,
}
_CREATE = v.wrapped("project", _FIELDS, ["name"], extra=True)
_UPDATE = v.wrapped("project", _FIELDS, extra=True)


def view(request: Request, row: ProjectRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "parent_id": row.domain_id,
        "is_domain": False,
        "description": row.description,
        "enabled": row.enabled,
        "tags": row.tags,
        "options": {},
        "links": {"self": f"{request.prefix}/projects/{row.id}"},
    }


def get(project_id: str) -> ProjectRow:
    """Inside a store closure; ApiError 404."""
    return found(ProjectRow, project_id, "project")


@route(
    "GET",
    "/projects",
    needs="admin",
    query=filters("name", "domain_id", "enabled", "parent_id", "is_domain") | {"tags": TEXT},
)
def index(request: Request) -> dict[str, Any]:
    rows = request.store.read(lambda: list(ProjectRow.select().order_by(ProjectRow.name)))
    tags = set(filter(None, (request.query.values.pop("tags", [""])[-1]).split(",")))
    shown = [view(request, row) for row in rows if tags <= set(row.tags)]
    return collection(request, "projects", matching(request, shown))


@route("GET", "/projects/<project_id>", needs="any")
def show(request: Request, project_id: str) -> dict[str, Any]:
    if not request.context.is_admin and project_id != request.context.project_id:
        raise errors.forbidden("You are not authorized to perform the requested action: identity:get_project.")
    return {"project": view(request, request.store.read(lambda: get(project_id)))}


@route("POST", "/projects", needs="admin", success=201, body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    wanted = request.body["project"]
    domain_id = wanted.get("domain_id") or request.who.user_domain[0]
    parent = wanted.get("parent_id")
    if parent not in (None, domain_id):
        raise errors.bad_request(f"parent_id {parent}: projects inside projects are not offered; leave it out.")

    def closure() -> ProjectRow:
        domains.get(domain_id)
        try:
            return ProjectRow.create(
                id=uuid.uuid4().hex,
                name=wanted["name"],
                domain_id=domain_id,
                description=wanted.get("description") or "",
                enabled=wanted.get("enabled", True),
                tags=wanted.get("tags", []),
            )
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None

    return {"project": view(request, request.store.write(closure))}


@route("PATCH", "/projects/<project_id>", needs="admin", body=_UPDATE)
def update(request: Request, project_id: str) -> dict[str, Any]:
    wanted = request.body["project"]

    def closure() -> ProjectRow:
        row = get(project_id)
        if wanted.get("domain_id", row.domain_id) != row.domain_id:
            raise errors.bad_request("domain_id of a project can't be changed.")
        for key in ("name", "description", "enabled", "tags"):
            if wanted.get(key) is not None:
                setattr(row, key, wanted[key])
        try:
            row.save()
        except peewee.IntegrityError:
            raise _taken(wanted["name"]) from None
        return row

    return {"project": view(request, request.store.write(closure))}


@route("DELETE", "/projects/<project_id>", needs="admin", success=204)
def delete(request: Request, project_id: str) -> None:
    def closure() -> None:
        get(project_id)
        try:
            removal.project(project_id)
        except removal.StillUsed as left:
            raise errors.conflict(str(left)) from None

    request.store.write(closure)


def _change_tags(request: Request, project_id: str, change: Any) -> list[str]:
    def closure() -> list[str]:
        row = get(project_id)
        row.tags = list(dict.fromkeys(change(list(row.tags))))
        v.check(_TAGS, row.tags)
        row.save()
        return row.tags

    return request.store.write(closure)


@route("GET", "/projects/<project_id>/tags", needs="any")
def list_tags(request: Request, project_id: str) -> dict[str, Any]:
    return {"tags": show(request, project_id)["project"]["tags"]}


@route("PUT", "/projects/<project_id>/tags", needs="admin", body=v.obj({"tags": _TAGS}, ["tags"]))
def replace_tags(request: Request, project_id: str) -> dict[str, Any]:
    return {"tags": _change_tags(request, project_id, lambda _: request.body["tags"])}


@route("DELETE", "/projects/<project_id>/tags", needs="admin", success=204)
def clear_tags(request: Request, project_id: str) -> None:
    _change_tags(request, project_id, lambda _: [])


@route("GET", "/projects/<project_id>/tags/<tag>", needs="any", success=204)
def has_tag(request: Request, project_id: str, tag: str) -> None:
    if tag not in show(request, project_id)["project"]["tags"]:
        raise errors.ApiError(404, f"Could not find project tag: {tag}.")


@route("PUT", "/projects/<project_id>/tags/<tag>", needs="admin", success=201)
def add_tag(request: Request, project_id: str, tag: str) -> Answer:
    v.check(_TAGS, [tag])
    _change_tags(request, project_id, lambda tags: [*tags, tag])
    return Answer(None, headers={"Location": f"{request.prefix}/projects/{project_id}/tags/{quote(tag)}"})


@route("DELETE", "/projects/<project_id>/tags/<tag>", needs="admin", success=204)
def remove_tag(request: Request, project_id: str, tag: str) -> None:
    def change(tags: list[str]) -> list[str]:
        if tag not in tags:
            raise errors.ApiError(404, f"Could not find project tag: {tag}.")
        return [one for one in tags if one != tag]

    _change_tags(request, project_id, change)


def _taken(name: str) -> errors.ApiError:
    return errors.conflict(
        "Conflict occurred attempting to store project - it is not permitted to have two projects "
        f"within a domain with the same name: {name}."
    )
