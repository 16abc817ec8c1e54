"""How an agent says what can be asked of it: a class of signatures, each marked call, cast or every.

A `Surface` subclass holds signatures only and is shared by both sides; the agent subclasses it and
implements the methods; the caller gets a typed stub of the same class (`Bus.stub`). Arguments and
results are anything msgspec can encode; annotations are enforced on the receiving side.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

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


class Surface:
    """Base of all signature classes. `topic` is what calls and casts are addressed to."""

    topic: ClassVar[str] = ""

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
