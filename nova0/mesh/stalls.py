"""Who held the loop: a real thread looks at the loop's own stack when it has not turned for a while.

A loop that is held looks dead to every peer and stops every call, and the log of a held loop is silent; so
the stack is taken while it is held, and told when it turns again.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import gevent
from gevent import monkey

from nova0.native import thread

LOG = logging.getLogger(__name__)
_get_ident = monkey.get_original("_thread", "get_ident")
_allocate_lock = monkey.get_original("_thread", "allocate_lock")
FRAMES = 12  # innermost frames told
SAID_S = 1.0  # at most one line in so long; more are counted in the next
HANGING_S = 10.0  # after so long it is told without waiting for an end
OWN = ("gevent/", "greenlet", "threading.py")


class Stalls:
    """Make and `start` on the loop's own thread; `stop` ends both halves."""

    def __init__(self, node: str, stall_ms: int, counted: Callable[[float], None]) -> None:
        """`counted(seconds)` hears of each stall. `stall_ms` 0: does nothing."""
        self._node, self._stall_s, self._counted = node, stall_ms / 1000, counted
        self._period = self._stall_s / 2
        self._main = _get_ident()
        self._ticked = self._looked = time.monotonic()
        self._late = 0.0  # how late the thread itself was run since the last tick
        self._burnt = time.process_time()
        self._stack: list[str] = []
        self._unsaid = 0
        self._said_at = -SAID_S
        self._hanging = False
        self._end = _allocate_lock()
        self._timer: Any = None

    def start(self) -> None:
        if not self._stall_s:
            return
        self._ticked = time.monotonic()
        self._end.acquire()
        self._timer = gevent.get_hub().loop.timer(self._period, repeat=self._period)
        self._timer.start(self._tick)
        thread(self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
            self._end.release()

    # on the loop

    def _tick(self) -> None:
        now = time.monotonic()
        held, stack, late = now - self._ticked - self._period, self._stack, self._late
        used = time.process_time()
        burnt, self._burnt = used - self._burnt, used
        self._stack, self._late, self._hanging = [], 0.0, False
        self._ticked = now
        if held <= self._stall_s:
            return
        self._counted(held)
        if now - self._said_at < SAID_S:
            self._unsaid += 1
            return
        self._said_at = now
        more, self._unsaid = self._unsaid, 0
        stopped = late > held / 2 and burnt < held / 2
        gevent.spawn(self._say, held, stack, stopped, more)  # a handler may wait, the hub may not

    def _say(self, held: float, stack: list[str], stopped: bool, more: int) -> None:
        besides = f" ({more} more since the last line)" if more else ""
        if stopped:
            LOG.warning(
                "%s: nothing of this process was run for %d ms: it was stopped, or its machine too busy%s",
                self._node, held * 1000, besides,
            )  # fmt: skip
        elif stack:
            LOG.warning(
                "%s: the loop was held for %d ms%s by:\n%s", self._node, held * 1000, besides, "".join(stack).rstrip()
            )
        else:
            LOG.warning(
                "%s: the loop was held for %d ms%s, by C code that kept the interpreter to itself",
                self._node, held * 1000, besides,
            )  # fmt: skip

    # on the thread: nothing of gevent, no lock of logging's

    def _look(self) -> None:
        pause = self._period
        while not self._end.acquire(True, pause):
            now = time.monotonic()
            overslept = now - self._looked - pause
            self._looked = now
            if overslept > self._stall_s:
                self._late += overslept
                pause = self._period
                continue
            held = now - self._ticked - self._period
            pause = self._stall_s - held + 0.001 if held < self._stall_s else self._period  # not sooner is it one
            if held > self._stall_s and not self._stack:
                self._stack = stack_of(self._main)
            elif held > HANGING_S and not self._hanging:
                self._hanging = True
                text = f"{self._node}: the loop has been held for {held:.0f} s and still is, by:\n"
                os.write(2, (text + "".join(stack_of(self._main))).encode(errors="replace"))


def stack_of(ident: int) -> list[str]:
    """The innermost frames of a thread, outermost first, without those of the loop itself."""
    frame: FrameType | None = sys._current_frames().get(ident)
    lines: list[str] = []
    for about in traceback.extract_stack(frame)[-FRAMES:] if frame is not None else ():
        if not any(part in about.filename for part in OWN):
            lines += traceback.format_list([about])
    return lines
