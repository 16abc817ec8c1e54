"""How much a project may have: defaults from the configuration, the class "default", then its own rows.

Everything here runs inside a transaction of the store; usage is counted from the rows themselves, so
there is no separate count that could drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oslo_config import cfg
from peewee import fn

from nova0.config import CONF, declare
from nova0.controller.db.base_table import part as json_part
from nova0.controller.db.compute_tables import InstanceRow, KeypairRow, QuotaRow, ServerGroupRow

UNLIMITED = -1
CLASS = "default"  # project_id of rows that replace the configured defaults

declare(
    [
        cfg.IntOpt("instances", default=10, min=-1, help="Servers a project may have. -1: no limit."),
        cfg.IntOpt("cores", default=20, min=-1, help="Virtual processors of all servers of a project."),
        cfg.IntOpt("ram", default=50 * 1024, min=-1, help="Memory of all servers of a project, MiB."),
        cfg.IntOpt("metadata_items", default=128, min=-1, help="Properties one server may have."),
        cfg.IntOpt("injected_files", default=5, min=-1, help="Files of a personality (below microversion 2.57)."),
        cfg.IntOpt("injected_file_content_bytes", default=10 * 1024, min=-1, help="Bytes of one such file."),
        cfg.IntOpt("injected_file_path_bytes", default=255, min=-1, help="Bytes of the path of one such file."),
        cfg.IntOpt("key_pairs", default=100, min=-1, help="Key pairs a user may have."),
        cfg.IntOpt("server_groups", default=10, min=-1, help="Server groups a project may have."),
        cfg.IntOpt("server_group_members", default=10, min=-1, help="Servers one group may have."),
    ],
    group="quota",
)

RESOURCES = (
    "instances",
    "cores",
    "ram",
    "metadata_items",
    "injected_files",
    "injected_file_content_bytes",
    "injected_file_path_bytes",
    "key_pairs",
    "server_groups",
    "server_group_members",
)
NETWORK_RESOURCES = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")  # kept, without effect:
# the network service has its own; old clients set and read them here


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a project has now: servers, virtual processors, MiB, groups."""

    instances: int
    cores: int
    ram: int
    server_groups: int


def defaults() -> dict[str, int]:
    """Limits of a project without rows of its own."""
    limits = _configured()
    limits.update(_rows(CLASS))
    return limits


def class_limits(name: str) -> dict[str, int]:
    """Limits kept under a quota class; only the class "default" has any effect."""
    return _configured() | _rows(CLASS if name == CLASS else f"class {name}")


def set_class_limits(name: str, limits: dict[str, int]) -> None:
    set_limits(CLASS if name == CLASS else f"class {name}", limits)


def limits_of(project_id: str) -> dict[str, int]:
    """Limits that hold for a project; -1 is no limit."""
    limits = _configured()
    rows = QuotaRow.select().where(QuotaRow.project_id.in_([CLASS, project_id]))
    for row in sorted(rows, key=lambda row: row.project_id != CLASS):  # the project's own word comes last
        if row.resource in limits:
            limits[row.resource] = row.hard_limit
    return limits


def set_limits(project_id: str, limits: dict[str, int]) -> None:
    """Write some limits of a project, or of the class "default"."""
    for resource, hard_limit in limits.items():
        QuotaRow.insert(project_id=project_id, resource=resource, hard_limit=hard_limit).on_conflict(
            conflict_target=[QuotaRow.project_id, QuotaRow.resource], update={QuotaRow.hard_limit: hard_limit}
        ).execute()


def forget_limits(project_id: str) -> None:
    """Back to the defaults."""
    ours = QuotaRow.resource.in_(RESOURCES + NETWORK_RESOURCES)
    QuotaRow.delete().where(QuotaRow.project_id == project_id, ours).execute()


def used_by(project_id: str) -> Used:
    """Counted from the rows that exist; deleted servers free their share when they are gone."""
    query: Any = (
        InstanceRow.select(
            fn.COUNT(InstanceRow.id),
            fn.COALESCE(fn.SUM(json_part(InstanceRow.flavor, "$.vcpus")), 0),
            fn.COALESCE(fn.SUM(json_part(InstanceRow.flavor, "$.memory_mb")), 0),
        )
        .where(InstanceRow.project_id == project_id, InstanceRow.deleted_at.is_null())
        .tuples()
    )
    count, cores, ram = query.get()
    groups = ServerGroupRow.select().where(ServerGroupRow.project_id == project_id).count()
    return Used(instances=int(count), cores=int(cores), ram=int(ram), server_groups=groups)


def keypairs_of(user_id: str) -> int:
    return KeypairRow.select().where(KeypairRow.user_id == user_id).count()


def fits(limit: int, used: int, wanted: int) -> bool:
    return limit == UNLIMITED or used + wanted <= limit


def _configured() -> dict[str, int]:
    return {name: int(CONF.quota[name]) for name in RESOURCES} | dict.fromkeys(NETWORK_RESOURCES, UNLIMITED)


def _rows(project_id: str) -> dict[str, Any]:
    rows = QuotaRow.select().where(QuotaRow.project_id == project_id)
    return {row.resource: row.hard_limit for row in rows if row.resource in RESOURCES + NETWORK_RESOURCES}
