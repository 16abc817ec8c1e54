"""Quotas of the network service: limits to show, change and put back, and what is used of them."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.network import limits, listing
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.compute_tables import QuotaRow

_LIMIT = {"type": "integer", "minimum": -1, "maximum": 2**31 - 1}
_UPDATE = v.obj({name: _LIMIT for name in limits.DEFAULTS} | {"force": {"type": "boolean"}} | listing.OWNED)


def _may_see(request: Request, project_id: str) -> None:
    if not request.context.can_see(project_id):
        raise errors.ApiError(404, f"Quota for project {project_id} could not be found.", kind="TenantQuotaNotFound")


@route("GET", "/quotas", needs="admin")
def index(request: Request) -> dict[str, Any]:
    """Projects whose limits differ from the defaults."""

    def closure() -> list[dict[str, Any]]:
        rows = QuotaRow.select().where(QuotaRow.resource.in_(list(limits.DEFAULTS)))
        ids = sorted({row.project_id for row in rows})
        return [limits.of_project(id) | {"project_id": id, "tenant_id": id} for id in ids]

    return {"quotas": request.store.read(closure)}


@route("GET", "/quotas/<project_id>", needs="reader")
def show(request: Request, project_id: str) -> dict[str, Any]:
    _may_see(request, project_id)
    return {"quota": request.store.read(lambda: limits.of_project(project_id))}


@route("GET", "/quotas/<project_id>/default", needs="reader")
def defaults(request: Request, project_id: str) -> dict[str, Any]:
    _may_see(request, project_id)
    return {"quota": dict(limits.DEFAULTS)}


@route("GET", "/quotas/<project_id>/details.json", needs="reader")
@route("GET", "/quotas/<project_id>/details", needs="reader")
def details(request: Request, project_id: str) -> dict[str, Any]:
    _may_see(request, project_id)

    def closure() -> dict[str, Any]:
        return {
            name: {"limit": limit, "used": limits.used(project_id, name), "reserved": 0}
            for name, limit in limits.of_project(project_id).items()
        }

    return {"quota": request.store.read(closure)}


@route("PUT", "/quotas/<project_id>", needs="admin")
def update(request: Request, project_id: str) -> dict[str, Any]:
    [item], _ = listing.wanted(request, "quota", _UPDATE)

    def closure() -> dict[str, int]:
        for name in limits.DEFAULTS:
            if name in item:
                QuotaRow.insert(project_id=project_id, resource=name, hard_limit=item[name]).on_conflict(
                    conflict_target=[QuotaRow.project_id, QuotaRow.resource], update={"hard_limit": item[name]}
                ).execute()
        return limits.of_project(project_id)

    return {"quota": request.store.write(closure)}


@route("DELETE", "/quotas/<project_id>", needs="admin", success=204)
def delete(request: Request, project_id: str) -> None:
    request.store.write(
        lambda: (
            QuotaRow.delete()
            .where(QuotaRow.project_id == project_id, QuotaRow.resource.in_(list(limits.DEFAULTS)))
            .execute()
        )
    )
