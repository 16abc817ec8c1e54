"""The rules of one end of a stream: credit, half-close, the end. No socket, no clock, nothing that waits.

A receiver grants credit in bytes; a message costs its length and OVERHEAD, so that a flood of empty ones is
bounded, too. What is granted and not read yet is all that can lie in memory.
"""

from __future__ import annotations

from collections import deque

CHUNK = 256 << 10  # bytes in one message at most; more costs latency, less costs throughput
OVERHEAD = 2048  # what a message costs besides its bytes: bounds how many can be under way
WINDOW = 8 * (CHUNK + OVERHEAD)  # credit a reader starts with
SMALLEST, LARGEST = 4 * OVERHEAD, 16 << 20  # of a window another node may name

Body = bytes | memoryview


class BrokenRules(ValueError):
    """The other end sent what it may not: over its credit, after its end, or not a size."""


class Flow:
    """`credit` is what this end may send now; `waiting` what came and was not read."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.credit = 0
        self.waiting: deque[Body] = deque()
        self.sent_end = self.heard_end = False
        self._chunk = CHUNK
        self._theirs = 0  # the other end's window: credit never goes beyond
        self._allowed = window  # what the other end may still send
        self._owed = 0  # read here, not granted anew yet

    def opened(self, window: int) -> None:
        """The other end reads, with this much credit to begin with."""
        if not SMALLEST <= window <= LARGEST:
            raise BrokenRules(f"a window of {window} bytes")
        self.credit = self._theirs = window
        self._chunk = min(CHUNK, window // 2 - OVERHEAD)

    def may_send(self, wanted: int) -> int:
        """Bytes of the next message; 0: wait for credit. Messages are never cut small for want of credit."""
        size = min(wanted, self._chunk)
        return size if self.credit >= size + OVERHEAD else 0

    def sending(self, size: int) -> None:
        self.credit -= size + OVERHEAD

    def granted(self, size: int) -> None:
        if size <= 0 or self.credit + size > self._theirs:
            raise BrokenRules(f"a grant of {size} bytes")
        self.credit += size

    def end(self) -> None:
        self.sent_end = True

    def arrived(self, body: Body) -> None:
        cost = len(body) + OVERHEAD
        if self.heard_end:
            raise BrokenRules("bytes after its end")
        if cost > self._allowed or not len(body):
            raise BrokenRules(f"{len(body)} bytes, its credit is {self._allowed - OVERHEAD}")
        self._allowed -= cost
        self.waiting.append(body)

    def heard(self) -> None:
        if self.heard_end:
            raise BrokenRules("a second end")
        self.heard_end = True

    def take(self) -> tuple[Body, int]:
        """The next message, and what is to be granted for it now (0: later, several at once)."""
        body = self.waiting.popleft()
        self._owed += len(body) + OVERHEAD
        if self.heard_end or self._owed < self.window // 4:
            return body, 0
        grant, self._owed = self._owed, 0
        self._allowed += grant
        return body, grant

    @property
    def over(self) -> bool:
        """Both ends have said that nothing more comes from them."""
        return self.sent_end and self.heard_end
