"""What all Network v2.0 resources share: envelopes (one or many), filters, fields, sorting, pages, visibility."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec
import peewee

from nova0.controller.api import errors, paging, turns
from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.times import iso_z

TEXT = v.LONG_TEXT
BULK_MOST = 100  # made by one request, in one transaction
PIECE = 500  # rows read in one transaction
_CONTROLS = ("fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse")
_TAGS = ("tags", "tags-any", "not-tags", "not-tags-any")
View = dict[str, Any]
DESCRIBED = {"name": {"type": "string", "maxLength": 255, "pattern": v.PRINTABLE}, "description": v.TEXT}
OWNED = {"project_id": TEXT, "tenant_id": TEXT}
TIMED = ("id", "name", "description", "project_id", "tenant_id", "created_at", "updated_at", "revision_number")


def query(*filters: str) -> dict[str, Any]:
    """A route's `query`: filters by attribute and the controls every list has."""
    return {name: TEXT for name in (*filters, *TIMED, *_CONTROLS, *_TAGS)}


FIELDS = {"fields": TEXT}  # the query of a route that shows one


def wanted(request: Request, name: str, schema: dict[str, Any], plural: str | None = None) -> tuple[list[View], bool]:
    """([checked values], whether many were sent) of a body {name: {...}} or {plural: [...]}. ApiError 400."""
    body = request.body
    if not isinstance(body, dict):
        raise errors.bad_request(f"The body must be a JSON object with '{name}'.", "HTTPBadRequest")
    many = plural is not None and plural in body and name not in body
    items = body[plural] if many and plural else [body.get(name)]
    if not isinstance(items, list) or not items or not all(isinstance(one, dict) for one in items):
        raise errors.bad_request(f"Unable to find '{name}' in request body", "HTTPBadRequest")
    if len(items) > BULK_MOST:
        raise errors.bad_request(f"{plural}: {len(items)} at once; at most {BULK_MOST} are made.", "HTTPBadRequest")
    for item in items:
        unknown = [key for key in item if key not in schema["properties"]]
        if unknown:
            listed = ", ".join(f"'{key[:255]}'" for key in unknown[:10])
            raise errors.bad_request(f"Unrecognized attribute(s) {listed}", "HTTPBadRequest")
        v.check(schema, item)
    return items, many


def owner(request: Request, item: View) -> str:
    """The project a new thing belongs to: the caller's own, or any an admin names. ApiError 403, 400."""
    asked = item.get("project_id") or item.get("tenant_id")
    if asked and asked != request.context.project_id and not request.context.is_admin:
        raise errors.forbidden("project_id: only an admin makes things for another project.")
    found = asked or request.context.project_id
    if not found:
        raise errors.bad_request("project_id: use a token scoped to a project, or name one.")
    return str(found)


def common(row: Any) -> View:
    """Attributes every resource shows."""
    shown = {
        "id": row.id,
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "description": row.description,
        "created_at": iso_z(row.created_at),
        "updated_at": iso_z(row.updated_at),
        "revision_number": row.revision,
    }
    for key in ("name", "tags"):
        if hasattr(row, key):
            shown[key] = getattr(row, key)
    return shown


def visible(request: Request, table: Any, *more: Any) -> Any:
    """A select of what the caller may see: everything for admins, else the project's own or what `more` allows."""
    selected = table.select()
    if request.context.is_admin:
        return selected
    condition = table.project_id == request.context.project_id
    for also in more:
        condition = condition | also
    return selected.where(condition)


def equal(request: Request, selected: Any, columns: dict[str, Any]) -> Any:
    """A select narrowed to the values that the query asks of these columns. `page` looks at them again."""
    for key, column in columns.items():
        values = request.query.all(key)
        if values:
            selected = selected.where(column.in_(values))
    return selected


def in_pieces(request: Request, read: Callable[[str], list[View]]) -> Iterator[list[View]]:
    """`read(after)` gives in one transaction the next PIECE of views in order of their ids."""
    after = ""
    while piece := request.store.read(partial(read, after)):
        after = str(piece[-1]["id"])
        yield piece
        if len(piece) < PIECE:
            return


def get(request: Request, table: type[peewee.Model], id: str, what: str, *more: Any) -> Any:
    """Inside a store closure: the row, where the caller may see it. ApiError 404."""
    row = visible(request, table, *more).where(table.id == id).first()  # type: ignore[attr-defined]
    if row is None:
        raise errors.not_found(what, id, f"{what.replace(' ', '')}NotFound")
    return row


def own(request: Request, row: Any, what: str) -> Any:
    """The row, where the caller may change it too. ApiError 403 for what is only shared with them."""
    if not request.context.can_see(row.project_id):
        raise errors.forbidden(f"{what} {row.id} belongs to another project.", "PolicyNotAuthorized")
    return row


def page(request: Request, name: str, views: list[View]) -> View:
    """The answer to a list: filtered, sorted, cut, and with the fields asked for."""
    return page_of(request, name, [views])


def page_of(request: Request, name: str, pieces: Iterable[list[View]]) -> View:
    """As `page`, of views that come piece by piece. Of each only its sort keys and its text are kept: ten thousand
    views would be work for the garbage collector, and the loop would wait for it."""
    keys: list[tuple[str, str]] | None = None
    kept: list[tuple[str, tuple[Any, ...], msgspec.Raw]] = []  # id, values to sort by, what is shown
    for views in pieces:
        if keys is None and views:
            keys = _sorted_by(request, name, views[0])
        kept += turns.each(partial(_kept, request, keys or []), _matching(request, views))
    if keys is None:
        paging.sort_keys(request.query, [])  # refused, if it is to be, for an empty list too
    order = [(str(number), way) for number, (_, way) in enumerate(keys or [])]
    values = lambda one, number: one[1][int(number)]  # noqa: E731
    kept = paging.ordered(kept, order, values)
    return paging.network_page(request, name, kept, lambda one: one[0], lambda one: one[2])


def _sorted_by(request: Request, name: str, view: View) -> list[tuple[str, str]]:
    keys = paging.sort_keys(request.query, [("id", "asc")])
    for key, _ in keys:
        if key not in view:
            raise errors.bad_request(f"sort_key: {key} is not an attribute of {name}.", "HTTPBadRequest")
    return keys


def _matching(request: Request, views: list[View]) -> list[View]:
    for key in request.query:
        if key in _CONTROLS:
            continue
        asked = {
            part for value in request.query.all(key) for part in ([value] if key not in _TAGS else value.split(","))
        }
        views = turns.those(lambda view, key=key, asked=asked: _matches(view, key, asked), views)  # type: ignore[misc]
    return views


def _kept(request: Request, keys: list[tuple[str, str]], view: View) -> tuple[str, tuple[Any, ...], msgspec.Raw]:
    shown = msgspec.Raw(msgspec.json.encode(only_fields(request, view)))
    return str(view["id"]), tuple(view.get(key) for key, _ in keys), shown


def only_fields(request: Request, view: View) -> View:
    fields = {name for name in request.query.all("fields") if name}
    return {key: value for key, value in view.items() if key in fields} if fields else view


def _matches(view: View, key: str, asked: set[str]) -> bool:
    if key in _TAGS:
        have = set(view.get("tags", ()))
        found = asked <= have if key in ("tags", "not-tags") else bool(asked & have)
        return found is not key.startswith("not-")
    value = view.get(key)
    if isinstance(value, bool):
        return any(v.truth(one) is value for one in asked)
    if key == "fixed_ips":
        return all(_address_matches(value or [], one) for one in asked)
    if isinstance(value, list):
        return any(one in asked for one in value if isinstance(one, str))
    return ("" if value is None else str(value)) in asked


def _address_matches(fixed_ips: list[dict[str, str]], asked: str) -> bool:
    name, _, value = asked.partition("=")
    if name == "ip_address_substr":
        return any(value in fixed["ip_address"] for fixed in fixed_ips)
    return any(fixed.get(name) == value for fixed in fixed_ips)


def answer_created(name: str, plural: str, views: list[View], many: bool) -> View:
    return {plural: views} if many else {name: views[0]}


Changed = Callable[[], list[str]]


def tell(request: Request, network_ids: list[str]) -> None:
    """After the commit: hosts that carry these networks hear that they changed."""
    if network_ids:
        request.services.guests.networks_changed(sorted(set(network_ids)))
