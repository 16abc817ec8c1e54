"""Properties of a server: list, merge, replace, and one by one. Its host is told after each change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.compute.schemas.server import METADATA
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances, moves
from nova0.controller.compute.refusals import BadRequest, NotFound
from nova0.controller.quota import check

_ALL = v.obj({"metadata": METADATA}, ["metadata"])
_ONE = v.obj({"meta": {**METADATA, "minProperties": 1, "maxProperties": 1}}, ["meta"])
PATH = "/servers/<server_id>/metadata"


@route("GET", PATH, needs="reader")
def listed(request: Request, server_id: str) -> dict[str, Any]:
    return {"metadata": _read(request, server_id)}


@route("POST", PATH, needs="member", body=_ALL)
def merge(request: Request, server_id: str) -> dict[str, Any]:
    return {"metadata": _write(request, server_id, lambda had: had | request.body["metadata"])}


@route("PUT", PATH, needs="member", body=_ALL)
def replace(request: Request, server_id: str) -> dict[str, Any]:
    return {"metadata": _write(request, server_id, lambda had: request.body["metadata"])}


@route("GET", PATH + "/<key>", needs="reader")
def show(request: Request, server_id: str, key: str) -> dict[str, Any]:
    metadata = _read(request, server_id)
    if key not in metadata:
        raise NotFound("Metadata item was not found")
    return {"meta": {key: metadata[key]}}


@route("PUT", PATH + "/<key>", needs="member", body=_ONE)
def put(request: Request, server_id: str, key: str) -> dict[str, Any]:
    meta = request.body["meta"]
    if key not in meta:
        raise BadRequest("Request body and URI mismatch")
    _write(request, server_id, lambda had: had | meta)
    return {"meta": meta}


@route("DELETE", PATH + "/<key>", needs="member", success=204)
def delete(request: Request, server_id: str, key: str) -> None:
    def without(had: dict[str, str]) -> dict[str, str]:
        if key not in had:
            raise NotFound("Metadata item was not found")
        return {name: value for name, value in had.items() if name != key}

    _write(request, server_id, without)


def _read(request: Request, server_id: str) -> dict[str, str]:
    return request.store.read(lambda: instances.get(server_id, request.context)).metadata


def _write(request: Request, server_id: str, change: Callable[[dict[str, str]], dict[str, str]]) -> dict[str, str]:
    def closure() -> dict[str, str]:
        row = instances.get(server_id, request.context)
        metadata = change(dict(row.metadata))
        if len(metadata) > len(row.metadata):
            check.metadata_items(row.project_id, len(metadata))
        moves.set_metadata(server_id, request.context, metadata)
        return metadata

    metadata = request.store.write(closure)
    request.services.guests.describe_anew(server_id)
    return metadata
