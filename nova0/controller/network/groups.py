"""Security groups: the default one of a project, finding by name, and rules compiled for a host."""

from __future__ import annotations

from collections.abc import Iterable

from nova0.controller.api import errors
from nova0.controller.db.network_tables import SecurityGroupRow, SecurityGroupRuleRow
from nova0.controller.network import revision
from nova0.objects.network import Rule

DEFAULT = "default"
AT_ONCE = 500  # groups read in one statement, which SQLite bounds


def default_group(project_id: str) -> SecurityGroupRow:
    """The project's `default`: all egress, ingress only from itself. Made on first use."""
    row = SecurityGroupRow.get_or_none(name=DEFAULT, project_id=project_id)
    if row is None:
        row = SecurityGroupRow.create(name=DEFAULT, project_id=project_id, description="Default security group")
        allow_egress(row)
        for ethertype in ("IPv4", "IPv6"):
            SecurityGroupRuleRow.create(
                security_group_id=row.id,
                project_id=project_id,
                direction="ingress",
                ethertype=ethertype,
                remote_group_id=row.id,
            )
    return row


def allow_egress(row: SecurityGroupRow) -> None:
    """What every new group starts with."""
    for ethertype in ("IPv4", "IPv6"):
        SecurityGroupRuleRow.create(
            security_group_id=row.id, project_id=row.project_id, direction="egress", ethertype=ethertype
        )


def ids_of(names_or_ids: list[str], project_id: str) -> list[str]:
    """Ids of groups named in a request; none named: the default group. ApiError 400 unknown, 409 ambiguous."""
    if not names_or_ids:
        return [default_group(project_id).id]
    found = []
    for wanted in names_or_ids:
        if wanted == DEFAULT:
            found.append(default_group(project_id).id)
            continue
        table = SecurityGroupRow
        rows = list(table.select().where((table.id == wanted) | (table.name == wanted), table.project_id == project_id))
        exact = [row for row in rows if row.id == wanted] or rows
        if not exact:
            raise errors.bad_request(f"Security group {wanted} not found for project {project_id}.")
        if len(exact) > 1:
            raise errors.conflict(f"Multiple security groups found matching '{wanted}'. Use an ID to be more specific.")
        found.append(exact[0].id)
    return list(dict.fromkeys(found))


class Compiler:
    """Rules of groups as hosts need them. Those named at first are read together; it keeps what it read, so that
    one serves a whole view, and ports of the same groups share one tuple of rules."""

    def __init__(self, group_ids: Iterable[str] = ()) -> None:
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._whole: dict[tuple[str, ...], tuple[Rule, ...]] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._read(group_ids)

    def rules(self, group_ids: list[str]) -> tuple[Rule, ...]:
        key = tuple(group_ids)
        if key not in self._whole:
            self._read(group_ids)
            self._whole[key] = tuple(rule for group_id in group_ids for rule in self._rules[group_id])
        return self._whole[key]

    def _read(self, group_ids: Iterable[str]) -> None:
        new = [group_id for group_id in dict.fromkeys(group_ids) if group_id not in self._rules]
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            table = SecurityGroupRuleRow
            rows = list(table.select().where(table.security_group_id.in_(some)).order_by(table.id))
            remote = {row.remote_group_id for row in rows if row.remote_group_id} - self._members.keys()
            self._members |= {group: tuple(sorted(found)) for group, found in revision.addresses_in(remote).items()}
            self._rules |= {group_id: () for group_id in some}
            for row in rows:
                self._rules[row.security_group_id] += (self._compiled(row),)

    def _compiled(self, row: SecurityGroupRuleRow) -> Rule:
        remotes: tuple[str, ...] = ()
        if row.remote_group_id:
            six = row.ethertype == "IPv6"
            remotes = tuple(one for one in self._members[row.remote_group_id] if (":" in one) is six)
        elif row.remote_ip_prefix:
            remotes = (row.remote_ip_prefix,)
        return Rule(
            direction=row.direction,
            ethertype=row.ethertype,
            protocol=row.protocol,
            port_min=row.port_range_min,
            port_max=row.port_range_max,
            remotes=remotes,
            any_remote=not row.remote_group_id and not row.remote_ip_prefix,
        )
