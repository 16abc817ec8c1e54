"""Choosing and ordering servers for a list: SQL for what columns say, then a look at each for the rest.

Runs inside a transaction of the store. Reads narrow tuples first and full rows only for the page asked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import re2
from peewee import Expression

from nova0.controller.compute import instances
from nova0.controller.compute.refusals import BadRequest
from nova0.controller.db.base_table import part as json_part
from nova0.controller.db.compute_tables import InstanceRow as I

SORT_COLUMNS: dict[str, Any] = {
    "access_ip_v4": I.access_ip_v4,
    "access_ip_v6": I.access_ip_v6,
    "auto_disk_config": I.disk_config,
    "availability_zone": I.availability_zone,
    "config_drive": I.config_drive,
    "created_at": I.created_at,
    "display_description": I.description,
    "display_name": I.name,
    "host": I.host,
    "hostname": I.hostname,
    "image_ref": json_part(I.image, "$.id"),
    "instance_type_id": json_part(I.flavor, "$.flavor_id"),
    "kernel_id": json_part(I.image, "$.properties.kernel_id"),
    "key_name": I.key_name,
    "launch_index": I.launch_index,
    "launched_at": I.launched_at,
    "locked_by": I.locked_by,
    "node": I.node,
    "power_state": I.power_state,
    "progress": I.progress,
    "project_id": I.project_id,
    "ramdisk_id": json_part(I.image, "$.properties.ramdisk_id"),
    "root_device_name": I.root_device_name,
    "task_state": I.task_state,
    "terminated_at": I.terminated_at,
    "updated_at": I.updated_at,
    "user_id": I.user_id,
    "uuid": I.uuid,
    "vm_state": I.vm_state,
}
ADMIN_SORT_COLUMNS = {"host", "node"}
_PATTERN_MOST = 255
_PATTERN_MEMORY_BYTES = 256 * 1024  # of the automaton: a pattern that needs more is refused
_PATTERN_MOST_STEPS = 1000  # of RE2's program: the time of one search is at most so many times the text
_PATTERN_MOST_S, _PATTERN_EACH_S = 0.05, 10e-6  # of all searches, and for each more; a usual one takes a third of it
_PLAIN = re.compile(r"[A-Za-z0-9 _-]*")  # finds itself and nothing else


@dataclass(kw_only=True)
class Asked:
    """What a list asks for. `where`: conditions on columns; texts are regular expressions where the field says so."""

    where: list[Expression] = field(default_factory=list)
    name: str | None = None
    ip: str | None = None
    ip6: str | None = None
    tags_all: frozenset[str] = frozenset()
    tags_any: frozenset[str] = frozenset()
    tags_not_all: frozenset[str] = frozenset()
    tags_not_any: frozenset[str] = frozenset()
    metadata: dict[str, str] = field(default_factory=dict)
    sort: list[tuple[str, str]] = field(default_factory=lambda: [("created_at", "desc"), ("uuid", "desc")])
    marker: str | None = None
    limit: int = 1000
    in_project: str | None = None  # None: all


def select(asked: Asked) -> tuple[list[str], bool]:
    """The uuids of the page, and whether more remain. Raises BadRequest: unknown marker, bad pattern."""
    order = [SORT_COLUMNS[key].desc() if way == "desc" else SORT_COLUMNS[key].asc() for key, way in asked.sort]
    by_tags = asked.tags_all or asked.tags_any or asked.tags_not_all or asked.tags_not_any
    wide = [column for column, read in ((I.name, asked.name), (I.tags, by_tags), (I.metadata, asked.metadata)) if read]
    query = I.select(I.uuid, *wide).order_by(*order, I.id.desc())
    conditions = list(asked.where)
    if asked.in_project is not None:
        conditions.append(I.project_id == asked.in_project)
    if conditions:
        query = query.where(*conditions)
    if not (wide or asked.ip or asked.ip6 or asked.marker):
        query = query.limit(asked.limit + 1)
    wanted = _uuids(query, asked)
    if asked.marker:
        wanted = _after(wanted, asked.marker, asked, order)
    return wanted[: asked.limit], len(wanted) > asked.limit


def rows(uuids: list[str], asked: Asked) -> list[I]:
    """Those of the servers that are still what was asked for, in this order."""
    by_uuid = {row.uuid: row for row in I.select().where(I.uuid.in_(uuids), *asked.where)}
    return [by_uuid[uuid] for uuid in uuids if uuid in by_uuid]


def _uuids(query: Any, asked: Asked) -> list[str]:
    tests: list[Callable[[Any], bool]] = []
    if asked.name:
        matches = Pattern("name", asked.name)
        tests.append(lambda row: matches(row.name))
    if asked.tags_all or asked.tags_any or asked.tags_not_all or asked.tags_not_any:
        tests.append(lambda row: _tags_fit(set(row.tags), asked))
    if asked.metadata:
        tests.append(lambda row: all(row.metadata.get(key) == value for key, value in asked.metadata.items()))
    if tests:
        uuids = [row.uuid for row in query.namedtuples() if all(test(row) for test in tests)]
    else:
        uuids = [uuid for (uuid,) in query.tuples()]
    return _with_address(uuids, asked) if asked.ip or asked.ip6 else uuids


def _tags_fit(tags: set[str], asked: Asked) -> bool:
    return (
        asked.tags_all <= tags
        and (not asked.tags_any or bool(asked.tags_any & tags))
        and (not asked.tags_not_all or not asked.tags_not_all <= tags)
        and not (asked.tags_not_any & tags)
    )


def _with_address(uuids: list[str], asked: Asked) -> list[str]:
    four = Pattern("ip", asked.ip) if asked.ip else None
    six = Pattern("ip6", asked.ip6) if asked.ip6 else None
    fitting = set()
    for start in range(0, len(uuids), 500):  # SQLite bounds the variables of one statement
        for uuid, address in instances.bare_addresses_of(uuids[start : start + 500]):
            matches = six if ":" in address else four
            if matches is not None and matches(address):
                fitting.add(uuid)
    return [uuid for uuid in uuids if uuid in fitting]


def _after(uuids: list[str], marker: str, asked: Asked, order: list[Any]) -> list[str]:
    """What follows the marker, which may itself not pass the filters (it changed state meanwhile)."""
    if marker in uuids:
        return uuids[uuids.index(marker) + 1 :]
    scope: Any = I.select(I.uuid).order_by(*order, I.id.desc()).tuples()
    if asked.in_project is not None:
        scope = scope.where(I.project_id == asked.in_project)
    everything = [uuid for (uuid,) in scope]
    if marker not in everything:
        raise BadRequest(f"marker [{marker}] not found")
    later = set(everything[everything.index(marker) + 1 :])
    return [uuid for uuid in uuids if uuid in later]


class Pattern:
    """A search by a regular expression of the user's, with RE2: linear in the text whatever it says. BadRequest where
    it is none, where RE2 does not have what it uses, and where its searches take too much of this thread's processor
    time: linear is not yet quick, and everybody waits for the store."""

    def __init__(self, name: str, text: str) -> None:
        if len(text) > _PATTERN_MOST:
            raise BadRequest(f"Invalid filter {name}: a pattern has at most {_PATTERN_MOST} characters.")
        self._name, self._left_s = name, _PATTERN_MOST_S
        self._plain = text.lower() if _PLAIN.fullmatch(text) else None
        if self._plain is None:
            try:
                read = re2.compile(text, _options())
            except re2.error as error:
                why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
                raise BadRequest(
                    f"Invalid filter {name}: {text} is no regular expression that RE2 reads ({why}); it has no "
                    "backreferences and no look-around."
                ) from None
            if read.programsize > _PATTERN_MOST_STEPS:
                raise BadRequest(f"Invalid filter {name}: this pattern is too large; use a plainer one.")
            self._search = read.search

    def __call__(self, text: str) -> bool:
        if self._plain is not None:
            return self._plain in text.lower()
        begun = time.thread_time()
        found = self._search(text) is not None
        self._left_s += _PATTERN_EACH_S - (time.thread_time() - begun)
        if self._left_s < 0:
            raise BadRequest(f"Invalid filter {self._name}: this pattern takes too long; use a plainer one.")
        return found


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive, options.never_capture, options.log_errors = False, True, False
    options.max_mem = _PATTERN_MEMORY_BYTES
    return options
