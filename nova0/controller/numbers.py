"""Whole numbers that come as text: one reading for queries, paths and properties, within what a column holds."""

from __future__ import annotations

MOST = 2**63 - 1  # of an SQLite integer
_DIGITS = 19  # of MOST


def whole(text: str, most: int = MOST) -> int | None:
    """The number from 0 to `most` that `text` writes in ASCII digits; None where it does not: other scripts' digits,
    signs, blanks, underscores, or more than `most`."""
    if len(text) > _DIGITS or not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    return number if number <= most else None


def signed(text: str) -> int | None:
    """As `whole`, with a minus sign allowed before the digits."""
    number = whole(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number
