"""os-hosts, to 2.42: hosts by service, and what one has and uses. Switching hosts from here was never built."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import service_book
from nova0.controller.compute.refusals import NotBuilt, NotFound
from nova0.controller.db.compute_tables import ClaimRow, HostRow, InstanceRow

_QUERY = {"service": v.TEXT, "zone": v.TEXT}
_WORD = {"type": "string", "enum": ["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"]}
_SWITCH = {**v.obj({"status": _WORD, "maintenance_mode": _WORD}), "minProperties": 1}
_NAMES = {"nova-compute": "compute", "nova-conductor": "conductor", "nova-scheduler": "scheduler"}


@route("GET", "/os-hosts", needs="admin", until="2.42", query=_QUERY)
def listed(request: Request) -> dict[str, Any]:
    services = request.store.read(lambda: service_book.listed(request.services.hosts))
    service, zone = request.query.get("service"), request.query.get("zone")
    return {
        "hosts": [
            {"host_name": one.host, "service": _NAMES[one.binary], "zone": one.zone}
            for one in services
            if service in (None, "", _NAMES[one.binary]) and zone in (None, "", one.zone)
        ]
    }


@route("GET", "/os-hosts/<name>", needs="admin", until="2.42")
def show(request: Request, name: str) -> dict[str, Any]:
    """Totals, what is used now, and what each project's servers take."""

    def closure() -> tuple[HostRow | None, dict[str, list[int]]]:
        row = HostRow.get_or_none(HostRow.host == name)
        projects: dict[str, list[int]] = {}
        query: Any = (
            ClaimRow.select(InstanceRow.project_id, ClaimRow.vcpus, ClaimRow.memory_mb, ClaimRow.disk_gb)
            .join(InstanceRow, on=(InstanceRow.uuid == ClaimRow.instance_uuid))
            .where(ClaimRow.host == name)
            .tuples()
        )
        for project, *taken in query:
            had = projects.setdefault(project, [0, 0, 0])
            projects[project] = [have + more for have, more in zip(had, taken, strict=True)]
        return row, projects

    row, projects = request.store.read(closure)
    if row is None:
        raise NotFound(f"Compute host {name} could not be found.")
    used = [row.vcpus_used, row.memory_mb_used, row.disk_gb_used]
    lines = [_line(name, "(total)", [row.vcpus, row.memory_mb, row.disk_gb])]
    lines += [_line(name, "(used_now)", used), _line(name, "(used_max)", used)]
    lines += [_line(name, project, taken) for project, taken in sorted(projects.items())]
    return {"host": lines}


@route("PUT", "/os-hosts/<name>", needs="admin", until="2.42", body=_SWITCH)
@route("GET", "/os-hosts/<name>/startup", needs="admin", until="2.42")
@route("GET", "/os-hosts/<name>/shutdown", needs="admin", until="2.42")
@route("GET", "/os-hosts/<name>/reboot", needs="admin", until="2.42")
def switch(request: Request, name: str) -> None:
    if request.store.read(lambda: HostRow.get_or_none(HostRow.host == name)) is None:
        raise NotFound(f"Compute host {name} could not be found.")
    raise NotBuilt("nova0 does not switch hosts on and off; disable a host with os-services.")


def _line(host: str, project: str, amounts: list[int]) -> dict[str, Any]:
    cpu, memory_mb, disk_gb = amounts
    return {"resource": {"host": host, "project": project, "cpu": cpu, "memory_mb": memory_mb, "disk_gb": disk_gb}}
