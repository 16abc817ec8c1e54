"""Which block is asked of whom: blocks go to whoever is free, and those of a slow peer are given to others, too."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

SLOW_S = 1.0  # a block that is out so long is asked of another, once nobody waits for a first one


class Share:
    """`wanted`: block numbers. Times are monotonic seconds given by the caller."""

    def __init__(self, wanted: Iterable[int]) -> None:
        self._pending = deque(wanted)
        self._out: dict[int, dict[str, float]] = {}  # block -> who was asked -> when
        self.left = len(self._pending)

    def next(self, who: str, now: float) -> int | None:
        """A block to ask `who` for; None: nothing for now, or nothing any more (`left` is 0)."""
        if self._pending:
            block = self._pending.popleft()
            self._out[block] = {who: now}
            return block
        slow = [(min(asked.values()), block) for block, asked in self._out.items() if who not in asked]
        if slow:
            since, block = min(slow)
            if now - since >= SLOW_S and len(self._out[block]) < 3:
                self._out[block][who] = now
                return block
        return None

    def came(self, block: int) -> bool:
        """It is here and right. False: it was before."""
        if self._out.pop(block, None) is None:
            return False
        self.left -= 1
        return True

    def is_out(self, block: int) -> bool:
        return block in self._out

    def give_back(self, who: str) -> None:
        """Nothing more comes from `who`: what only it was asked for is asked of others."""
        for block, asked in list(self._out.items()):
            if asked.pop(who, None) is not None and not asked:
                del self._out[block]
                self._pending.appendleft(block)
