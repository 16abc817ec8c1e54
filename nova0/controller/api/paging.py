"""Pages of lists: limit, marker, sort keys, and the links to what follows, in each service's form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from nova0.controller.api import validation as v
from nova0.controller.api.errors import ApiError
from nova0.controller.api.request import Query, Request
from nova0.controller.numbers import whole
from nova0.native import offload

T = TypeVar("T")
MAX_LIMIT = 1000  # items a page; more is cut to it
QUERY = {"limit": v.TEXT, "marker": v.TEXT}  # add to a route's query
SORTED_QUERY = QUERY | {"sort_key": v.TEXT, "sort_dir": v.TEXT}
SORT_KEYS_MOST = 32  # each sorts everything once
FEW = 1000  # things sorted on the loop; more on a thread


def limit_of(query: Query, most: int = MAX_LIMIT) -> int:
    """The page size asked for, at most `most`; ApiError 400 when negative or no number."""
    text = query.get("limit")
    if text is None or text == "":
        return most
    limit = whole(text)
    if limit is None:
        raise ApiError(400, f"Invalid input for field/attribute limit. Value: {text}. limit must be 0 or more.")
    return min(limit, most)


def after_marker(
    items: Sequence[T], marker: str | None, id_of: Callable[[T], str], *, missing: int = 400
) -> Sequence[T]:
    """What comes after the item with id `marker`. ApiError `missing` when no item has it."""
    if not marker:
        return items
    for index, item in enumerate(items):
        if id_of(item) == marker:
            return items[index + 1 :]
    raise ApiError(missing, f"marker [{marker}] not found", kind="InvalidMarker")


def sort_keys(
    query: Query, default: list[tuple[str, str]], allowed: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """[(key, "asc"|"desc")] from sort_key/sort_dir pairs; ApiError 400 for an unknown key or direction."""
    keys, ways = query.all("sort_key"), query.all("sort_dir")
    if len(ways) > len(keys):
        if keys:
            raise ApiError(400, "Sort direction size exceeds sort key size")
        return [(key, ways[0]) for key, _ in default] if _ways(ways) else default
    if not keys:
        return default
    if len(keys) > SORT_KEYS_MOST:
        raise ApiError(400, f"sort_key: {len(keys)} keys to sort by; at most {SORT_KEYS_MOST} are taken.")
    for key in keys:
        if allowed is not None and key not in allowed:
            raise ApiError(
                400, f"Invalid input for field/attribute sort_key. Value: {key}. It is not one of {list(allowed)}"
            )
    _ways(ways)
    return [(key, ways[index] if index < len(ways) else "asc") for index, key in enumerate(keys)]


def _ways(ways: list[str]) -> bool:
    for way in ways:
        if way not in ("asc", "desc"):
            raise ApiError(400, f"Invalid input for field/attribute sort_dir. Value: {way}. It is not one of asc, desc")
    return True


def ordered(items: Sequence[T], keys: list[tuple[str, str]], value_of: Callable[[T, str], Any]) -> list[T]:
    """`items` sorted by several keys, the first the strongest; None sorts before everything."""
    return _ordered(items, keys, value_of) if len(items) <= FEW else offload(_ordered, items, keys, value_of)


def _ordered(items: Sequence[T], keys: list[tuple[str, str]], value_of: Callable[[T, str], Any]) -> list[T]:
    result = list(items)
    for key, way in reversed(keys):
        result.sort(key=lambda item, k=key: _sortable(value_of(item, k)), reverse=way == "desc")  # type: ignore[misc]
    return result


def _sortable(value: Any) -> tuple[Any, ...]:
    if value is None:
        return (0,)
    return (1, value) if isinstance(value, (int, float)) else (2, str(value))


def next_url(request: Request, marker: str, limit: int) -> str:
    """This request's own URL with `marker` moved on, absolute."""
    return _url(request, _moved(request, marker, limit))


def _url(request: Request, query: str) -> str:
    return f"{request.prefix}{quote(request.path)}?{query}"


def _moved(request: Request, marker: str, limit: int, **more: str) -> str:
    pairs = [
        (name, value) for name in request.query for value in request.query.all(name) if name not in ("marker", "limit")
    ]
    pairs = [(name, value) for name, value in pairs if name not in more]
    return urlencode([("limit", str(limit)), *pairs, ("marker", marker), *more.items()])


def compute_links(
    request: Request, name: str, page: Sequence[Any], limit: int, more: bool, marker: str
) -> dict[str, Any]:
    """{"servers_links": [{rel: next}]} where more remain, else nothing: merge into the answer."""
    if not more or not page:
        return {}
    return {f"{name}_links": [{"rel": "next", "href": next_url(request, marker, limit)}]}


def cut(items: Sequence[T], limit: int) -> tuple[Sequence[T], bool]:
    """The first `limit` items, and whether more remain."""
    return items[:limit], len(items) > limit


PAGE_BYTES = 2 << 20  # of one page of a list whose items users make large


def cut_by_bytes(page: Sequence[T], more: bool, length: Callable[[T], int]) -> tuple[Sequence[T], bool]:
    """A page cut where it holds PAGE_BYTES, and whether more remain; one item at least."""
    size = 0
    for number, item in enumerate(page):
        size += length(item)
        if number and size > PAGE_BYTES:
            return page[:number], True
    return page, more


def network_page(
    request: Request, name: str, items: list[T], id_of: Callable[[T], str], view: Callable[[T], Any]
) -> dict[str, Any]:
    """Neutron's page: {name: [...], name_links: [next, previous]} with limit, marker, page_reverse."""
    query = request.query
    reverse = (query.get("page_reverse") or "").lower() in ("true", "1")
    asked = limit_of(query, most=10**9)
    if "limit" not in query or asked == 0:
        return {name: [view(item) for item in after_marker(items, query.get("marker"), id_of, missing=404)]}
    line = list(reversed(items)) if reverse else items
    page, more = cut(after_marker(line, query.get("marker"), id_of, missing=404), asked)
    shown = list(reversed(page)) if reverse else list(page)
    links = []
    if shown and (more or reverse):
        links.append({"rel": "next", "href": _url(request, _moved(request, id_of(shown[-1]), asked))})
    if shown and ((query.get("marker") and not reverse) or (reverse and more)):
        back = _moved(request, id_of(shown[0]), asked, page_reverse="True")
        links.append({"rel": "previous", "href": _url(request, back)})
    answer: dict[str, Any] = {name: [view(item) for item in shown]}
    if links:
        answer[f"{name}_links"] = links
    return answer
