"""Key pairs: they belong to a user, not to a project. Making one (the private half told once) ends at 2.91."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import times
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import keypairs
from nova0.controller.compute.refusals import Forbidden
from nova0.controller.db.compute_tables import KeypairRow
from nova0.controller.quota import check
from nova0.native import offload

_NAME = {**v.NAME, "pattern": r"[a-zA-Z0-9 _-]*[a-zA-Z0-9_-][a-zA-Z0-9 _-]*"}
_NAME_2_92 = {**_NAME, "pattern": r"[a-zA-Z0-9 @._-]*[a-zA-Z0-9@._-][a-zA-Z0-9 @._-]*"}
_KEY = {"type": "string", "maxLength": 16384}
_FIELDS: dict[str, Any] = {"name": _NAME, "public_key": _KEY}
_TYPED = _FIELDS | {"type": {"type": "string", "enum": ["ssh", "x509"]}}
_OWNED = _TYPED | {"user_id": v.NAME}
_CREATE = {
    "2.1": v.wrapped("keypair", _FIELDS, ["name"]),
    "2.2": v.wrapped("keypair", _TYPED, ["name"]),
    "2.10": v.wrapped("keypair", _OWNED, ["name"]),
    "2.92": v.wrapped("keypair", _OWNED | {"name": _NAME_2_92}, ["name", "public_key"]),
}
_USER = {"user_id": v.TEXT}
_QUERY = {"2.1": {}, "2.10": _USER, "2.35": _USER | paging.QUERY}
_QUERY_ONE = {"2.1": {}, "2.10": _USER}


@route("GET", "/os-keypairs", needs="any", query=_QUERY, query_strict="2.75")
def listed(request: Request) -> dict[str, Any]:
    user_id = _owner(request, request.query.get("user_id"))
    rows = request.store.read(lambda: keypairs.listed(user_id))
    if not request.at_least("2.35"):
        return {"keypairs": [{"keypair": _brief(request, row)} for row in rows]}
    limit = paging.limit_of(request.query)
    page, more = paging.cut(paging.after_marker(rows, request.query.get("marker"), lambda row: row.name), limit)
    last = page[-1].name if page else ""
    return {"keypairs": [{"keypair": _brief(request, row)} for row in page]} | paging.compute_links(
        request, "keypairs", page, limit, more, last
    )


@route("POST", "/os-keypairs", needs="any", success={"2.1": 200, "2.2": 201}, body=_CREATE)
def create(request: Request) -> dict[str, Any]:
    wanted = request.body["keypair"]
    user_id, kind = _owner(request, wanted.get("user_id")), wanted.get("type", "ssh")
    private = None
    if "public_key" in wanted:
        public = wanted["public_key"].strip()
        fingerprint = keypairs.read_public(public, kind)
    else:
        private, public, fingerprint = offload(keypairs.generate, kind)

    def closure() -> KeypairRow:
        check.key_pairs(user_id, request.context.project_id)
        return keypairs.create(user_id, wanted["name"].strip(), kind, public, fingerprint)

    row = request.store.write(closure)
    view = _brief(request, row) | {"user_id": row.user_id}
    if private is not None:
        view["private_key"] = private
    return {"keypair": view}


@route("GET", "/os-keypairs/<name>", needs="any", query=_QUERY_ONE, query_strict="2.75")
def show(request: Request, name: str) -> dict[str, Any]:
    user_id = _owner(request, request.query.get("user_id"))
    row = request.store.read(lambda: keypairs.get(user_id, name))
    view = _brief(request, row) | {
        "user_id": row.user_id,
        "created_at": times.micro(row.created_at),
        "updated_at": None,
        "deleted_at": None,
        "deleted": False,
        "id": row.id,
    }
    return {"keypair": view}


@route("DELETE", "/os-keypairs/<name>", needs="any", success={"2.1": 202, "2.2": 204}, query=_QUERY_ONE,
       query_strict="2.75")  # fmt: skip
def delete(request: Request, name: str) -> None:
    user_id = _owner(request, request.query.get("user_id"))
    request.store.write(lambda: keypairs.get(user_id, name).delete_instance())


def _owner(request: Request, named: str | None) -> str:
    """The caller, or whom an admin names."""
    own = request.context.user_id
    if named and named != own and not request.context.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:os-keypairs to be performed for another user.")
    return named or own


def _brief(request: Request, row: KeypairRow) -> dict[str, Any]:
    view = {"name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint}
    return view | {"type": row.type} if request.at_least("2.2") else view
