"""The little language of flavor extra specs that filters compare hosts with.

`= 4` and `>= 4` at least 4 (the field's reading of a bare `=`), `==`, `!=`, `<=` as numbers; `s==`, `s!=`,
`s>=`, `s>`, `s<=`, `s<` as text; `<in> x` x is part of it; `<all-in> a b` all are; `<or> a <or> b` one of them;
anything else: equal text.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s>=": operator.ge,
    "s>": operator.gt,
    "s<=": operator.le,
    "s<": operator.lt,
}


def matches(value: Any, wanted: str) -> bool:
    """Whether a host's value satisfies one extra spec. A value that is no number fails a comparison of
    numbers; so does one that is missing (None) fail everything but text equal to "None"."""
    words = wanted.split()
    if not words:
        return str(value) == wanted
    first, rest = words[0], words[1:]
    if first in _NUMBERS:
        return bool(rest) and _numbers(value, rest[0], _NUMBERS[first])
    if first in _TEXTS:
        return bool(rest) and _TEXTS[first](str(value), rest[0])
    if first == "<in>":
        return bool(rest) and _holds(value, rest[0])
    if first == "<all-in>":
        return bool(rest) and all(_holds(value, word) for word in rest)
    if first == "<or>":
        return any(str(value) == word for word in rest if word != "<or>")
    return str(value) == wanted


def _numbers(value: Any, wanted: str, compare: Callable[[float, float], bool]) -> bool:
    try:
        return compare(float(value), float(wanted))
    except (TypeError, ValueError):
        return False


def _holds(value: Any, word: str) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return word in {str(item) for item in value}
    return word in str(value)
