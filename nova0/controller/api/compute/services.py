"""Services: which are up, disabling a host, forcing it down, forgetting it. For admins."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import times
from nova0.controller.api.errors import ApiError
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import service_book as book
from nova0.controller.compute import zones
from nova0.controller.compute.refusals import BadRequest
from nova0.controller.compute.service_book import Service
from nova0.controller.db.compute_tables import HostRow
from nova0.controller.numbers import whole

_QUERY = {"host": v.TEXT, "binary": v.TEXT}
_REASON = v.NAME
_NAMED = {"host": v.NAME, "binary": v.NAME}


@route("GET", "/os-services", needs="admin", query=_QUERY, query_strict="2.75")
def listed(request: Request) -> dict[str, Any]:
    services = request.store.read(lambda: book.listed(request.services.hosts))
    host, binary = request.query.get("host"), request.query.get("binary")
    services = [one for one in services if host in (None, "", one.host) and binary in (None, "", one.binary)]
    return {"services": [_view(request, one) for one in services]}


@route("PUT", "/os-services/enable", needs="admin", until="2.52", body=v.obj(_NAMED, ["host", "binary"]))
def enable(request: Request) -> dict[str, Any]:
    return _by_name(request, {"status": "enabled"}, disabled=False)


@route("PUT", "/os-services/disable", needs="admin", until="2.52", body=v.obj(_NAMED, ["host", "binary"]))
def disable(request: Request) -> dict[str, Any]:
    return _by_name(request, {"status": "disabled"}, disabled=True)


@route("PUT", "/os-services/disable-log-reason", needs="admin", until="2.52",
       body=v.obj(_NAMED | {"disabled_reason": _REASON}, ["host", "binary", "disabled_reason"]))  # fmt: skip
def disable_with_reason(request: Request) -> dict[str, Any]:
    reason = request.body["disabled_reason"]
    return _by_name(request, {"status": "disabled", "disabled_reason": reason}, disabled=True, reason=reason)


@route("PUT", "/os-services/force-down", needs="admin", since="2.11", until="2.52",
       body=v.obj(_NAMED | {"forced_down": v.BOOLEAN}, ["host", "binary"]))  # fmt: skip
def force_down(request: Request) -> dict[str, Any]:
    forced = v.truth(request.body.get("forced_down", False))
    return _by_name(request, {"forced_down": forced}, forced_down=forced)


@route("PUT", "/os-services/<service_id>", needs="admin", since="2.53",
       body=v.obj({"status": {"enum": ["enabled", "disabled"]}, "disabled_reason": _REASON,
                   "forced_down": v.BOOLEAN}))  # fmt: skip
def update(request: Request, service_id: str) -> dict[str, Any]:
    body = request.body
    if not body:
        raise BadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if "disabled_reason" in body and body.get("status") != "disabled":
        raise BadRequest("Specifying disabled_reason requires that status be disabled.")
    _check_uuid(service_id)
    forced = v.truth(body["forced_down"]) if "forced_down" in body else None
    disabled = None if "status" not in body else body["status"] == "disabled"

    def closure() -> Service:
        row = book.host_of_service(service_id)
        book.set_status(row, disabled=disabled, reason=body.get("disabled_reason"), forced_down=forced)
        return book.compute_service(row, request.services.hosts, zones.zone_of(row.host))

    return {"service": _view(request, request.store.write(closure))}


@route("DELETE", "/os-services/<service_id>", needs="admin", success=204)
def delete(request: Request, service_id: str) -> None:
    if request.at_least("2.53"):
        _check_uuid(service_id)
    elif whole(service_id) is None:
        raise BadRequest(f"Invalid input for service id: {service_id} is no integer.")
    request.store.write(lambda: book.remove(book.host_of_service(service_id), request.services.hosts))


def _check_uuid(service_id: str) -> None:
    try:
        v.check(v.UUID, service_id)
    except ApiError:
        raise BadRequest(f"Invalid uuid {service_id}") from None


def _by_name(
    request: Request,
    told: dict[str, Any],
    *,
    disabled: bool | None = None,
    reason: str | None = None,
    forced_down: bool | None = None,
) -> dict[str, Any]:
    host, binary = request.body["host"], request.body["binary"]

    def closure() -> HostRow:
        row = book.host_of_binary(host, binary)
        book.set_status(row, disabled=disabled, reason=reason, forced_down=forced_down)
        return row

    request.store.write(closure)
    return {"service": {"host": host, "binary": binary} | told}


def _view(request: Request, one: Service) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": one.uuid if request.at_least("2.53") else one.number,
        "binary": one.binary,
        "host": one.host,
        "zone": one.zone,
        "status": "disabled" if one.disabled else "enabled",
        "state": "up" if one.alive else "down",
        "updated_at": times.micro(one.updated_at),
        "disabled_reason": one.disabled_reason,
    }
    if request.at_least("2.11"):
        view["forced_down"] = one.forced_down
    return view
