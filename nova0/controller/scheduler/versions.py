"""Version conditions such as `>=1.0,<3`, as images name them for their hypervisor."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

_COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
_PART = re.compile(r"\s*(<=|>=|==|!=|<|>|=)\s*([0-9]{1,9}(?:\.[0-9]{1,9})*)\s*")


def satisfies(version: int, wanted: str) -> bool:
    """`version` as hypervisors count it (7002022 is 7.2.22). A condition that can't be read holds for none."""
    found = (version // 1_000_000, version // 1000 % 1000, version % 1000)
    for part in wanted.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return False
        numbers = tuple(int(number) for number in match[2].split("."))[:3]
        if not _COMPARE[match[1]](found, numbers + (0,) * (3 - len(numbers))):
            return False
    return True
