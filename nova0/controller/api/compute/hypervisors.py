"""Hypervisors: what each compute host has and how much of it is claimed. For admins."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute.refusals import BadRequest, NotFound
from nova0.controller.compute.service_book import OF_CONTROLLER
from nova0.controller.db.compute_tables import HostRow, InstanceRow
from nova0.controller.numbers import whole

_PATTERN = {"hypervisor_hostname_pattern": v.TEXT, "with_servers": v.TEXT}
_QUERY = {"2.1": {}, "2.33": paging.QUERY, "2.53": paging.QUERY | _PATTERN}
_ONE_QUERY = {"2.1": {}, "2.53": {"with_servers": v.TEXT}}


@route("GET", "/os-hypervisors", needs="admin", query=_QUERY, query_strict="2.75")
def brief_list(request: Request) -> dict[str, Any]:
    return _list(request, _brief)


@route("GET", "/os-hypervisors/detail", needs="admin", query=_QUERY, query_strict="2.75")
def full_list(request: Request) -> dict[str, Any]:
    return _list(request, _full)


@route("GET", "/os-hypervisors/statistics", needs="admin", until="2.87")
def statistics(request: Request) -> dict[str, Any]:
    rows = [row for row in request.store.read(lambda: list(HostRow.select())) if not row.disabled]
    totals = [_usage(row) for row in rows]
    names = ("vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "local_gb", "local_gb_used", "free_ram_mb",
             "free_disk_gb", "current_workload", "running_vms", "disk_available_least")  # fmt: skip
    return {"hypervisor_statistics": {"count": len(rows)} | {name: sum(one[name] for one in totals) for name in names}}


@route("GET", "/os-hypervisors/<hypervisor_id>", needs="admin", query=_ONE_QUERY, query_strict="2.75")
def show(request: Request, hypervisor_id: str) -> dict[str, Any]:
    row = _row(request, hypervisor_id)
    return {"hypervisor": _full(request, row) | _servers(request, [row]).get(row.host, {})}


@route("GET", "/os-hypervisors/<hypervisor_id>/uptime", needs="admin", until="2.87")
def uptime(request: Request, hypervisor_id: str) -> dict[str, Any]:
    row = _row(request, hypervisor_id)
    if not request.services.hosts.life(row.host).alive:
        raise BadRequest(f"Compute host {row.host} is down: nothing can tell its uptime.")
    return {"hypervisor": _brief(request, row) | {"uptime": row.state.get("uptime") or ""}}


@route("GET", "/os-hypervisors/<pattern>/search", needs="admin", until="2.52")
def search(request: Request, pattern: str) -> dict[str, Any]:
    return {"hypervisors": [_brief(request, row) for row in _matching(request, pattern)]}


@route("GET", "/os-hypervisors/<pattern>/servers", needs="admin", until="2.52")
def servers(request: Request, pattern: str) -> dict[str, Any]:
    rows = _matching(request, pattern)
    named = _servers(request, rows, always=True)
    return {"hypervisors": [_brief(request, row) | named.get(row.host, {}) for row in rows]}


def _list(request: Request, view: Any) -> dict[str, Any]:
    pattern = request.query.get("hypervisor_hostname_pattern")
    if pattern and ("limit" in request.query or "marker" in request.query):
        raise BadRequest(
            "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."
        )
    rows = request.store.read(lambda: list(HostRow.select().order_by(HostRow.id)))
    if pattern:
        rows = [row for row in rows if pattern in row.host]
        if not rows:
            raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
    links: dict[str, Any] = {}
    if request.at_least("2.33"):
        limit = paging.limit_of(request.query)
        page, more = paging.cut(
            paging.after_marker(rows, request.query.get("marker"), lambda row: str(_id(request, row))), limit
        )
        rows = list(page)
        last = str(_id(request, rows[-1])) if rows else ""
        links = paging.compute_links(request, "hypervisors", rows, limit, more, last)
    named = _servers(request, rows)
    return {"hypervisors": [view(request, row) | named.get(row.host, {}) for row in rows]} | links


def _row(request: Request, hypervisor_id: str) -> HostRow:
    if request.at_least("2.53") and not re.fullmatch(r"[0-9a-fA-F-]{36}", hypervisor_id):
        raise BadRequest(f"Invalid uuid {hypervisor_id}")
    where = HostRow.uuid == hypervisor_id if request.at_least("2.53") else HostRow.id == whole(hypervisor_id)
    row = request.store.read(lambda: HostRow.get_or_none(where))
    if row is None:
        raise NotFound(f"Hypervisor with ID '{hypervisor_id}' could not be found.")
    return row


def _matching(request: Request, pattern: str) -> list[HostRow]:
    rows = request.store.read(lambda: [row for row in HostRow.select().order_by(HostRow.id) if pattern in row.host])
    if not rows:
        raise NotFound(f"No hypervisor matching '{pattern}' could be found.")
    return rows


def _servers(request: Request, rows: list[HostRow], *, always: bool = False) -> dict[str, dict[str, Any]]:
    """{host: {"servers": [...]}} where asked for; below 2.75 a host without servers has no such key."""
    asked = request.query.get("with_servers")
    if asked is not None and asked not in v.BOOLEAN["enum"]:
        raise BadRequest(f"Invalid input for field/attribute with_servers. Value: {asked}. It is no boolean.")
    if not always and not (asked and v.truth(asked)):
        return {}
    hosts = [row.host for row in rows]
    query = InstanceRow.select(InstanceRow.host, InstanceRow.uuid, InstanceRow.name).where(
        InstanceRow.host.in_(hosts), InstanceRow.deleted_at.is_null()
    )
    found: dict[str, dict[str, Any]] = {host: {"servers": []} for host in hosts} if request.at_least("2.75") else {}
    for row in request.store.read(lambda: list(query)):
        found.setdefault(str(row.host), {"servers": []})["servers"].append({"uuid": row.uuid, "name": row.name})
    return found


def _id(request: Request, row: HostRow) -> int | str:
    return row.uuid if request.at_least("2.53") else row.id


def _brief(request: Request, row: HostRow) -> dict[str, Any]:
    alive = request.services.hosts.life(row.host).alive and not row.forced_down
    return {
        "id": _id(request, row),
        "hypervisor_hostname": row.state.get("hypervisor_hostname") or row.host,
        "state": "up" if alive else "down",
        "status": "disabled" if row.disabled else "enabled",
    }


def _full(request: Request, row: HostRow) -> dict[str, Any]:
    service = {
        "host": row.host,
        "id": row.service_uuid if request.at_least("2.53") else row.id + len(OF_CONTROLLER),
        "disabled_reason": row.disabled_reason,
    }
    view = _brief(request, row) | {
        "hypervisor_type": row.state.get("hypervisor_type", ""),
        "hypervisor_version": row.state.get("hypervisor_version", 0),
        "host_ip": row.state.get("address") or "127.0.0.1",
        "service": service,
    }
    if request.at_least("2.88"):
        alive = view["state"] == "up"
        return view | {"uptime": (row.state.get("uptime") or None) if alive else None}
    info = row.state.get("cpu_info") or {}
    view["cpu_info"] = info if request.at_least("2.28") else msgspec.json.encode(info).decode()
    return view | _usage(row)


def _usage(row: HostRow) -> dict[str, int]:
    """Used = claimed, plus what the host keeps for itself."""
    state = row.state
    memory_used = row.memory_mb_used + state.get("reserved_memory_mb", 0)
    disk_used = row.disk_gb_used + state.get("reserved_disk_gb", 0)
    return {
        "vcpus": row.vcpus,
        "vcpus_used": row.vcpus_used,
        "memory_mb": row.memory_mb,
        "memory_mb_used": memory_used,
        "local_gb": row.disk_gb,
        "local_gb_used": disk_used,
        "free_ram_mb": row.memory_mb - memory_used,
        "free_disk_gb": row.disk_gb - disk_used,
        "disk_available_least": state.get("disk_free_gb", 0),
        "current_workload": 0,
        "running_vms": row.servers,
    }
