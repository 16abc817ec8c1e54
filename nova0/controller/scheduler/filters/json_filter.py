"""Hint query: an expression in JSON over the host's values, `["and", [">=", "$free_ram_mb", 1024], ...]`.

Operators: = < > in <= >= not or and. A query that can't be read lets no host pass.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from typing import Any

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

MOST_DEEP = 20


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
            wanted = json.loads(query[0] if isinstance(query, list) and len(query) == 1 else query)
            answer = _value(wanted, host, 0)
        except (TypeError, ValueError, KeyError):
            return False
        return any(answer) if isinstance(answer, list) else bool(answer)

    def applies(self, request: Request) -> bool:
        return bool(request.hints.get("query"))


def _value(term: Any, host: HostView, deep: int) -> Any:
    if deep > MOST_DEEP:
        raise ValueError("nested too deep")
    if isinstance(term, list):
        if not term:
            return True
        return OPERATORS[term[0]]([_value(part, host, deep + 1) for part in term[1:]])
    if isinstance(term, str) and term.startswith("$"):
        return host.attribute(term[1:])
    return term
