"""How many images a project may have, how large together, and what each may carry of properties.

The rows are counted, so that no separate count could drift; bytes of uploads under way count as they come. Names and
words are those of the field's image service. Functions without a note run inside a transaction of the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from oslo_config import cfg
from peewee import fn

from nova0.config import CONF, declare
from nova0.controller.db.compute_tables import QuotaRow
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.quota.limits import CLASS, UNLIMITED, set_limits

MIB = 1 << 20
COUNT, SIZE = "image_count_total", "image_size_total"
NUMBER, BYTES = "image_property_quota", "image_property_bytes"
RESOURCES = (COUNT, SIZE, NUMBER, BYTES)
LOOK_BYTES = 4 * MIB  # of unknown length, between two looks at what is left
REMEDY = "Delete images, or ask an administrator for more (`nova0 image quota`)."

declare(
    [
        cfg.IntOpt(COUNT, default=100, min=-1, help="Images a project may have. -1: no limit."),
        cfg.IntOpt(SIZE, default=102_400, min=-1, help="Bytes of all images of a project, MiB."),
        cfg.IntOpt(NUMBER, default=128, min=-1, help="Properties one image may have."),
        cfg.IntOpt(BYTES, default=65_536, min=-1, help="Bytes of all properties of one image, their names included."),
    ],
    group="quota",
)


class OverLimit(Exception):
    """The message is for the user's eyes."""


def limits_of(project_id: str) -> dict[str, int]:
    """Limits that hold for a project; -1 is no limit. Sizes in MiB, as they are configured."""
    found = {name: int(CONF.quota[name]) for name in RESOURCES}
    rows = QuotaRow.select().where(QuotaRow.project_id.in_([CLASS, project_id]), QuotaRow.resource.in_(RESOURCES))
    for row in sorted(rows, key=lambda row: row.project_id != CLASS):  # the project's own word comes last
        found[row.resource] = row.hard_limit
    return found


def change(project_id: str, wanted: dict[str, int | None]) -> dict[str, int]:
    """Set some limits of a project, None: back to the default. Returns all."""
    set_limits(project_id, {name: limit for name, limit in wanted.items() if limit is not None})
    gone = [name for name, limit in wanted.items() if limit is None]
    QuotaRow.delete().where(QuotaRow.project_id == project_id, QuotaRow.resource.in_(gone)).execute()
    return limits_of(project_id)


def used_by(project_id: str) -> dict[str, int]:
    """Images, and MiB of them (a begun one counts)."""
    count, size = _used(project_id)
    return {COUNT: count, SIZE: -(-size // MIB)}


def one_more(project_id: str) -> None:
    """Raises OverLimit."""
    limit = limits_of(project_id)[COUNT]
    used, _ = _used(project_id)
    if limit != UNLIMITED and used + 1 > limit:
        raise _over(project_id, COUNT, limit, used, 1)


def properties(project_id: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Raises OverLimit. What was over a limit before may stay and shrink."""
    limits = limits_of(project_id)
    for name, measure, what in (
        (NUMBER, len, "the number of image properties"),
        (BYTES, _length, "the bytes of image properties"),
    ):
        number, limit = measure(after), limits[name]
        if limit != UNLIMITED and number > limit and number > measure(before):
            raise OverLimit(f"The limit has been exceeded on {what} ({name}). Attempted: {number}, Maximum: {limit}.")


def bytes_more(project_id: str, size: int) -> None:
    """Whether an image of `size` bytes still fits beside what is stored. Raises OverLimit."""
    left = room(project_id)
    if left is not None and size > left:
        limit = limits_of(project_id)[SIZE]
        raise _over(project_id, SIZE, limit, used_by(project_id)[SIZE], max(1, -(-size // MIB)))


def room(project_id: str) -> int | None:
    """Bytes that a project may still store; None: no limit. Below 0 where its limit was lowered."""
    limit = limits_of(project_id)[SIZE]
    return None if limit == UNLIMITED else limit * MIB - _used(project_id)[1]


class Uploads:
    """Bytes that come in now, by project: they count before they are stored. For one process; the transaction that
    makes an image active counts again, and has the last word."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    def watched(
        self,
        project_id: str,
        pieces: Iterable[bytes],
        room: Callable[[], int | None],
        length: int | None,
    ) -> Iterator[bytes]:
        """The pieces as they come. Raises OverLimit before the first where the known `length` does not fit beside what
        others of the project have said, later where no length was said. `room` asks the store."""
        counted = came = looked_at = 0
        try:
            self._check(project_id, room(), length or 1)  # from its answer to the next line nothing else runs
            counted = length or 0
            self._under_way[project_id] += counted
            for piece in pieces:
                came += len(piece)
                if came > counted:
                    self._under_way[project_id] += came - counted
                    counted = came
                    if came - looked_at >= LOOK_BYTES:
                        looked_at = came
                        self._check(project_id, room(), 0)
                yield piece
        finally:
            self._under_way[project_id] -= counted
            if not self._under_way[project_id]:
                del self._under_way[project_id]

    def _check(self, project_id: str, room: int | None, more: int) -> None:
        if room is not None and self._under_way[project_id] + more > room:
            raise OverLimit(
                f"Project {project_id} is over a limit for [Resource {SIZE}: {max(0, room) >> 20} MiB are left, "
                f"{self._under_way[project_id] >> 20} MiB are being uploaded]. {REMEDY}"
            )


def _used(project_id: str) -> tuple[int, int]:
    query: Any = ImageRow.select(fn.COUNT(ImageRow.id), fn.COALESCE(fn.SUM(ImageRow.size), 0)).where(
        ImageRow.owner == project_id, ImageRow.deleted_at.is_null()
    )
    count, size = query.tuples().get()
    return int(count), int(size)


def _length(properties: dict[str, Any]) -> int:
    return sum(len(str(text or "").encode()) for pair in properties.items() for text in pair)


def _over(project_id: str, name: str, limit: int, used: int, more: int) -> OverLimit:
    return OverLimit(
        f"Project {project_id} is over a limit for [Resource {name} is over limit of {limit} due to current usage "
        f"{used} and delta {more}]. {REMEDY}"
    )
