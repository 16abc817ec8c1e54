"""How many networks, subnets, ports, groups and rules a project may have: checked here, shown under quotas."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.db.compute_tables import QuotaRow
from nova0.controller.db.network_tables import NetworkRow, PortRow, SecurityGroupRow, SecurityGroupRuleRow, SubnetRow

TABLES: dict[str, Any] = {
    "network": NetworkRow,
    "subnet": SubnetRow,
    "port": PortRow,
    "security_group": SecurityGroupRow,
    "security_group_rule": SecurityGroupRuleRow,
}
DEFAULTS = {"network": 100, "subnet": 100, "port": 500, "security_group": 10, "security_group_rule": 100}


def of_project(project_id: str) -> dict[str, int]:
    """Inside a store closure: the limits of a project, -1 for none."""
    rows = QuotaRow.select().where(QuotaRow.project_id == project_id, QuotaRow.resource.in_(list(DEFAULTS)))
    return DEFAULTS | {row.resource: row.hard_limit for row in rows}


def used(project_id: str, resource: str) -> int:
    table = TABLES[resource]
    return table.select().where(table.project_id == project_id).count()


def check(resource: str, project_id: str) -> None:
    """Inside a store closure, before one more is made: ApiError 409 when the project has as many as it may."""
    limit = of_project(project_id)[resource]
    if limit >= 0 and used(project_id, resource) >= limit:
        raise errors.conflict(f"Quota exceeded for resources: ['{resource}'].", "OverQuota")
