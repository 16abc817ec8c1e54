"""Who goes down and up again and again is damped, as routers damp flapping routes (RFC 2439).

Every time it goes it earns a penalty, which halves in `HALF_LIFE_S`. Over `SUPPRESS` its changes are told to
nobody until the penalty has fallen under `REUSE`; what is told then is how things stand.
"""

from __future__ import annotations

from math import log2

from nova0.mesh.members import Status

HALF_LIFE_S = 30.0
PENALTY = {Status.DOWN: 1000.0, Status.LEFT: 500.0}
SUPPRESS, REUSE, MOST = 2500.0, 1000.0, 8000.0  # MOST: nobody is held back longer than 90 s after it is steady


class Flaps:
    """One peer's record."""

    __slots__ = ("_at", "_penalty", "damped", "times")

    def __init__(self) -> None:
        self._penalty, self._at = 0.0, 0.0
        self.damped = False
        self.times = 0  # it went since it was last steady

    def went(self, status: Status, now: float) -> None:
        """It is not up any more. A suspicion alone costs nothing."""
        if status not in PENALTY:
            return
        self._penalty, self._at = min(MOST, self.penalty(now) + PENALTY[status]), now
        self.times += 1
        self.damped = self.damped or self._penalty > SUPPRESS

    def penalty(self, now: float) -> float:
        return self._penalty * 0.5 ** ((now - self._at) / HALF_LIFE_S)

    def held_s(self, now: float) -> float:
        """For how long its changes are held back yet, if it stays as it is."""
        return max(0.0, HALF_LIFE_S * log2(max(self.penalty(now), 1.0) / REUSE))

    def calm(self, now: float) -> bool:
        """True once the penalty has decayed: its changes count again."""
        if self.penalty(now) < REUSE:
            self.damped, self.times = False, 0
        return not self.damped
