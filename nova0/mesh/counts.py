"""What one node counts of its own work. The hot path only adds to integers here; `telemetry` tells the sums."""

from __future__ import annotations

import time

from nova0.mesh.errors import kind_of
from nova0.metrics import Tally, Traffic

MOST_ASKED = 1000  # methods of other nodes counted apart; the names may come from a person's command line
OTHER = ("other", "other")


class Counts:
    """Written by the parts of one node, all on its loop."""

    __slots__ = (
        "asked", "calls", "cast_loads", "casts", "casts_dropped", "gaps", "links_cut", "links_up", "reconnects",
        "refused_calls", "stalled_s", "stalls", "started_at", "streams",
    )  # fmt: skip

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], Tally] = {}  # (topic, method) -> calls this node made
        self.refused_calls: dict[str, int] = {}  # kind of error -> calls answered by it without running anything
        self.calls, self.casts = Traffic(), Traffic()  # bytes and frames of calls and answers; of casts and beats
        self.streams = Traffic()
        self.casts_dropped = self.gaps = 0
        self.links_up = self.links_cut = self.reconnects = 0
        self.stalls, self.stalled_s = 0, 0.0
        self.started_at = time.monotonic()

    def asking(self, topic: str, method: str) -> Tally:
        tally = self.asked.get((topic, method))
        if tally is None:
            key = (topic, method) if len(self.asked) < MOST_ASKED else OTHER
            tally = self.asked.setdefault(key, Tally())
        return tally

    def refuse(self, error: BaseException) -> None:
        kind = kind_of(error)
        self.refused_calls[kind] = self.refused_calls.get(kind, 0) + 1

    def stalled(self, seconds: float) -> None:
        """The loop was held for so long."""
        self.stalls += 1
        self.stalled_s += seconds
