"""What the store disowned of this host's guests, and how many of them may go on that word alone.

A few may: a server that was moved or deleted while this host was away. Many at once are more likely the
word of a mistaken or a false controller: they are kept until each is deleted by a call of its own, the
store places them here again, or a person at this machine lets them go. On disk before it counts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
from gevent.lock import RLock
from oslo_config import cfg

from nova0 import clock
from nova0.clock import Moment
from nova0.config import CONF, declare
from nova0.host.compute.records import Records
from nova0.objects.host import Disowned

LOG = logging.getLogger(__name__)
FILE = "disowned"  # in the records' directory
WINDOW_S = 600.0
REASONS = ("deleted", "moved")

declare(
    [
        cfg.IntOpt(
            "disown_most",
            default=3,
            min=0,
            help="How many guests this host removes in ten minutes because the store disowns them when both are "
            "compared. If it is more, all are kept in doubt: nova0 guests. Deletes of single servers do not count.",
        )
    ]
)


class Seen(msgspec.Struct, kw_only=True, frozen=True):
    """A guest that the store disowned. Neither kept nor let go: it was kept, and then placed here again."""

    reason: str
    generation: int  # the store's
    at: float  # seconds since the epoch, when it was disowned; for show
    since: Moment | None = None  # the same, as it counts: a clock that is set ahead ends no window
    kept: bool = False
    let_go: bool = False


_decoder = msgspec.json.Decoder(dict[str, Seen])


class Disownings:
    """Raises DriverError where the disk refuses."""

    def __init__(self, records: Records, now: Callable[[], Moment] = clock.moment) -> None:
        self._records, self._now = records, now
        self._hand = RLock()  # writing waits for the disk
        self._seen: dict[str, Seen] = {}
        self._refused: set[str] = set()  # told in the log

    def open(self) -> None:
        """Read what an earlier run left. What cannot be read is as if the store had disowned nothing yet."""
        path = self._records.directory / FILE
        try:
            self._seen = _decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            LOG.error("%s: %s cannot be read (%s): what is in doubt is found anew", self._records.host, path, error)

    def judge(self, said: Iterable[Disowned], generations: dict[str, int]) -> list[str]:
        """What may go now of what the store disowned. `generations`: of the guests it was told of, by uuid."""
        with self._hand:
            now = self._now()
            told = [one for one in said if one.uuid in generations]  # what was not told cannot be disowned
            fits = {one.uuid: one for one in told if self._fits(one, generations[one.uuid])}
            seen = self._still_counting(fits, now)
            judged = {uuid for uuid, one in seen.items() if one.kept or one.let_go}
            new = {uuid: one for uuid, one in fits.items() if uuid not in judged}
            over = any(one.kept for one in seen.values()) or len(seen.keys() | new.keys()) > CONF.disown_most
            for uuid, one in new.items():
                seen[uuid] = Seen(
                    reason=one.reason, generation=one.generation, at=now.wall, since=now, kept=over, let_go=not over
                )
            self._keep(seen)
            if over and new:
                self._tell(new.values())
            return [uuid for uuid in fits if seen[uuid].let_go]

    def kept(self) -> dict[str, Seen]:
        """What stays for now, by uuid."""
        return {uuid: one for uuid, one in self._seen.items() if one.kept}

    def gone(self, uuid: str) -> None:
        """A guest is no longer here: deleted by a call of its own, or let go by a person, it does not count."""
        with self._hand:
            if uuid in self._seen and self._seen[uuid].kept:
                self._keep({other: one for other, one in self._seen.items() if other != uuid})

    def looked_at(self) -> None:
        """A person saw what is kept: counting begins anew. What is kept stays so."""
        with self._hand:
            self._keep(self.kept())

    def _still_counting(self, fits: dict[str, Disowned], now: Moment) -> dict[str, Seen]:
        """What was kept stays so for as long as it is disowned; all counts for ten minutes, whatever the store
        says since and whoever sets the clock. One that was ahead is no reason to count longer."""
        counting = {}
        for uuid, one in self._seen.items():
            kept = one.kept and uuid in fits
            began = one.since or Moment("", 0.0, one.at)  # written by an earlier version
            if began.wall > now.wall and began.boot != now.boot:
                began = now
            if kept or clock.between(began, now) < WINDOW_S:
                counting[uuid] = msgspec.structs.replace(one, kept=kept, at=min(one.at, now.wall), since=began)
        return counting

    def _fits(self, one: Disowned, generation: int) -> bool:
        if one.reason in REASONS and one.generation >= generation:
            return True
        if one.uuid not in self._refused:
            self._refused.add(one.uuid)
            LOG.warning(
                "%s: instance %s: the store disowns it (%s, at generation %d), which does not fit what is known here "
                "(generation %d): it is kept",
                *(self._records.host, one.uuid, one.reason if one.reason in REASONS else "for no reason known here"),
                *(one.generation, generation),
            )
        return False

    def _tell(self, new: Iterable[Disowned]) -> None:
        reasons = Counter(one.reason for one in new)
        LOG.error(
            "%s: the store disowns %d guests (%s): more than disown_most=%d in ten minutes, or while others are in "
            "doubt. They are kept until each is deleted by a call of its own; or: nova0 guests release",
            *(self._records.host, reasons.total(), ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))),
            CONF.disown_most,
        )

    def _keep(self, seen: dict[str, Seen]) -> None:
        if seen != self._seen:
            self._records.keep_file(FILE, msgspec.json.encode(seen))
            self._seen = seen
