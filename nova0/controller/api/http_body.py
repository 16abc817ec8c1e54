"""The body of an HTTP request: a length, or chunks; read as it comes, and no further than its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

import gevent

ASIDE_MOST_BYTES = 16 * 1024  # chunk extensions and trailers of one body together
TURN_AFTER = 64  # reads; then others have a turn, for a client that sends fast never makes us wait

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class BadBody(OSError):
    """Cut short, or chunks that are none. Where the next request begins can't be known any more."""


class Body:
    """`wsgi.input` of one request. `go_on` tells a client that waits for "100 Continue" to send."""

    def __init__(self, source: BinaryIO, length: int | None, chunked: bool, go_on: Callable[[], None] | None) -> None:
        self._source, self._chunked, self._go_on = source, chunked, go_on
        self._left = 0 if chunked else length or 0  # of the body, or of the present chunk
        self._between = False  # a chunk is over, its line's end is still to be read
        self._aside = ASIDE_MOST_BYTES
        self._reads = 0
        self.done = not chunked and not length
        self.broken = False

    @property
    def expected(self) -> int | None:
        """Bytes still to come; None where the client did not say."""
        return None if self._chunked and not self.done else self._left

    @property
    def waits_for_leave(self) -> bool:
        """The client was not yet told to go on: it may send the body, or never."""
        return self._go_on is not None

    def read(self, size: int = -1) -> bytes:
        """What has come, `size` bytes at most; b"" at the end. Raises BadBody, and OSError when the client is gone."""
        if self.done or size == 0:
            return b""
        if self._go_on is not None:
            go_on, self._go_on = self._go_on, None
            go_on()
        try:
            if self._chunked and self._left == 0 and not self._next_chunk():
                self.done = True
                return b""
            piece = self._source.read1(self._left if size < 0 else min(size, self._left))  # type: ignore[attr-defined]
            if not piece:
                raise BadBody(f"{self._left} bytes are missing")
        except BaseException:
            self.broken = True
            raise
        self._left -= len(piece)
        if not self._left:
            self._between, self.done = self._chunked, not self._chunked
        self._take_turns()
        return bytes(piece)

    def _discard(self) -> None:
        """pywsgi calls this after each request; what is left to read is the handler's to decide."""

    def _next_chunk(self) -> bool:
        """Read a chunk's size; False after the last one and its trailers."""
        if self._between and self._source.read(2) != b"\r\n":
            raise BadBody("a chunk is longer than its size")
        self._between = False
        found = _SIZE.fullmatch(self._line())
        if not found:
            raise BadBody("the size of a chunk is none")
        self._spend(len(found[2] or b""))
        self._left = int(found[1], 16)
        if self._left:
            return True
        while (line := self._line()) != b"\r\n":
            if not _TRAILER.fullmatch(line):
                raise BadBody("a trailer is none")
            self._spend(len(line))
        return False

    def _line(self) -> bytes:
        self._take_turns()
        return self._source.readline(self._aside + 32)

    def _spend(self, count: int) -> None:
        self._aside -= count
        if self._aside < 0:
            raise BadBody("chunk extensions or trailers are too long")

    def _take_turns(self) -> None:
        self._reads += 1
        if self._reads % TURN_AFTER == 0:
            gevent.sleep(0)
