"""os-simple-tenant-usage: hours, memory, processors and disk of projects in a span of time."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from nova0.controller.api import paging, turns
from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import times
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import usage
from nova0.controller.compute.refusals import BadRequest, Forbidden
from nova0.controller.compute.usage import Span
from nova0.objects import states

_SPAN = {"start": v.TEXT, "end": v.TEXT}
_LIST = {"2.1": _SPAN | {"detailed": v.TEXT}, "2.40": _SPAN | {"detailed": v.TEXT} | paging.QUERY}
_ONE = {"2.1": _SPAN, "2.40": _SPAN | paging.QUERY}


@route("GET", "/os-simple-tenant-usage", needs="admin", query=_LIST, query_strict="2.75")
def everyone(request: Request) -> dict[str, Any]:
    start, stop = _span(request)
    spans, links = _page(request, start, stop, None, "tenant_usages")
    by_project: dict[str, list[Span]] = {}
    for span in spans:
        by_project.setdefault(span.project_id, []).append(span)
    detailed = request.query.get("detailed") == "1"
    views = [_usage(project, several, start, stop, detailed) for project, several in by_project.items()]
    return {"tenant_usages": views} | links


@route("GET", "/os-simple-tenant-usage/<project_id>", needs="reader", query=_ONE, query_strict="2.75")
def one_project(request: Request, project_id: str) -> dict[str, Any]:
    if not request.context.can_see(project_id):
        raise Forbidden("Policy doesn't allow os_compute_api:os-simple-tenant-usage:show to be performed.")
    start, stop = _span(request)
    spans, links = _page(request, start, stop, project_id, "tenant_usage")
    return {"tenant_usage": _usage(project_id, spans, start, stop, True) if spans else {}} | links


def _span(request: Request) -> tuple[float, float]:
    """Unless said, a span without length that ends now: the field's own default."""
    now = time.time()
    start, stop = _time(request, "start", now), _time(request, "end", now)
    if start > stop:
        raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
    return start, stop


def _time(request: Request, name: str, default: float) -> float:
    text = request.query.get(name)
    if not text:
        return default
    try:
        return times.parse(text)
    except ValueError:
        raise BadRequest(f"Datetime is in invalid format: {name}={text}") from None


def _page(
    request: Request, start: float, stop: float, project_id: str | None, name: str
) -> tuple[list[Span], dict[str, Any]]:
    """Read some at a time; below 2.40 all of them are one page."""
    paged = request.at_least("2.40")
    limit = paging.limit_of(request.query) if paged else sys.maxsize
    marker = (request.query.get("marker") or "") if paged else ""
    if marker and not request.store.read(lambda: usage.has(marker)):
        raise BadRequest(f"marker [{marker}] not found")
    spans: list[Span] = []
    while len(spans) <= limit:
        after = spans[-1].uuid if spans else marker
        piece = request.store.read(partial(usage.of_servers, start, stop, project_id, after))
        spans += piece
        if len(piece) < usage.AT_ONCE:
            break
    page, more = paging.cut(spans, limit)
    last = page[-1].uuid if page else ""
    return list(page), paging.compute_links(request, name, page, limit, more, last)


def _usage(project: str, spans: list[Span], start: float, stop: float, detailed: bool) -> dict[str, Any]:
    view: dict[str, Any] = {
        "tenant_id": project,
        "start": times.micro(start),
        "stop": times.micro(stop),
        "total_hours": sum(turns.each(lambda span: span.hours, spans)),
        "total_vcpus_usage": sum(turns.each(lambda span: span.hours * span.flavor.get("vcpus", 0), spans)),
        "total_memory_mb_usage": sum(turns.each(lambda span: span.hours * span.flavor.get("memory_mb", 0), spans)),
        "total_local_gb_usage": sum(turns.each(lambda span: span.hours * _disk_gb(span), spans)),
    }
    if detailed:
        view["server_usages"] = turns.each(lambda span: _server(span, stop), spans)
    return view


def _server(span: Span, stop: float) -> dict[str, Any]:
    ended = span.terminated_at
    return {
        "instance_id": span.uuid,
        "name": span.name,
        "hours": span.hours,
        "flavor": span.flavor.get("name", ""),
        "vcpus": span.flavor.get("vcpus", 0),
        "memory_mb": span.flavor.get("memory_mb", 0),
        "local_gb": _disk_gb(span),
        "tenant_id": span.project_id,
        "started_at": times.micro(span.launched_at),
        "ended_at": times.micro(ended),
        "uptime": max(0, int((ended or stop) - (span.launched_at or stop))),
        "state": "terminated" if ended else states.status(span.vm_state, span.task_state).lower(),
    }


def _disk_gb(span: Span) -> int:
    return span.flavor.get("root_gb", 0) + span.flavor.get("ephemeral_gb", 0)
