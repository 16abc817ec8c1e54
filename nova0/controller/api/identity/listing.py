"""Lists of the identity API: their envelope, and filters with the field's comparison words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.request import Request

TEXT = v.LONG_TEXT
DESCRIPTION = {**v.LONG_TEXT, "type": ["string", "null"]}
REFERENCE = {**v.TEXT, "type": ["string", "null"]}  # an id
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "": lambda have, want: have == want,
    "contains": lambda have, want: want in have,
    "icontains": lambda have, want: want.lower() in have.lower(),
    "startswith": lambda have, want: have.startswith(want),
    "istartswith": lambda have, want: have.lower().startswith(want.lower()),
    "endswith": lambda have, want: have.endswith(want),
    "iendswith": lambda have, want: have.lower().endswith(want.lower()),
}


def filters(*names: str) -> dict[str, Any]:
    """A route's `query`: these names, and `name__contains` and the like."""
    ops = {f"name__{op}": TEXT for op in _COMPARE if op} if "name" in names else {}
    return {name: TEXT for name in names} | ops


def matching(request: Request, views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that match every filter of the query; `enabled` alone means true."""
    for key in request.query:
        name, _, op = key.partition("__")
        want = request.query.get(key) or ""
        views = [one for one in views if _matches(one.get(name), want, _COMPARE[op])]
    return views


def _matches(have: Any, want: str, compare: Callable[[str, str], bool]) -> bool:
    if isinstance(have, bool):
        return have is (want.lower() not in ("false", "0", "no", "off"))
    return compare("" if have is None else str(have), want)


def collection(request: Request, name: str, views: list[dict[str, Any]]) -> dict[str, Any]:
    """{name: [...], links: {...}} as every identity list is wrapped."""
    text = request.environ.get("QUERY_STRING")
    link = f"{request.prefix}{request.path}" + (f"?{text}" if text else "")
    return {name: views, "links": {"self": link, "previous": None, "next": None}}
