"""Absolute limits of a project and what it uses. Rate limits: none, so the list is empty."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.quota import limits
from nova0.controller.quota.limits import Used

_QUERY = {"reserved": v.TEXT, "tenant_id": v.TEXT}


@route("GET", "/limits", needs="any", query=_QUERY, query_strict="2.75")
def show(request: Request) -> dict[str, Any]:
    """`tenant_id` of another project is for admins; others are shown their own, as the field does."""
    project = request.query.get("tenant_id") if request.context.is_admin else None
    project = project or request.context.project_id
    quota, used = request.store.read(lambda: (limits.limits_of(project), limits.used_by(project)))
    return {"limits": {"rate": [], "absolute": _absolute(request, quota, used)}}


def _absolute(request: Request, quota: dict[str, int], used: Used) -> dict[str, int]:
    view = {
        "maxTotalInstances": quota["instances"],
        "maxTotalCores": quota["cores"],
        "maxTotalRAMSize": quota["ram"],
        "maxTotalKeypairs": quota["key_pairs"],
        "maxServerMeta": quota["metadata_items"],
        "maxServerGroups": quota["server_groups"],
        "maxServerGroupMembers": quota["server_group_members"],
        "totalInstancesUsed": used.instances,
        "totalCoresUsed": used.cores,
        "totalRAMUsed": used.ram,
        "totalServerGroupsUsed": used.server_groups,
    }
    if not request.at_least("2.36"):  # the network service counts these; the field shows it unlimited
        view |= {
            "maxTotalFloatingIps": -1,
            "maxSecurityGroups": -1,
            "maxSecurityGroupRules": -1,
            "totalFloatingIpsUsed": 0,
            "totalSecurityGroupsUsed": 0,
        }
    if not request.at_least("2.39"):
        view["maxImageMeta"] = quota["metadata_items"]
    if not request.at_least("2.57"):
        view["maxPersonality"] = quota["injected_files"]
        view["maxPersonalitySize"] = quota["injected_file_content_bytes"]
    return view
