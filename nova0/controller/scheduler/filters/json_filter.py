"""Hint query: an expression in JSON over the host's values, `["and", [">=", "$free_ram_mb", 1024], ...]`.

Operators: = < > in <= >= not or and. A query that can't be read, or is longer than a person would write one, lets no
host pass. It is read once, whatever the number of hosts.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

MOST_DEEP = 20
MOST_TERMS = 100
MOST_LENGTH = 1024


def _chain(compare: Callable[[Any, Any], bool]) -> Callable[[list[Any]], bool]:
    """All further arguments compared with the first; fewer than two: no."""
    return lambda args: len(args) > 1 and all(compare(args[0], other) for other in args[1:])


OPERATORS: dict[str, Callable[[list[Any]], Any]] = {
    "=": _chain(operator.eq),
    "<": _chain(operator.lt),
    ">": _chain(operator.gt),
    "<=": _chain(operator.le),
    ">=": _chain(operator.ge),
    "in": lambda args: len(args) > 1 and args[0] in args[1:],
    "not": lambda args: [not arg for arg in args],
    "or": lambda args: any(args),
    "and": lambda args: all(args),
}


class JsonFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        query = request.hints.get("query")
        if not query:
            return True
        try:
            good, wanted = _read(query[0] if isinstance(query, list) and len(query) == 1 else query)
            answer = good and _value(wanted, host)
        except (TypeError, ValueError, KeyError):
            return False
        return any(answer) if isinstance(answer, list) else bool(answer)

    def applies(self, request: Request) -> bool:
        return bool(request.hints.get("query"))


@lru_cache(maxsize=64)
def _read(query: str) -> tuple[bool, Any]:
    """(whether it is a query within the bounds, its outermost term)."""
    if len(query) > MOST_LENGTH:
        return False, None
    try:
        read = json.loads(query)
    except (ValueError, RecursionError):
        return False, None
    level, terms = [read], 0
    for _ in range(MOST_DEEP):
        level = [part for term in level if isinstance(term, list) for part in term]
        terms += len(level)
        if not level:
            return terms <= MOST_TERMS, read
    return False, None


def _value(term: Any, host: HostView) -> Any:
    if isinstance(term, list):
        if not term:
            return True
        return OPERATORS[term[0]]([_value(part, host) for part in term[1:]])
    if isinstance(term, str) and term.startswith("$"):
        return host.attribute(term[1:])
    return term
