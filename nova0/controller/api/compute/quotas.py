"""Quotas of projects and of the class "default"."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute.refusals import BadRequest, Forbidden
from nova0.controller.db.identity_tables import ProjectRow
from nova0.controller.quota import limits

_FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_NETWORK = (*limits.NETWORK_RESOURCES, "networks")
_GROUPS = ("server_groups", "server_group_members")
_LIMIT = {
    "type": ["integer", "string"],
    "pattern": r"-?[0-9]+",
    "minimum": -1,
    "maximum": 0x7FFFFFFF,
    "maxLength": 11,
}
_QUERY = {"user_id": v.TEXT}


def _body(key: str, networked: bool, files: bool) -> dict[str, Any]:
    names = [name for name in limits.RESOURCES if files or name not in _FILES]
    fields: dict[str, Any] = {name: _LIMIT for name in names}
    if networked:
        fields |= {name: _LIMIT for name in _NETWORK}
    if key == "quota_set":
        fields |= {"force": v.BOOLEAN, "tenant_id": v.TEXT}
    return v.wrapped(key, fields)


_SET = {"2.1": _body("quota_set", True, True), "2.36": _body("quota_set", False, True),
        "2.57": _body("quota_set", False, False)}  # fmt: skip
_CLASS = {"2.1": _body("quota_class_set", True, True), "2.50": _body("quota_class_set", False, True),
          "2.57": _body("quota_class_set", False, False)}  # fmt: skip


@route("GET", "/os-quota-sets/<project_id>", needs="reader", query=_QUERY, query_strict="2.75")
def show(request: Request, project_id: str) -> dict[str, Any]:
    return {"quota_set": {"id": project_id} | _shown(request, _limits(request, project_id))}


@route("GET", "/os-quota-sets/<project_id>/detail", needs="reader", query=_QUERY, query_strict="2.75")
def detail(request: Request, project_id: str) -> dict[str, Any]:
    quota = _shown(request, _limits(request, project_id))
    used = request.store.read(lambda: limits.used_by(project_id))
    counts = {"instances": used.instances, "cores": used.cores, "ram": used.ram, "server_groups": used.server_groups}
    return {
        "quota_set": {"id": project_id}
        | {name: {"limit": limit, "in_use": counts.get(name, 0), "reserved": 0} for name, limit in quota.items()}
    }


@route("GET", "/os-quota-sets/<project_id>/defaults", needs="any")
def defaults(request: Request, project_id: str) -> dict[str, Any]:
    _check_project(request, project_id)
    return {"quota_set": {"id": project_id} | _shown(request, request.store.read(limits.defaults))}


@route("PUT", "/os-quota-sets/<project_id>", needs="admin", body=_SET, query=_QUERY, query_strict="2.75")
def update(request: Request, project_id: str) -> dict[str, Any]:
    """A limit below what is used needs `force`; -1 is no limit."""
    _check_project(request, project_id)
    body = request.body["quota_set"]
    wanted = _wanted(body)
    forced = v.truth(body.get("force", False))

    def closure() -> dict[str, int]:
        used = limits.used_by(project_id)
        for name in ("instances", "cores", "ram", "server_groups"):
            limit = wanted.get(name, limits.UNLIMITED)
            if limit != limits.UNLIMITED and limit < getattr(used, name) and not forced:
                raise BadRequest(
                    f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved "
                    f"{getattr(used, name)}."
                )
        limits.set_limits(project_id, wanted)
        return limits.limits_of(project_id)

    return {"quota_set": _shown(request, request.store.write(closure))}


@route("DELETE", "/os-quota-sets/<project_id>", needs="admin", success=202, query=_QUERY, query_strict="2.75")
def delete(request: Request, project_id: str) -> None:
    request.store.write(lambda: limits.forget_limits(project_id))


@route("GET", "/os-quota-class-sets/<name>", needs="admin")
def show_class(request: Request, name: str) -> dict[str, Any]:
    """Only the class "default" has any effect, in the field too."""
    return {
        "quota_class_set": {"id": name} | _shown_class(request, request.store.read(lambda: limits.class_limits(name)))
    }


@route("PUT", "/os-quota-class-sets/<name>", needs="admin", body=_CLASS)
def update_class(request: Request, name: str) -> dict[str, Any]:
    wanted = _wanted(request.body["quota_class_set"])

    def closure() -> dict[str, int]:
        limits.set_class_limits(name, wanted)
        return limits.class_limits(name)

    return {"quota_class_set": _shown_class(request, request.store.write(closure))}


def _limits(request: Request, project_id: str) -> dict[str, int]:
    _check_project(request, project_id)
    return request.store.read(lambda: limits.limits_of(project_id))


def _check_project(request: Request, project_id: str) -> None:
    """One's own project always exists; another one is for admins to ask about."""
    if project_id == request.context.project_id:
        return
    if not request.context.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:os-quota-sets:show to be performed for another project.")
    if request.store.read(lambda: ProjectRow.get_or_none(ProjectRow.id == project_id)) is None:
        raise BadRequest(f"Project ID {project_id} is not a valid project.")


def _wanted(body: dict[str, Any]) -> dict[str, int]:
    wanted = {}
    for name, value in body.items():
        if name in limits.RESOURCES + limits.NETWORK_RESOURCES:
            wanted[name] = int(value)
            if wanted[name] < limits.UNLIMITED:
                raise BadRequest(f"Invalid input for field/attribute {name}. Value: {value}. It must be -1 or more.")
    return wanted


def _shown(request: Request, quota: dict[str, int]) -> dict[str, int]:
    view = {name: quota[name] for name in limits.RESOURCES if not (name in _FILES and request.at_least("2.57"))}
    if not request.at_least("2.36"):
        view |= {name: quota[name] for name in limits.NETWORK_RESOURCES}
    return view


def _shown_class(request: Request, quota: dict[str, int]) -> dict[str, int]:
    view = {name: quota[name] for name in limits.RESOURCES if not (name in _FILES and request.at_least("2.57"))}
    if not request.at_least("2.50"):
        view |= {name: quota[name] for name in limits.NETWORK_RESOURCES}
        for name in _GROUPS:
            view.pop(name)
    return view
