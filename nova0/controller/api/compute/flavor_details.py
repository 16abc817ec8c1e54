"""What belongs to a flavor: extra specs, and which projects a private one is shown to."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.compute.schemas.server import KEY
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import extra_specs, flavors
from nova0.controller.compute.refusals import BadRequest, NotFound
from nova0.controller.db.compute_tables import FlavorRow
from nova0.controller.db.identity_tables import ProjectRow

SPECS = "/flavors/<flavor_id>/os-extra_specs"
_VALUE = {"type": ["string", "number"], "maxLength": 255, "minimum": -(2**53), "maximum": 2**53}
_SPECS = v.mapping(_VALUE, KEY)
_ONE = {**_SPECS, "minProperties": 1, "maxProperties": 1}
_ACCESS = v.obj({"tenant": v.NAME}, ["tenant"])


@route("GET", SPECS, needs="reader")
def specs(request: Request, flavor_id: str) -> dict[str, Any]:
    return {"extra_specs": _flavor(request, flavor_id).extra_specs}


@route("POST", SPECS, needs="admin", body=v.obj({"extra_specs": _SPECS}, ["extra_specs"]))
def set_specs(request: Request, flavor_id: str) -> dict[str, Any]:
    return {"extra_specs": _set(request, flavor_id, request.body["extra_specs"])}


@route("GET", SPECS + "/<key>", needs="reader")
def spec(request: Request, flavor_id: str, key: str) -> dict[str, Any]:
    known = _flavor(request, flavor_id).extra_specs
    if key not in known:
        raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
    return {key: known[key]}


@route("PUT", SPECS + "/<key>", needs="admin", body=_ONE)
def set_spec(request: Request, flavor_id: str, key: str) -> dict[str, Any]:
    if key not in request.body:
        raise BadRequest("Request body and URI mismatch")
    return _set(request, flavor_id, request.body)


@route("DELETE", SPECS + "/<key>", needs="admin")
def delete_spec(request: Request, flavor_id: str, key: str) -> None:
    request.store.write(lambda: flavors.delete_extra_spec(flavors.get(flavor_id, request.context), key))


@route("GET", "/flavors/<flavor_id>/os-flavor-access", needs="admin")
def access(request: Request, flavor_id: str) -> dict[str, Any]:
    row = _flavor(request, flavor_id)
    if row.is_public:
        raise NotFound("Access list not available for public flavors.")
    return _access(row)


@route("POST", "/flavors/<flavor_id>/action", action="addTenantAccess", needs="admin", body=_ACCESS)
def grant(request: Request, flavor_id: str) -> dict[str, Any]:
    def closure() -> FlavorRow:
        row = flavors.get(flavor_id, request.context)
        _check_project(request.body["tenant"])
        flavors.grant(row, request.body["tenant"], strict=request.at_least("2.7"))
        return row

    return _access(request.store.write(closure))


@route("POST", "/flavors/<flavor_id>/action", action="removeTenantAccess", needs="admin", body=_ACCESS)
def revoke(request: Request, flavor_id: str) -> dict[str, Any]:
    def closure() -> FlavorRow:
        row = flavors.get(flavor_id, request.context)
        _check_project(request.body["tenant"])
        flavors.revoke(row, request.body["tenant"])
        return row

    return _access(request.store.write(closure))


def _flavor(request: Request, flavor_id: str) -> FlavorRow:
    return request.store.read(lambda: flavors.get(flavor_id, request.context))


def _set(request: Request, flavor_id: str, given: dict[str, Any]) -> dict[str, str]:
    texts = {key: str(value) for key, value in given.items()}
    if request.at_least("2.86"):
        extra_specs.check(texts)
    request.store.write(lambda: flavors.set_extra_specs(flavors.get(flavor_id, request.context), texts))
    return texts


def _check_project(project_id: str) -> None:
    if ProjectRow.get_or_none(ProjectRow.id == project_id) is None:
        raise BadRequest(f"Project ID {project_id} is not a valid project.")


def _access(row: FlavorRow) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": row.flavor_id, "tenant_id": project} for project in row.projects]}
