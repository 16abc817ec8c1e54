"""What this node answers: agents by topic, the check of who may call, and the run of one method.

Knows no sockets and no journal; `LocalBus` and `Node` both dispatch through here.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from functools import lru_cache
from time import monotonic
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from greenlet import getcurrent

from nova0 import log
from nova0.mesh import entitlement
from nova0.mesh.certificate import Certificate
from nova0.mesh.codec import MethodCodec, codecs_of, encode, fits
from nova0.mesh.describing import described
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
from nova0.mesh.members import Caller
from nova0.mesh.surface import Method, Role, Surface
from nova0.metrics import Tally

LOG = logging.getLogger(__name__)
NOT_OURS = (Busy, CallTimeout, Cancelled, OutcomeUnknown, Unreachable)  # said of a link, not by a method
MESH = "mesh"  # the topic every node answers by itself; not announced


class Running(msgspec.Struct, eq=False):
    """The call the current greenlet works for. `deadline` is by the monotonic clock; the work for an id
    the application gave goes on after it, for it may be asked again."""

    caller: Caller
    progress: Callable[[Any], None]
    deadline: float | None = None
    named: bool = False
    may_be_ended: bool = False
    taken_back: str = ""  # why nobody waits for it any more
    expired: bool = False
    _bell: Event | None = None
    _greenlet: Any = None

    def overdue(self, now: float) -> bool:
        """Past its deadline, and nobody will ask for what becomes of it."""
        return self.deadline is not None and now > self.deadline and (self.may_be_ended or not self.named)

    def take_back(self, why: str, *, expired: bool = False) -> None:
        """Nobody waits: a method that may run twice is ended where it waits, another can see it. `expired`: by
        the clock and not by its caller, who gets CallTimeout if it still waits."""
        if not self.taken_back:
            self.taken_back, self.expired = why, expired
            if self._bell is not None:
                self._bell.set()
            if self.may_be_ended:
                gevent.get_hub().loop.run_callback(self._end)

    def wait(self, timeout_s: float | None) -> bool:
        """Until it is taken back, at most for `timeout_s`; whether it is."""
        if self._bell is None:
            self._bell = Event()
            if self.taken_back:
                self._bell.set()
        return self._bell.wait(timeout_s)

    def check(self) -> None:
        if self.taken_back:
            raise Cancelled(self.taken_back)

    def begin(self) -> None:
        """The method runs from here in this greenlet, until `over`. Raises Cancelled where it need not run."""
        if self.taken_back:
            raise Cancelled(self.taken_back)
        self._greenlet = getcurrent()

    def over(self) -> None:
        self._greenlet = None

    def _end(self) -> None:
        """In the hub, so the method is waiting somewhere."""
        if self._greenlet is not None:
            self._greenlet.throw(Cancelled(self.taken_back))


_running: ContextVar[Running | None] = ContextVar("nova0_mesh_running", default=None)


def running() -> Running:
    """The call this greenlet works for. Raises LookupError outside of one."""
    now = _running.get()
    if now is None:
        raise LookupError("not inside a method called over the mesh")
    return now


def time_left() -> float | None:
    """Seconds left of the call this greenlet works for; None where nothing limits it: outside of one, or
    where the application named the request and may ask for its outcome later."""
    now = _running.get()
    if now is None or now.deadline is None:
        return None
    left = now.deadline - monotonic()
    return None if now.named and left <= 0 else left


class Offered:
    """One method of one agent, bound and ready; `tally` counts its runs. `positional`: a cast that can be run with its
    arguments in the order of the surface, which is quicker than by name."""

    __slots__ = ("allow", "codec", "function", "positional", "row", "tally")

    def __init__(self, row: Method, function: Callable[..., Any], codec: MethodCodec) -> None:
        self.row, self.function, self.codec = row, function, codec
        self.allow = frozenset(map(str, row.allow))
        self.tally = Tally()
        self.positional = row.kind == "cast" and set(row.required) == set(row.arguments) and _takes(function, row)


class Offers:
    """Agents of one node by topic."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.agents: dict[str, Surface] = {}
        self._methods: dict[tuple[str, str], Offered] = {}
        self._timers: list[gevent.Greenlet] = []
        self._ticking = False
        self._followed: set[Role] = set()

    def add(self, agent: Surface) -> None:
        """Raises ValueError for an agent without a topic, or a topic that is already offered here. Nothing is asked
        about who may answer it: see `check`."""
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

    def check(self, agent: Surface, certificate: Certificate) -> None:
        """Raises NotAllowed where the certificate does not let this node answer the agent's topic: nobody would
        ask it here."""
        topic = type(agent).topic
        if not entitlement.may_answer(certificate, topic):
            raise NotAllowed(
                f"{self.node}: {type(agent).__name__} is not offered: this machine's certificate "
                f"({entitlement.says(certificate)}) does not let it answer {topic!r}, so nobody would ask it. "
                f"{entitlement.remedy(topic)}"
            )

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
        offered = {role for o in self._methods.values() if o.row.kind == "cast" for role in o.row.allow}
        return offered | self._followed

    def listen(self, surface: type[Surface]) -> None:
        """Its casts are wanted here without an agent that hears them."""
        self._followed |= {role for row in surface.methods().values() if row.kind == "cast" for role in row.allow}

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
        return [described(topic, offered.row) for (topic, _), offered in sorted(self._methods.items())]


def _takes(function: Callable[..., Any], row: Method) -> bool:
    """Its first parameters are those of the signature, in that order."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[: len(row.arguments)]
    except (TypeError, ValueError):
        return False
    names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    return names == tuple(row.arguments)


def authorise(offered: Offered, caller: Caller, here: str) -> None:
    """Raises NotAllowed unless one of the caller's certified roles is among the method's."""
    if offered.allow.isdisjoint(caller.roles):
        wanted = " or ".join(offered.row.allow)
        raise NotAllowed(
            f"{here}: {caller.node} ({', '.join(caller.roles)}) may not call {offered.row.name}: needs role {wanted}"
        )


def lent(caller: Caller, roles: tuple[str, ...], certified: Iterable[str]) -> Caller:
    """The caller with only the roles that a node may lend to whom it speaks for: member, and operator where
    the node is a controller, which has seen an administrator's token. Never self, host or controller."""
    may = {str(Role.MEMBER), str(Role.OPERATOR)} if Role.CONTROLLER in certified else {str(Role.MEMBER)}
    return msgspec.structs.replace(caller, roles=tuple(role for role in roles if role in may))


@lru_cache(4096)  # asked for every call, and the answers are few
def roles_seen(roles: tuple[str, ...], caller_host: str, here_host: str) -> tuple[str, ...]:
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
    running: Running,
    body: bytes | msgspec.Raw,
    *,
    lax: bool = False,
) -> bytes:
    """Decode, run, encode. Raises what the method raises; Exceptions that are not the mesh's own are
    logged with their traceback here, for they do not travel."""
    started = monotonic()
    try:
        answer = _run(offered, running, body, lax)
    except BaseException as error:
        offered.tally.failed(kind_of(error), monotonic() - started)
        raise
    offered.tally.took(monotonic() - started)
    return answer


def _run(offered: Offered, running: Running, body: bytes | msgspec.Raw, lax: bool) -> bytes:
    kwargs = offered.codec.unpack_arguments(body, lax=lax)
    caller = running.caller
    token = _running.set(running)
    about = log.request.set(caller.context or None)
    if not offered.row.repeatable:
        LOG.debug("%s asked by %s", offered.row.name, caller.node)
    try:
        try:
            running.begin()
            result = offered.function(**kwargs)
        finally:
            running.over()
        try:
            answer = encode(result)
            fits(answer, f"the result of {offered.row.name}")
            return answer
        except (TypeError, ValueError, OverflowError) as error:
            raise BadArguments(f"{offered.row.name}: its result cannot travel: {error}") from error
    except NOT_OURS as error:
        if running.taken_back and isinstance(error, Cancelled):
            if running.expired:
                raise CallTimeout(f"{offered.row.name} was ended: {running.taken_back}") from error
            raise
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


def enter(running: Running) -> Token[Running | None]:
    """The current greenlet works for this one, until `leave`."""
    return _running.set(running)


def leave(token: Token[Running | None]) -> None:
    _running.reset(token)


def hear(offered: Offered, running: Running, body: bytes | msgspec.Raw) -> None:
    """As `run`, for a cast: nobody waits for a result. Raises what the method raises."""
    started = monotonic()
    token = _running.set(running)
    about = log.request.set(running.caller.context) if running.caller.context else None
    try:
        offered.function(**offered.codec.unpack_arguments(body))
    except BaseException as error:
        offered.tally.failed(kind_of(error), monotonic() - started)
        raise
    finally:
        if about is not None:
            log.request.reset(about)
        _running.reset(token)
    offered.tally.took(monotonic() - started)


def _tick(agent: Surface, name: str, seconds: float) -> None:
    gevent.sleep(random.uniform(0, seconds))  # noqa: S311  (spread, not secrecy)
    while True:
        try:
            getattr(agent, name)()
        except Exception:  # one failing run never stops the next
            LOG.exception("%s: timer %s failed; next run in %s s", type(agent).__name__, name, seconds)
        gevent.sleep(seconds)
