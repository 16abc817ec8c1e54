"""What the rest of a program sees of the mesh, whether it is `Node` (sockets) or `LocalBus` (tests).

Both pass one suite (tests/mesh/test_bus_contract.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nova0.mesh.follow import Follower, Snapshot
from nova0.mesh.members import Caller, Member, Status
from nova0.mesh.surface import Role, Surface

if TYPE_CHECKING:
    from nova0.mesh.streams.stream import Handler, Stream
    from nova0.mesh.streams.tickets import Ticket

S = TypeVar("S", bound=Surface)
T = TypeVar("T")


class Bus(Protocol):
    """Send and receive. Blocking methods block only the calling greenlet."""

    host: str

    def offer(self, agent: Surface) -> None:
        """Answer this agent's methods, hear its casts, run its timers. Before or after `start`. Raises NotAllowed,
        with the remedy, where this node's certificate does not let it answer the agent's topic."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Say goodbye, let running methods end (bounded), close."""

    def stub(
        self,
        surface: type[S],
        host: str | None = None,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        context: dict[str, Any] | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> S:
        """An object of the surface's signatures. With `host`, calls go to the agent of that topic on
        that host (casts to `topic@host`); without, to the least loaded live one (casts to all).

        `request_id` names the request for at-most-once execution: ask again under the same id to
        learn the outcome of an earlier attempt. Default: a new one for each call. `timeout_s`
        overrides the total of the method's time-out class. `context` (request id of the user's
        request, trace id) travels along and is `Caller.context` there. `on_progress` receives what
        the method passes to `Bus.progress`. A call made inside a method has at most the time left of the
        call that method works for; what the method spawns is not bound by it.
        Raises the errors of `mesh.errors`, or the method's own registered error.
        """

    def members(self) -> list[Member]: ...

    def hosts_put_out(self) -> dict[str, tuple[str, float]]:
        """host -> why, and when (seconds since 1970 where it was said): machines put out of the cluster for good of
        whose name none is back. For as long as the cluster lives; from any thread."""

    def on_member(self, heard: Callable[[Member, Status], None]) -> None:
        """Call `heard(member, old_status)` on every change of status. Must not block."""

    def on_gap(self, heard: Callable[[str, str], None]) -> None:
        """Call `heard(topic, publisher)` when casts of that node on that topic were lost on the way
        here: what they said must be fetched afresh. Must not block."""

    def snapshot(self, surface: type[Surface], value: T, host: str | None = None) -> Snapshot[T]:
        """Inside the method a follower fetches from: `value`, with the number of this node's last cast on the
        surface's topic (topic@host). State is read and stamped, and changed and cast, without a wait between."""

    def follow(
        self,
        surface: type[Surface],
        fetch: Callable[[], Snapshot[Any]],
        on_snapshot: Callable[[Any], None],
        on_update: Callable[[str, dict[str, Any]], None],
        host: str | None = None,
    ) -> Follower:
        """Keep up with what one node casts on the surface's topic (topic@host). `fetch` calls a method there that
        answers with `snapshot`; `on_snapshot(value)` hears the first state and every one after a loss, and
        `on_update(method, arguments)` each cast after it, in order, none twice. Both run in a greenlet of the
        follower's own and may wait. `fetch` is tried again until it succeeds."""

    def acknowledge(self, request_ids: list[str]) -> None:
        """The caller has stored the answers of these requests and will not ask for them again: the
        callees may forget them. Only of use for ids given to `stub(request_id=...)`; other calls are
        acknowledged by the mesh. What is never acknowledged is kept for a day."""

    def cancel(self, request_ids: list[str]) -> None:
        """Take back requests asked under ids of one's own: who waits for them here gets Cancelled, and whoever
        works on them learns it (see `cancelled`). Asked again under its id, such a request tells what became
        of it. A call without an id of one's own is taken back by giving it up: kill its greenlet, let a
        time-out end it."""

    def cancelled(self) -> bool:
        """Inside a method: nobody waits for this call any more. A method that is not `repeatable` goes on
        until it looks; a `repeatable` one is ended with Cancelled where it waits."""

    def check_cancelled(self) -> None:
        """Inside a method, where it can stop without harm: raises Cancelled if nobody waits any more."""

    def wait_cancelled(self, timeout_s: float) -> bool:
        """Inside a method: wait, but no longer than until nobody waits for this call; whether that is so."""

    def time_left(self) -> float | None:
        """Inside a method: seconds its caller still waits; calls made here get no more. None where nothing
        limits them: outside of a method, or past the time of a request with an id of its caller's own, which
        may be asked again."""

    def store_doubt(self) -> str:
        """Why this node destroys nothing on its controllers' word now (their store is older than, or
        another than, the one it worked for); "" when it does. Calls marked `destructive` are refused
        meanwhile; an agent that destroys on an *answer* asks here first."""

    def caller(self) -> Caller:
        """Inside a method: who called. Outside: LookupError."""

    def offer_stream(
        self, purpose: str, handler: Handler, *, peer: str | None = None, expires_s: float = 60.0, uses: int = 1
    ) -> Ticket:
        """Leave for `peer` (a node, or a host for any process of it; inside a method by default the caller)
        to open a stream within `expires_s`, `uses` times: hand the ticket over by an ordinary call. For each
        stream `handler(stream)` runs in a greenlet of its own; its return is `finish`, its error the peer's.
        Tickets end with this process. Raises Busy."""

    def withdraw_stream(self, ticket: Ticket) -> None:
        """The ticket opens nothing more; streams it opened go on."""

    def open_stream(
        self, ticket: Ticket, *, timeout_s: float = 10.0, of: str = "", roles: tuple[Role, ...] = ()
    ) -> Stream:
        """The other end of what `offer_stream` offered. `of`: the node, or host, whose ticket it should be;
        `roles`: one of these its certificate must have. Raises NotAllowed where it is not so (nobody was asked),
        StreamRefused (and why: used, expired, not known there, another peer's), Busy (too many streams here or
        there), Unreachable."""

    def progress(self, value: Any) -> None:
        """Inside a method: tell the caller how far the work is (small, msgpack-able)."""
