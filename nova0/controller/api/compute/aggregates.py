"""Host aggregates: list, make, change, hosts in and out. For admins."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.compute.schemas.server import KEY
from nova0.controller.api.compute.views import times
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import aggregates, zones
from nova0.controller.compute.refusals import BadRequest, NotBuilt
from nova0.controller.db.compute_tables import AggregateRow

PATH = "/os-aggregates/<aggregate_id>"
_NAME = {**v.NAME, "pattern": v.VISIBLE}
_ZONE = {"type": ["string", "null"], "maxLength": 255, "pattern": v.PRINTABLE}
_FIELDS: dict[str, Any] = {"name": _NAME, "availability_zone": _ZONE}
_HOST = v.obj({"host": v.NAME}, ["host"])
_METADATA = v.obj({"metadata": v.mapping({**v.TEXT, "type": ["string", "null"]}, KEY)}, ["metadata"])


@route("GET", "/os-aggregates", needs="admin")
def listed(request: Request) -> dict[str, Any]:
    rows = request.store.read(lambda: list(AggregateRow.select().order_by(AggregateRow.id)))
    return {"aggregates": [_view(request, row) for row in rows]}


@route("POST", "/os-aggregates", needs="admin", body=v.wrapped("aggregate", _FIELDS, ["name"]))
def create(request: Request) -> dict[str, Any]:
    body = request.body["aggregate"]
    row = request.store.write(lambda: aggregates.create(body["name"].strip(), body.get("availability_zone")))
    view = _view(request, row)
    del view["hosts"], view["metadata"]  # the field leaves them out here
    return {"aggregate": view}


@route("GET", PATH, needs="admin")
def show(request: Request, aggregate_id: str) -> dict[str, Any]:
    return {"aggregate": _view(request, request.store.read(lambda: aggregates.get(aggregate_id)))}


@route("PUT", PATH, needs="admin", body=v.wrapped("aggregate", _FIELDS))
def update(request: Request, aggregate_id: str) -> dict[str, Any]:
    body = request.body["aggregate"]
    if not body:
        raise BadRequest("Invalid input for field/attribute aggregate. Value: {}. Give name or availability_zone.")

    def change(row: AggregateRow) -> None:
        zone_given = "availability_zone" in body
        aggregates.update(row, body.get("name"), body.get("availability_zone"), zone_given=zone_given)

    return _changed(request, aggregate_id, change)


@route("DELETE", PATH, needs="admin")
def delete(request: Request, aggregate_id: str) -> None:
    request.store.write(lambda: aggregates.delete(aggregates.get(aggregate_id)))


@route("POST", PATH + "/action", action="add_host", needs="admin", body=_HOST)
def add_host(request: Request, aggregate_id: str) -> dict[str, Any]:
    return _changed(request, aggregate_id, lambda row: aggregates.add_host(row, request.body["host"]))


@route("POST", PATH + "/action", action="remove_host", needs="admin", body=_HOST)
def remove_host(request: Request, aggregate_id: str) -> dict[str, Any]:
    return _changed(request, aggregate_id, lambda row: aggregates.remove_host(row, request.body["host"]))


@route("POST", PATH + "/action", action="set_metadata", needs="admin", body=_METADATA)
def set_metadata(request: Request, aggregate_id: str) -> dict[str, Any]:
    return _changed(request, aggregate_id, lambda row: aggregates.set_metadata(row, request.body["metadata"]))


@route("POST", PATH + "/images", needs="admin", since="2.81")
def cache_images(request: Request, aggregate_id: str) -> None:
    request.store.read(lambda: aggregates.get(aggregate_id))
    raise NotBuilt("nova0 does not cache images ahead of a boot yet.")


def _changed(request: Request, aggregate_id: str, change: Any) -> dict[str, Any]:
    def closure() -> AggregateRow:
        row = aggregates.get(aggregate_id)
        change(row)
        return row

    return {"aggregate": _view(request, request.store.write(closure))}


def _view(request: Request, row: AggregateRow) -> dict[str, Any]:
    view = {
        "id": row.id,
        "name": row.name,
        "availability_zone": row.metadata.get(zones.KEY),
        "hosts": row.hosts,
        "metadata": row.metadata,
        "created_at": times.micro(row.created_at),
        "updated_at": times.micro(row.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
    if request.at_least("2.41"):
        view["uuid"] = row.uuid
    return view
