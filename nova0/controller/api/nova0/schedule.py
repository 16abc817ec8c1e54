"""Why a server goes where it goes: what each filter leaves and each weigher gives, for a real or a what-if request;
and which servers were asked for, to be replayed."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.compute.schemas.server import HINTS
from nova0.controller.api.errors import ApiError
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import boot_image, flavors
from nova0.controller.compute.refusals import BadRequest
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.scheduler import recording
from nova0.controller.scheduler import request as scheduling
from nova0.controller.scheduler.selection import Trace
from nova0.objects.errors import NotSupported, NoValidHost

_TEXT = v.TEXT
_NUMBER = {"type": "string", "maxLength": 33, "pattern": r"[0-9]{1,12}(\.[0-9]{1,20})?"}
_EXPLAIN = v.obj(
    {
        "server": _TEXT,
        "flavor": _TEXT,
        "image": _TEXT,
        "project_id": _TEXT,
        "availability_zone": _TEXT,
        "host": _TEXT,
        "hints": HINTS,
    }
)


@route("POST", "/schedule/explain", needs="admin", body=_EXPLAIN)
def explain(request: Request) -> dict[str, Any]:
    """`server`: an existing one, as it would be placed today; else `flavor`, and what a boot could name."""
    wanted, services = request.body, request.services
    if bool(wanted.get("server")) == bool(wanted.get("flavor")):
        raise BadRequest("Give 'server', or 'flavor' with what else a boot would name.")
    if services.placement is None:
        raise ApiError(501, "This process has no scheduler: ask the controller.")
    asked = request.store.read(lambda: _of_server(wanted["server"]) if wanted.get("server") else _what_if(request))
    try:
        trace = services.placement.explain(asked)
    except NotSupported as error:
        raise ApiError(501, error.message) from error
    except NoValidHost as error:
        raise ApiError(404, error.message) from error
    return view(trace)


@route("GET", "/schedule/load", needs="admin", query={"since": _NUMBER, "marker": _NUMBER}, query_strict="2.1")
def load(request: Request) -> dict[str, Any]:
    """Servers asked for, or there, since a time (seconds since the epoch), in the order in which they were asked
    for. `next` is the marker of the following page, null at the end."""
    since, marker = float(request.query.get("since") or 0), int(float(request.query.get("marker") or 0))
    return request.store.read(lambda: recording.page(since, marker))


@route("GET", "/schedule/hosts", needs="admin")
def hosts(request: Request) -> dict[str, Any]:
    """Every enabled host as it last described itself, and the metadata of its aggregates."""
    return {"hosts": request.store.read(recording.hosts)}


def view(trace: Trace) -> dict[str, Any]:
    """The trace as it is shown: hosts in order of preference, each with its figures."""
    return {
        "hosts": trace.begun_with,
        "filters": [
            {"name": name, "left": left, "removed": trace.removed.get(name, [])} for name, left in trace.filters
        ],
        "order": [
            {
                "host": host,
                "sum": trace.sums[host],
                "weights": {
                    name: {"raw": raw, "scaled": scaled, "weighted": weighted}
                    for name, (raw, scaled, weighted) in trace.weights.get(host, {}).items()
                },
            }
            for host in trace.ranked()
        ],
    }


def _of_server(server_id: str) -> scheduling.Request:
    row = InstanceRow.get_or_none(InstanceRow.uuid == server_id)
    if row is None:
        raise errors.not_found("Instance", server_id)
    return scheduling.Request.of(row)


def _what_if(request: Request) -> scheduling.Request:
    wanted = request.body
    flavor = flavors.find(wanted["flavor"], request.context)
    if flavor is None:
        raise BadRequest(f"Flavor {wanted['flavor']} could not be found.")
    image = boot_image.ref(wanted["image"], request.context) if wanted.get("image") else None
    return scheduling.Request(
        uuid="what-if",
        project_id=wanted.get("project_id") or request.context.project_id,
        flavor=flavors.as_object(flavor),
        image=image,
        zone=wanted.get("availability_zone"),
        wanted_host=wanted.get("host"),
        hints=wanted.get("hints") or {},
        group=scheduling.group_of("what-if", wanted.get("hints") or {}),
    )
