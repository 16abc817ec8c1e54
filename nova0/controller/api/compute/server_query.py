"""The query of a server list as conditions: which filters whom, and what the field does with the rest."""

from __future__ import annotations

from typing import Any

import msgspec

from nova0.controller.api import paging
from nova0.controller.api import validation as v
from nova0.controller.api.compute.views import times
from nova0.controller.api.request import Request
from nova0.controller.compute.refusals import BadRequest, Forbidden
from nova0.controller.compute.server_filters import ADMIN_SORT_COLUMNS, SORT_COLUMNS, Asked
from nova0.controller.db.compute_tables import InstanceRow as I
from nova0.controller.numbers import signed
from nova0.objects.states import AT_ITS_HOST, TaskState, VmState

_STATES: dict[str, tuple[Any, Any]] = {  # status -> (vm_state, task_states or None)
    "BUILD": (VmState.BUILDING, None),
    "ACTIVE": (VmState.ACTIVE, None),
    "SHUTOFF": (VmState.STOPPED, None),
    "PAUSED": (VmState.PAUSED, None),
    "SUSPENDED": (VmState.SUSPENDED, None),
    "RESCUE": (VmState.RESCUED, None),
    "VERIFY_RESIZE": (VmState.RESIZED, None),
    "SOFT_DELETED": (VmState.SOFT_DELETED, None),
    "DELETED": (VmState.DELETED, None),
    "ERROR": (VmState.ERROR, None),
    "SHELVED": (VmState.SHELVED, None),
    "SHELVED_OFFLOADED": (VmState.SHELVED_OFFLOADED, None),
    "REBOOT": (VmState.ACTIVE, (TaskState.REBOOTING, TaskState.REBOOT_PENDING, TaskState.REBOOT_STARTED)),
    "HARD_REBOOT": (
        VmState.ACTIVE,
        (TaskState.REBOOTING_HARD, TaskState.REBOOT_PENDING_HARD, TaskState.REBOOT_STARTED_HARD),
    ),
    # The field's, but no server of ours is ever in them: they find nothing. UNKNOWN is of the host: see `_status`.
    "PASSWORD": (None, None),
    "REBUILD": (None, None),
    "MIGRATING": (None, None),
    "RESIZE": (None, None),
    "REVERT_RESIZE": (None, None),
    "UNKNOWN": (None, None),
}
_EQUAL: dict[str, Any] = {  # filters that compare one column with text
    "reservation_id": I.reservation_id,
    "uuid": I.uuid,
    "user_id": I.user_id,
    "host": I.host,
    "node": I.node,
    "hostname": I.hostname,
    "availability_zone": I.availability_zone,
    "key_name": I.key_name,
    "vm_state": I.vm_state,
    "task_state": I.task_state,
    "access_ip_v4": I.access_ip_v4,
    "access_ip_v6": I.access_ip_v6,
    "root_device_name": I.root_device_name,
    "locked_by": I.locked_by,
    "auto_disk_config": I.disk_config,
    "kernel_id": SORT_COLUMNS["kernel_id"],
    "ramdisk_id": SORT_COLUMNS["ramdisk_id"],
    "description": I.description,
    "display_description": I.description,
}
_NUMBERS: dict[str, Any] = {"launch_index": I.launch_index, "power_state": I.power_state, "progress": I.progress}
_TIMES: dict[str, Any] = {
    "created_at": I.created_at,
    "updated_at": I.updated_at,
    "launched_at": I.launched_at,
    "terminated_at": I.terminated_at,
}
_USERS = {"changes-since", "changes-before", "flavor", "image", "ip", "name", "status", "reservation_id", "locked"}
_USERS_2_26 = {"tags", "tags-any", "not-tags", "not-tags-any"}
_USERS_2_83 = {
    "availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at",
    "power_state", "task_state", "vm_state", "progress", "user_id",
}  # fmt: skip


def read(request: Request) -> Asked | None:
    """None: nothing can match. In a transaction. Raises BadRequest, Forbidden naming the filter."""
    query, context = request.query, request.context
    admin = context.is_admin
    asked = Asked(limit=paging.limit_of(query), marker=query.get("marker") or None)
    asked.sort = _sort(request)
    may = None if admin else _allowed(request)
    given = {name: query.get(name) or "" for name in query if may is None or name in may}
    asked.in_project = _project(request)
    if asked.in_project == "":
        return None  # a token of a domain or the system: no project, no servers
    conditions, asked.where = asked.where, asked.where
    deleted = _deleted(request, given)
    if not _status(request, conditions, deleted):
        return None
    _flavor_and_image(given, conditions)
    for name, column in _EQUAL.items():
        if given.get(name):
            conditions.append(column == given[name])
    for name, column in _NUMBERS.items():
        if given.get(name):
            conditions.append(column == _number(name, given[name]))
    for name, column in _TIMES.items():
        if given.get(name):
            moment = _time(name, given[name])
            conditions.append(column.between(moment, moment + 0.999999))
    if given.get("config_drive"):
        conditions.append(I.config_drive == _boolean("config_drive", given["config_drive"]))
    if "locked" in given:
        locked = _boolean("locked", given["locked"])
        conditions.append(I.locked_by.is_null(not locked))
    asked.name = given.get("name") or (given.get("display_name") if admin else None)
    asked.ip, asked.ip6 = given.get("ip"), query.get("ip6") if admin or request.at_least("2.5") else None
    asked.tags_all, asked.tags_any = _tags(given, "tags"), _tags(given, "tags-any")
    asked.tags_not_all, asked.tags_not_any = _tags(given, "not-tags"), _tags(given, "not-tags-any")
    if given.get("metadata"):
        asked.metadata = _metadata(given["metadata"])
    return asked


def _allowed(request: Request) -> set[str]:
    allowed = set(_USERS)
    if request.at_least("2.26"):
        allowed |= _USERS_2_26
    if request.at_least("2.83"):
        allowed |= _USERS_2_83
    return allowed


def _sort(request: Request) -> list[tuple[str, str]]:
    keys = paging.sort_keys(request.query, [("created_at", "desc"), ("uuid", "desc")])
    known = []
    for key, way in keys:
        if key == "locked" and request.at_least("2.73"):
            key = "locked_by"
        if key not in SORT_COLUMNS:
            raise BadRequest(f"Invalid input for field/attribute sort_key. Value: {key}. It is no key to sort by.")
        if key in ADMIN_SORT_COLUMNS and not request.context.is_admin:
            raise Forbidden(f"Only administrators can sort servers by {key}")
        known.append((key, way))
    return list(dict.fromkeys(known))


def _project(request: Request) -> str | None:
    """Whose servers; None for all, which only an admin may ask."""
    query, context = request.query, request.context
    text = query.get("all_tenants")
    everyone = text is not None and (text == "" or _boolean("all_tenants", text))
    if not everyone:  # a project named without all_tenants is ignored, as the field does
        return context.project_id
    if not context.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed.")
    return query.get("project_id") or query.get("tenant_id")


def _deleted(request: Request, given: dict[str, str]) -> bool | None:
    """True: only deleted, False: only living, None: both (the poll by changes-since)."""
    if request.context.is_admin and request.query.get("deleted") not in (None, ""):
        return _boolean("deleted", str(request.query.get("deleted")))
    return None if given.get("changes-since") or given.get("changes-before") else False


def _status(request: Request, conditions: list[Any], deleted: bool | None) -> bool:
    """Adds what status and times ask; False: nothing can match."""
    query = request.query
    for name in ("changes-since", "changes-before"):
        if query.get(name):
            moment = _time(name, str(query.get(name)))
            changed = I.updated_at.is_null(False) & (I.updated_at >= moment) | I.updated_at.is_null() & (
                I.created_at >= moment
            )
            before = I.updated_at.is_null(False) & (I.updated_at <= moment) | I.updated_at.is_null() & (
                I.created_at <= moment
            )
            conditions.append(changed if name == "changes-since" else before)
    several = list(dict.fromkeys(status.upper() for status in query.all("status") if status))
    if several:
        unknown = [status for status in several if status not in _STATES]
        several = [status for status in several if status in _STATES]  # a condition each: as many as there are
        if unknown and request.at_least("2.38"):
            raise BadRequest(f"Invalid status value: {', '.join(unknown)}")
        either = None
        put_out = list(request.services.hosts.put_out())
        elsewhere = I.host.is_null() | I.host.not_in(put_out) | I.vm_state.not_in(AT_ITS_HOST)
        for status in several:
            if status == "UNKNOWN" and put_out:
                either = ~elsewhere if either is None else either | ~elsewhere
            vm_state, tasks = _STATES.get(status, (None, None))
            if vm_state is None:
                continue
            if vm_state == VmState.DELETED:
                if not request.context.is_admin:
                    raise Forbidden("Only administrators may list deleted instances")
                deleted = None if deleted is False else deleted
            one = I.vm_state == vm_state
            if put_out:  # those are shown as UNKNOWN
                one = one & elsewhere
            if tasks:
                one = one & I.task_state.in_(tasks)
            either = one if either is None else either | one
        if either is None:
            return False
        conditions.append(either)
    if deleted is not None:
        conditions.append(I.deleted_at.is_null(not deleted))
    return True


def _flavor_and_image(given: dict[str, str], conditions: list[Any]) -> None:
    flavor = given.get("flavor") or given.get("instance_type_id")
    if flavor:
        conditions.append(SORT_COLUMNS["instance_type_id"] == flavor)
    image = given.get("image") or given.get("image_ref")
    if image:
        conditions.append(SORT_COLUMNS["image_ref"] == image.rsplit("/", 1)[-1])


def _tags(given: dict[str, str], name: str) -> frozenset[str]:
    return frozenset(tag for tag in given.get(name, "").split(",") if tag)


def _metadata(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        raise BadRequest(f"Invalid filter metadata: {text} is no JSON object of texts.") from None


def _boolean(name: str, text: str) -> bool:
    if text not in v.BOOLEAN["enum"] and text.lower() not in ("true", "false", "yes", "no", "on", "off", "t", "f"):
        raise BadRequest(f"Invalid filter {name}: {text} is no boolean.")
    return v.truth(text) or text.lower() == "t"


def _number(name: str, text: str) -> int:
    number = signed(text)
    if number is None:
        raise BadRequest(f"Invalid filter {name}: {text} is no number.")
    return number


def _time(name: str, text: str) -> float:
    try:
        return times.parse(text)
    except ValueError:
        raise BadRequest(f"Invalid filter {name}: {text} is no ISO 8601 time.") from None
