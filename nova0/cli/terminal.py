"""What commands print, made fit for a terminal: a text from another machine or a guest must not steer it.

`guarded` stands around every command: whatever it prints, by whichever way, has its control characters written out
(\\u001b), which inside of JSON is JSON's own way too. What draws on purpose (tables, moving lines) takes `raw`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 but tab and newline, DEL, C1 (where 9B is an escape too), line separators, what turns the direction of writing,
# halves of characters, which cannot be printed, and what is not seen at all: two names must not look alike by it
_STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\ud800-\udfff"
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_ENDS_LINE = re.compile("[\t\n]")


def plain(text: str) -> str:
    """The text with what steers a terminal written out; tabs and newlines stay."""
    return _STEERS.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    """As JSON writes it: what is past 16 bits in two halves."""
    halves = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[at : at + 2].hex()}" for at in range(0, len(halves), 2))


def cell(value: object) -> str:
    """One value of a table: one line, whatever it holds."""
    text = plain("" if value is None else str(value))
    return _ENDS_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Guarded:
    """A stream that writes texts as `plain` makes them; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.raw = stream

    def write(self, text: str) -> int:
        self.raw.write(plain(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw(stream: TextIO) -> TextIO:
    """The stream itself, for what is drawn on purpose and holds no text of others but through `plain` or `cell`."""
    return stream.raw if isinstance(stream, Guarded) else stream


def _guard(stream: Any) -> Any:
    return stream if stream is None or isinstance(stream, Guarded) else Guarded(stream)


@contextmanager
def guarded() -> Iterator[None]:
    """Standard output and standard error write only what is plain, until the end."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_guard(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
