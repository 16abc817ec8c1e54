"""What this node answers: agents by topic, the check of who may call, and the run of one method.

Knows no sockets and no journal; `LocalBus` and `Node` both dispatch through here.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from time import monotonic
from typing import Any

import gevent
import msgspec

from nova0 import log
from nova0.mesh.bus import Caller
from nova0.mesh.codec import MethodCodec, codecs_of, encode
from nova0.mesh.errors import (
    BadArguments,
    Busy,
    CallTimeout,
    Cancelled,
    MeshError,
    NotAllowed,
    OutcomeUnknown,
    RemoteError,
    UnknownMethod,
    Unreachable,
    kind_of,
)
from nova0.mesh.surface import Method, Role, Surface
from nova0.metrics import Tally

LOG = logging.getLogger(__name__)
NOT_OURS = (Busy, CallTimeout, Cancelled, OutcomeUnknown, Unreachable)  # said of a link, not by a method
MESH = "mesh"  # the topic every node answers by itself; not announced


class Running:
    """The call the current greenlet works for."""

    __slots__ = ("caller", "progress")

    def __init__(self, caller: Caller, progress: Callable[[Any], None]) -> None:
        self.caller, self.progress = caller, progress


_running: ContextVar[Running | None] = ContextVar("nova0_mesh_running", default=None)


def running() -> Running:
    """The call this greenlet works for. Raises LookupError outside of one."""
    now = _running.get()
    if now is None:
        raise LookupError("not inside a method called over the mesh")
    return now


class Offered:
    """One method of one agent, bound and ready; `tally` counts its runs."""

    __slots__ = ("codec", "function", "row", "tally")

    def __init__(self, row: Method, function: Callable[..., Any], codec: MethodCodec) -> None:
        self.row, self.function, self.codec = row, function, codec
        self.tally = Tally()


class Offers:
    """Agents of one node by topic."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.agents: dict[str, Surface] = {}
        self._methods: dict[tuple[str, str], Offered] = {}
        self._timers: list[gevent.Greenlet] = []
        self._ticking = False

    def add(self, agent: Surface) -> None:
        """Raises ValueError for an agent without a topic, or a topic that is already offered here."""
        cls = type(agent)
        if not cls.topic or "@" in cls.topic or "\0" in cls.topic:
            raise ValueError(f"{cls.__name__}: topic {cls.topic!r} must be a non-empty name without '@' and NUL")
        if cls.topic in self.agents:
            raise ValueError(f"{self.node}: topic {cls.topic!r} is already answered by {self.agents[cls.topic]!r}")
        codecs = codecs_of(cls)
        for name, row in cls.methods().items():
            self._methods[cls.topic, name] = Offered(row, getattr(agent, name), codecs[name])
        self.agents[cls.topic] = agent
        if self._ticking:
            self._start_timers(agent)

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(topic for topic in self.agents if topic != MESH)

    def methods(self) -> list[tuple[tuple[str, str], Offered]]:
        """((topic, name), method) of everything offered."""
        return list(self._methods.items())

    def find(self, topic: str, method: str, kind: str) -> Offered:
        """Raises UnknownMethod, saying what there is."""
        offered = self._methods.get((topic, method))
        if offered is None or offered.row.kind != kind:
            if topic not in self.agents:
                raise UnknownMethod(f"{self.node}: no agent answers to {topic!r} here")
            raise UnknownMethod(f"{self.node}: {topic} has no {kind} {method!r}; see `nova0 agents describe`")
        return offered

    def hears_from(self) -> set[Role]:
        """Roles whose casts some agent here wants: decides which publishers are listened to."""
        return {role for o in self._methods.values() if o.row.kind == "cast" for role in o.row.allow}

    def start_timers(self) -> None:
        self._ticking = True
        for agent in self.agents.values():
            self._start_timers(agent)

    def stop_timers(self) -> None:
        self._ticking = False
        gevent.killall(self._timers, block=False)
        self._timers.clear()

    def _start_timers(self, agent: Surface) -> None:
        for name, seconds in type(agent).timers().items():
            self._timers.append(gevent.spawn(_tick, agent, name, seconds))

    def describe(self) -> list[dict[str, Any]]:
        """One plain mapping per method, for people and programs."""
        return [
            {
                "agent": topic,
                "method": name,
                "kind": o.row.kind,
                "allow": [str(role) for role in o.row.allow],
                "timeout": o.row.timeout.name,
                "repeatable": o.row.repeatable,
                "doc": o.row.doc,
                "arguments": {a: _type_name(t) for a, t in o.row.arguments.items()},
                "required": list(o.row.required),
                "returns": _type_name(o.row.returns),
            }
            for (topic, name), o in sorted(self._methods.items())
        ]


def authorise(offered: Offered, caller: Caller, here: str) -> None:
    """Raises NotAllowed unless one of the caller's certified roles is among the method's."""
    allow = offered.row.allow
    if not any(role in allow for role in caller.roles):
        wanted = " or ".join(allow)
        raise NotAllowed(
            f"{here}: {caller.node} ({', '.join(caller.roles)}) may not call {offered.row.name}: needs role {wanted}"
        )


def roles_seen(roles: Iterable[str], caller_host: str, here_host: str) -> tuple[str, ...]:
    """Certified roles, completed by what follows from them: every node is a member, a neighbour
    process of the same machine is self."""
    seen = [str(role) for role in roles]
    if Role.MEMBER not in seen:
        seen.append(str(Role.MEMBER))
    if caller_host == here_host and Role.SELF not in seen:
        seen.append(str(Role.SELF))
    return tuple(seen)


def run(
    offered: Offered,
    caller: Caller,
    body: bytes | msgspec.Raw,
    progress: Callable[[Any], None],
    *,
    lax: bool = False,
) -> bytes:
    """Decode, run, encode. Raises what the method raises; Exceptions that are not the mesh's own are
    logged with their traceback here, for they do not travel."""
    started = monotonic()
    try:
        body = _run(offered, caller, body, progress, lax)
    except BaseException as error:
        offered.tally.failed(kind_of(error), monotonic() - started)
        raise
    offered.tally.took(monotonic() - started)
    return body


def _run(
    offered: Offered, caller: Caller, body: bytes | msgspec.Raw, progress: Callable[[Any], None], lax: bool
) -> bytes:
    kwargs = offered.codec.unpack_arguments(body, lax=lax)
    token = _running.set(Running(caller, progress))
    about = log.request.set(caller.context or None)
    try:
        result = offered.function(**kwargs)
        try:
            return encode(result)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadArguments(f"{offered.row.name}: its result cannot travel: {error}") from error
    except NOT_OURS as error:
        # The method's own call to someone else failed so: to its caller this method did answer.
        raise RemoteError(f"{offered.row.name}: {error.message}", remote_kind=error.kind) from error
    except MeshError:
        raise
    except Exception:
        LOG.debug("%s.%s called by %s failed", type(offered).__name__, offered.row.name, caller.node, exc_info=True)
        raise
    finally:
        log.request.reset(about)
        _running.reset(token)


def _tick(agent: Surface, name: str, seconds: float) -> None:
    gevent.sleep(random.uniform(0, seconds))  # noqa: S311  (spread, not secrecy)
    while True:
        try:
            getattr(agent, name)()
        except Exception:  # one failing run never stops the next
            LOG.exception("%s: timer %s failed; next run in %s s", type(agent).__name__, name, seconds)
        gevent.sleep(seconds)


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
