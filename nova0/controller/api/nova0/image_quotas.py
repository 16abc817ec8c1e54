"""How many images a project may have, how large, with how many properties: shown, and set by an administrator."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.errors import ApiError
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.db.identity_tables import ProjectRow
from nova0.controller.quota import images

_LIMIT = {"type": ["integer", "null"], "minimum": -1, "maximum": 2**31 - 1}
_SET = v.obj({name: _LIMIT for name in images.RESOURCES})


@route("GET", "/image-quotas/<project_id>", needs="reader")
def show(request: Request, project_id: str) -> dict[str, Any]:
    if not request.context.can_see(project_id):
        raise ApiError(403, "Only an administrator sees the quotas of other projects.")
    return request.store.read(lambda: _view(project_id))


@route("PUT", "/image-quotas/<project_id>", needs="admin", body=_SET)
def update(request: Request, project_id: str) -> dict[str, Any]:
    """-1: no limit; null: the configured default again."""

    def closure() -> dict[str, Any]:
        _check(project_id)
        images.change(project_id, request.body)
        return _view(project_id)

    return request.store.write(closure)


def _view(project_id: str) -> dict[str, Any]:
    _check(project_id)
    return {"limits": images.limits_of(project_id), "used": images.used_by(project_id)}


def _check(project_id: str) -> None:
    if ProjectRow.get_or_none(ProjectRow.id == project_id) is None:
        raise ApiError(404, f"Could not find project: {project_id}.")
