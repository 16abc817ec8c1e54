"""Refusing what a quota does not allow, in the field's words. Inside a transaction of the store."""

from __future__ import annotations

from nova0.controller.compute.refusals import Forbidden
from nova0.controller.quota import limits


def servers_allowed(project_id: str, *, at_least: int, at_most: int, vcpus: int, memory_mb: int) -> int:
    """How many of `at_most` equal servers fit; raises Forbidden when fewer than `at_least` do."""
    quota = limits.limits_of(project_id)
    if all(quota[resource] == limits.UNLIMITED for resource in ("instances", "cores", "ram")):
        return at_most  # using is counted from all the project's servers: not where it does not matter
    used = limits.used_by(project_id)
    allowed, over = at_most, []
    for resource, have, each in (
        ("instances", used.instances, 1),
        ("cores", used.cores, vcpus),
        ("ram", used.ram, memory_mb),
    ):
        limit = quota[resource]
        if limit == limits.UNLIMITED:
            continue
        room = max(0, limit - have) // each
        allowed = min(allowed, room)
        if room < at_least:
            over.append((resource, each * at_least, have, limit))
    if over:
        resources = ", ".join(name for name, *_ in over)
        wanted = ", ".join(str(item[1]) for item in over)
        have_now = ", ".join(str(item[2]) for item in over)
        total = ", ".join(str(item[3]) for item in over)
        raise Forbidden(
            f"Quota exceeded for {resources}: Requested {wanted}, but already used {have_now} of {total} {resources}"
        )
    return allowed


def metadata_items(project_id: str, count: int) -> None:
    limit = limits.limits_of(project_id)["metadata_items"]
    if not limits.fits(limit, 0, count):
        raise Forbidden(f"Quota exceeded for metadata_items: Maximum number of metadata items exceeds {limit}")


def key_pairs(user_id: str, project_id: str) -> None:
    if not limits.fits(limits.limits_of(project_id)["key_pairs"], limits.keypairs_of(user_id), 1):
        raise Forbidden("Quota exceeded, too many key pairs.")


def server_groups(project_id: str) -> None:
    quota, used = limits.limits_of(project_id), limits.used_by(project_id)
    if not limits.fits(quota["server_groups"], used.server_groups, 1):
        raise Forbidden("Quota exceeded, too many server groups.")


def group_members(project_id: str, members: int, wanted: int) -> None:
    if not limits.fits(limits.limits_of(project_id)["server_group_members"], members, wanted):
        raise Forbidden("Quota exceeded, too many servers in group")
