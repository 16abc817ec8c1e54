'''One declaration for each operation of an API: where, for whom, what comes in, what it answers.

A resource file holds functions marked with `route`; nothing else is needed for them to be served
once the file is listed in its service's `__init__.py` (`RESOURCES`). Example, `compute/keypairs.py`:

    """Key pairs: list, show, create, delete. A key pair belongs to a user, not to a project."""

    from nova0.controller.api import errors, validation as v
    from nova0.controller.api.request import Request
    from nova0.controller.api.resource import route

    _CREATE = v.wrapped("keypair", {"name": v.NAME, "public_key": v.LONG_TEXT}, ["name"])
    _CREATE_2_2 = v.wrapped("keypair", {"name": v.NAME, "type": {"enum": ["ssh", "x509"]}, ...}, ["name"])

    @route("POST", "/os-keypairs", needs="member", success={"2.1": 200, "2.2": 201},
           body={"2.1": _CREATE, "2.2": _CREATE_2_2})
    def create(request: Request) -> dict:
        wanted = request.body["keypair"]                       # already checked; request.at_least("2.10")
        row = request.store.write(lambda: books.add(request.context, wanted))   # one transaction
        return {"keypair": view(row)}                          # JSON with the success code; None: no body

    @route("GET", "/os-keypairs/<name>", needs="reader", query={"user_id": v.TEXT}, query_strict="2.102")
    def show(request: Request, name: str) -> dict: ...         # raise errors.not_found("Keypair", name)

    @route("POST", "/servers/<server_id>/action", action="os-stop", needs="member", success=202, body={"type": "null"})
    def stop(request: Request, server_id: str) -> None: ...    # request.body is the value under "os-stop"

`since`/`until` bound the microversions a route exists in (outside: 404); two functions may share method
and path with other versions or actions. `query` gives the schema of ONE value each; from `query_strict` on an
unknown key is a 400 ("2.1": always), otherwise it is left out silently (`query_open`: kept, unchecked).
`needs`: public (no token), any (a token, also unscoped), reader, member, manager, admin.
`raw=True`: the body is left to `request.stream()`.
'''

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from nova0.controller.api.microversion import Version, parse
from nova0.controller.api.validation import MOST_REPEATED

ByVersion = dict[Version, Any]
ROLES = ("public", "any", "reader", "member", "manager", "admin", "service")


@dataclass(kw_only=True)
class Route:
    """What `route` was told, ready for use."""

    method: str
    path: str
    needs: str
    success: ByVersion
    body: ByVersion
    query: ByVersion
    query_strict: Version | None
    since: Version
    until: Version
    action: str | None
    query_open: bool
    raw: bool
    content_types: tuple[str, ...]
    function: Callable[..., Any] = field(repr=False)

    def offered_at(self, version: Version) -> bool:
        return self.since <= version <= self.until

    @property
    def policy(self) -> str:
        return f"{self.function.__module__.rpartition('.')[2]}:{self.function.__name__}"


def at(by_version: ByVersion, version: Version) -> Any:
    """The entry that holds at `version`: that of the highest version not above it, else None."""
    reached = [since for since in by_version if since <= version]
    return by_version[max(reached)] if reached else None


def route(
    method: str,
    path: str,
    *,
    needs: str = "reader",
    success: int | dict[str, int] = 200,
    body: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
    query_strict: str | None = None,
    query_open: bool = False,
    since: str = "2.1",
    until: str = "2.999",
    action: str | None = None,
    raw: bool = False,
    content_types: tuple[str, ...] = ("application/json",),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """See the module's example. May be stacked: one function on several paths."""
    if needs not in ROLES:
        raise ValueError(f"{method} {path}: needs={needs!r} is none of {', '.join(ROLES)}")

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        made = Route(
            method=method,
            path=path,
            needs=needs,
            success=_by_version(success),
            body=_by_version(body) if body is not None else {},
            query=_query_schemas(query or {}),
            query_strict=parse(query_strict) if query_strict else None,
            query_open=query_open,
            since=parse(since),
            until=parse(until),
            action=action,
            raw=raw,
            content_types=content_types,
            function=function,
        )
        function.__dict__.setdefault("routes", []).insert(0, made)
        return function

    return mark


def routes_of(modules: Iterable[ModuleType]) -> list[Route]:
    """Every route declared in these files, in the order they stand there."""
    found: list[Route] = []
    for module in modules:
        for value in vars(module).values():
            if getattr(value, "__module__", None) == module.__name__:
                found += getattr(value, "routes", [])
    return found


def _by_version(given: Any) -> ByVersion:
    if isinstance(given, dict) and given and all(key[:2] == "2." and key[2:].isdigit() for key in given):
        return {parse(key): value for key, value in given.items()}
    return {Version(2, 0): given}


def _query_schemas(given: dict[str, Any]) -> ByVersion:
    return {
        version: {
            "type": "object",
            "properties": {
                name: {"type": "array", "maxItems": MOST_REPEATED, "items": schema} for name, schema in one.items()
            },
            "additionalProperties": False,
        }
        for version, one in _by_version(given).items()
    }
