"""Long work on the loop in short turns: between them the loop serves others.

No request may keep the loop's thread for more than 50 ms of processor time at a stretch. What is done for each of
many rows looks at the clock now and then, and lets the loop turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from nova0.native import let_others

T = TypeVar("T")
S = TypeVar("S")

AT_ONCE = 16  # items between two looks at the clock


def each(function: Callable[[T], S], items: Iterable[T]) -> list[S]:
    """[function(item), ...]"""
    done: list[S] = []
    for number, item in enumerate(items):
        if not number % AT_ONCE:
            let_others()
        done.append(function(item))
    return done


def those(test: Callable[[T], bool], items: Iterable[T]) -> list[T]:
    """The items that pass."""
    pairs = each(lambda item: (test(item), item), items)
    return [item for passes, item in pairs if passes]


def encoded(answer: Any) -> bytes:
    """An answer as JSON; long lists in it item by item."""
    return msgspec.json.encode(_in_parts(answer))


def _in_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_parts(part) if isinstance(part, (dict, list)) else part for key, part in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        if len(value) > AT_ONCE:
            return each(lambda item: msgspec.Raw(msgspec.json.encode(_in_parts(item))), value)
        return [_in_parts(item) for item in value]
    return value
