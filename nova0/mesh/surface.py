"""How an agent says what can be asked of it: a class of signatures, each marked call, cast or every.

A `Surface` subclass holds signatures only and is shared by both sides; the agent subclasses it and
implements the methods; the caller gets a typed stub of the same class (`Bus.stub`). Arguments and
results are anything msgspec can encode; annotations are enforced on the receiving side.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

F = TypeVar("F", bound=Callable[..., Any])


class Role(StrEnum):
    """Certified roles of a node (in its certificate) that `allow` is checked against."""

    CONTROLLER = "controller"
    HOST = "host"
    MEMBER = "member"  # any certified node
    OPERATOR = "operator"  # a person's certificate
    SELF = "self"  # the same machine, e.g. its own CLI


CONTROLLER, HOST, MEMBER, OPERATOR, SELF = Role.CONTROLLER, Role.HOST, Role.MEMBER, Role.OPERATOR, Role.SELF


class Timeout(msgspec.Struct, frozen=True):
    """A named class of patience. While the callee sends "working" beats a call lives on, at most to
    `total_s`; without them it ends after `silence_s`."""

    name: str
    silence_s: float
    total_s: float


SHORT = Timeout("short", 5, 10)  # a look-up
NORMAL = Timeout("normal", 10, 60)  # power changes
LONG = Timeout("long", 10, 1800)  # image downloads, disk copies


class Method(msgspec.Struct, frozen=True):
    """One row of an agent's surface, as `nova0 agents describe` prints it."""

    name: str
    kind: str  # "call" | "cast"
    allow: tuple[Role, ...]
    timeout: Timeout
    repeatable: bool  # safe to run twice: skips the journal
    destructive: bool  # not done for a controller whose store is in doubt
    doc: str
    arguments: dict[str, Any]  # name -> annotation
    required: tuple[str, ...]
    returns: Any
    defaults: dict[str, Any] = {}  # of arguments that are not required


def call(
    *,
    timeout: Timeout = NORMAL,
    allow: Role | tuple[Role, ...] = CONTROLLER,
    repeatable: bool = False,
    destructive: bool = False,
) -> Callable[[F], F]:
    """Answered: a result, an error, or CallTimeout reaches the caller. Unless `repeatable`, at most
    one execution per request id, through retries and restarts of both ends. `destructive`: refused
    (StoreDoubted) to a controller whose store may be an older copy or another one."""

    def mark(function: F) -> F:
        function._mesh = ("call", _roles(allow), timeout, repeatable, destructive)  # type: ignore[attr-defined]
        return function

    return mark


def cast(*, allow: Role | tuple[Role, ...] = CONTROLLER) -> Callable[[F], F]:
    """Heard: published on the surface's topic; may be lost; harmless to lose or repeat."""

    def mark(function: F) -> F:
        function._mesh = ("cast", _roles(allow), SHORT, True, False)  # type: ignore[attr-defined]
        return function

    return mark


def every(seconds: float) -> Callable[[F], F]:
    """Run this method of an agent every `seconds`, first after a random part of it. One failing run
    is logged and never stops the next; a run is never started while the last one is under way."""

    def mark(function: F) -> F:
        function._every = seconds  # type: ignore[attr-defined]
        return function

    return mark


def _roles(allow: Role | tuple[Role, ...]) -> tuple[Role, ...]:
    return allow if isinstance(allow, tuple) else (allow,)


class Declared(NamedTuple):
    """What is known here of one topic, from the surfaces that have it."""

    served_by: frozenset[str]  # certified roles, one of which a node needs to answer it
    heard_by: frozenset[str]  # roles that hear what is cast on it besides
    casters: frozenset[str]  # roles that may cast on it


_declared: dict[str, Declared] = {}  # by topic


class Surface:
    """Base of all signature classes. `topic` is what calls and casts are addressed to; `served_by`: whoever answers it
    needs one of these certified roles (MEMBER: any node will do), or is not asked. Of one topic all surfaces say the
    same. Without it only nodes are asked whose certificate names the topic; topics `user/...` are any member's.
    `heard_by`: roles that get its casts (`Bus.follow`) though they may not answer it."""

    topic: ClassVar[str] = ""
    served_by: ClassVar[Role | tuple[Role, ...]] = ()
    heard_by: ClassVar[Role | tuple[Role, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if cls.topic and cls.served_by:
            _declare(cls)

    @classmethod
    def methods(cls) -> dict[str, Method]:
        """name -> Method, for every marked method of the class (inherited marks included)."""
        cached = cls.__dict__.get("_methods")
        if cached is None:
            cached = {name: row for name in dir(cls) if (row := _method(cls, name)) is not None}
            cls._methods = cached  # type: ignore[attr-defined]
        return cached

    @classmethod
    def timers(cls) -> dict[str, float]:
        """Method name -> seconds between runs, for every method marked with `every`."""
        return {
            name: value._every
            for name in dir(cls)
            if not name.startswith("__") and hasattr(value := getattr(cls, name), "_every")
        }


def declared(topic: str) -> Declared | None:
    """Who may answer and cast on it; None where no surface known to this process says."""
    return _declared.get(topic)


def topics_of(roles: Iterable[str]) -> tuple[str, ...]:
    """Declared topics that one of these roles is needed for; not those of any member."""
    mine = set(map(str, roles)) - {Role.MEMBER}
    found = ((topic, known) for topic, known in _declared.items() if Role.MEMBER not in known.served_by)
    return tuple(sorted(topic for topic, known in found if not mine.isdisjoint(known.served_by)))


def _declare(cls: type[Surface]) -> None:
    served_by = frozenset(map(str, _roles(cls.served_by)))
    marks = [value._mesh for base in cls.__mro__ for value in vars(base).values() if hasattr(value, "_mesh")]
    casters = frozenset(str(role) for kind, allow, *_ in marks if kind == "cast" for role in allow)
    known = _declared.get(cls.topic)
    heard_by = frozenset(map(str, _roles(cls.heard_by)))
    if known is not None and (known.served_by, known.heard_by) != (served_by, heard_by):
        raise TypeError(
            f"{cls.__name__}: another surface says of topic {cls.topic!r} that it is served by "
            f"{' or '.join(sorted(known.served_by))}, heard besides by {', '.join(sorted(known.heard_by)) or 'none'}: "
            "say the same, or choose another topic"
        )
    if known is not None:
        casters |= known.casters
    _declared[cls.topic] = Declared(served_by, heard_by, casters)


def _method(cls: type, name: str) -> Method | None:
    declared = mark = None
    for base in cls.__mro__:
        candidate = base.__dict__.get(name)
        if candidate is not None and hasattr(candidate, "_mesh"):
            declared, mark = candidate, candidate._mesh
            break
    if declared is None or mark is None:
        return None
    hints = typing.get_type_hints(declared, include_extras=True)
    parameters = [p for p in inspect.signature(declared).parameters.values() if p.name != "self"]
    return Method(
        name=name,
        kind=mark[0],
        allow=mark[1],
        timeout=mark[2],
        repeatable=mark[3],
        destructive=mark[4],
        doc=inspect.getdoc(declared) or "",
        arguments={p.name: hints.get(p.name, Any) for p in parameters},
        required=tuple(p.name for p in parameters if p.default is inspect.Parameter.empty),
        returns=hints.get("return", Any),
        defaults={p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty},
    )
