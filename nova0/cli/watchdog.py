"""Whether the loop of a child turns, counted in the child's own running time.

A loop that is blocked answers nobody, hears no signal and does not end by itself. A child that was stopped
(SIGSTOP, a frozen cgroup), whose machine slept, or that got no processor, is none of that: such time is not
counted. The kernel keeps it for each thread: how often it was run, and how long it waited for a processor.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

LOOK_S = 1.0
LONGEST_LOOK_S = 2 * LOOK_S  # who looks later than this was itself not run: the rest is not counted
STACKS_WITHIN_S, ENDS_WITHIN_S = 2.0, 5.0  # between the three signals that end a child


class Watch:
    """Reads the beats of one child (`nova0/agents/watchdog.py`) from `pipe` and counts what goes by without any."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid, self._pipe = pid, pipe
        os.set_blocking(pipe, False)
        self.limit_s = 0.0  # as the child says; until its first beat it is starting, and not watched
        self.blocked_s = 0.0
        self._looked_at: float | None = None
        self._ran: dict[str, tuple[int, int]] = {}  # thread -> times it was run, ns it waited for a processor
        self.given_up = False
        self._ending: list[tuple[float, signal.Signals]] = []

    def close(self) -> None:
        os.close(self._pipe)

    def look(self, now: float) -> str:
        """Each LOOK_S, `now` by a monotonic clock. What to tell people, once, when the child is given up: from the
        next look on it is sent the signals that show its stacks and end it."""
        if self.given_up:
            self._end(now)
            return ""
        before, self._looked_at = self._looked_at, now
        ran, waited_s = self._threads()
        if self._beaten():
            self.blocked_s = 0.0
        elif before is not None and self.limit_s and ran:
            self.blocked_s += max(0.0, min(now - before, LONGEST_LOOK_S) - waited_s)
        if not self.limit_s or self.blocked_s < self.limit_s:
            return ""
        self.given_up = True
        self._ending = [
            (now, signal.SIGUSR1),
            (now + STACKS_WITHIN_S, signal.SIGTERM),
            (now + STACKS_WITHIN_S + ENDS_WITHIN_S, signal.SIGKILL),
        ]
        return f"its loop has been blocked for {self.blocked_s:.0f} s of its own running time"

    def _end(self, now: float) -> None:
        while self._ending and now >= self._ending[0][0]:
            _, number = self._ending.pop(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _beaten(self) -> bool:
        """Whether the loop turned since the last look."""
        said = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._pipe, 4096):
                said = (said + piece)[-64:]
        lines = said.split(b"\n")[:-1]
        if lines:
            with contextlib.suppress(ValueError):
                self.limit_s = float(lines[-1])
        return bool(lines)

    def _threads(self) -> tuple[bool, float]:
        """Since the last look: whether any thread of the child was run, and the longest that one of them waited
        for a processor, in seconds."""
        before, self._ran = self._ran, _schedule(self.pid)
        ran = any(before.get(thread, (-1, 0))[0] != times for thread, (times, _) in self._ran.items())
        waits = [wait - before[thread][1] for thread, (_, wait) in self._ran.items() if thread in before]
        return ran, max(waits, default=0) / 1e9


def _schedule(pid: int) -> dict[str, tuple[int, int]]:
    """thread -> (times it was run, ns it waited for a processor). Empty where the kernel does not tell: then
    nothing is counted and nobody ended."""
    found = {}
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError, ValueError):
                _, waited, times = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()
                found[thread] = (int(times), int(waited))
    return found
