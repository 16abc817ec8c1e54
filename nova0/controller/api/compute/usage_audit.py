"""os-instance_usage_audit_log: the state of a periodic audit. nova0 runs none (usage is counted when asked), and
says of every host that it has not run."""

from __future__ import annotations

import datetime
from typing import Any

from nova0.controller.api.compute.views import times
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute.refusals import BadRequest
from nova0.controller.db.compute_tables import HostRow


@route("GET", "/os-instance_usage_audit_log", needs="admin")
def now_log(request: Request) -> dict[str, Any]:
    return {"instance_usage_audit_logs": _log(request, datetime.datetime.now(datetime.UTC))}


@route("GET", "/os-instance_usage_audit_log/<before>", needs="admin")
def log_before(request: Request, before: str) -> dict[str, Any]:
    try:
        moment = datetime.datetime.fromtimestamp(times.parse(before), datetime.UTC)
    except ValueError:
        raise BadRequest(f"Invalid timestamp for date {before}") from None
    return {"instance_usage_audit_log": _log(request, moment)}


def _log(request: Request, before: datetime.datetime) -> dict[str, Any]:
    """The month that ended last before the time, the field's default period."""
    end = before.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = (end - datetime.timedelta(days=1)).replace(day=1)
    hosts = request.store.read(lambda: [row.host for row in HostRow.select(HostRow.host).order_by(HostRow.host)])
    return {
        "period_beginning": f"{begin:%Y-%m-%d %H:%M:%S}",
        "period_ending": f"{end:%Y-%m-%d %H:%M:%S}",
        "num_hosts": len(hosts),
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": len(hosts),
        "hosts_not_run": hosts,
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": f"0 of {len(hosts)} hosts done. 0 errors.",
        "log": {},
    }
