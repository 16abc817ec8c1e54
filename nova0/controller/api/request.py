"""What a resource function is given, and what it may give back beside a plain mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nova0.controller.api import bodies
from nova0.controller.api.errors import bad_request
from nova0.controller.api.microversion import MINIMUM, Version, parse
from nova0.controller.context import RequestContext
from nova0.controller.db.store import Store
from nova0.controller.identity.tokens import Identity
from nova0.controller.services import Services


class Query:
    """Query parameters; a key may come more than once."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self.values = values

    def get(self, name: str, default: str | None = None) -> str | None:
        """The last value sent under that name."""
        return self.values[name][-1] if name in self.values else default

    def all(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)


@dataclass(kw_only=True)
class Request:
    """One request after every check of its route: token, role, version, schema.

    `body` is the decoded JSON (for an action: the value under its key), `prefix` the service's URL as clients
    reach it (http://host:8774/v2.1), for links.
    """

    context: RequestContext
    services: Services
    query: Query
    prefix: str
    path: str
    environ: dict[str, Any]
    version: Version = MINIMUM
    legacy: bool = False
    body: Any = None
    identity: Identity | None = None  # None on public routes

    @property
    def store(self) -> Store:
        return self.services.store

    def at_least(self, version: str) -> bool:
        """`request.at_least("2.19")`: the client asked for that microversion or a later one."""
        return self.version >= parse(version)

    @property
    def who(self) -> Identity:
        """Who asks, with scope and roles in full; only on routes that need a token."""
        if self.identity is None:
            raise RuntimeError(f"{self.path}: a public route asked who is there")
        return self.identity

    @property
    def project_id(self) -> str:
        """The project in which something is to be made. ApiError 400 for a token of a domain or the whole system."""
        if not self.context.project_id:
            raise bad_request("project_id: use a token scoped to a project.")
        return self.context.project_id

    def header(self, name: str) -> str | None:
        return self.environ.get("HTTP_" + name.upper().replace("-", "_"))

    def stream(self) -> Iterator[bytes]:
        """The raw body in pieces (routes with `raw=True`); ApiError 400 when it is cut short."""
        return bodies.stream(self.environ, bodies.declared_length(self.environ))

    @property
    def content_type(self) -> str:
        return (self.environ.get("CONTENT_TYPE") or "").split(";")[0].strip().lower()


@dataclass
class Answer:
    """An answer that is more than JSON with the route's success code.

    `body`: a mapping or list (JSON), bytes, an iterable of bytes (streamed), or None.
    """

    body: dict[str, Any] | list[Any] | bytes | Iterable[bytes] | None = None
    status: int | None = None  # None: the route's success code
    headers: dict[str, str] = field(default_factory=dict)
