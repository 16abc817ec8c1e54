"""What every operation is: a row, its steps, and the ways a step can end."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gevent

from nova0.controller.compute.host_life import HostLives
from nova0.controller.conductor import journal
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import FaultRow, InstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import Store
from nova0.controller.scheduler.scheduler import Scheduler
from nova0.mesh.bus import Bus
from nova0.mesh.errors import BadArguments, Busy, CallTimeout, Cancelled, MeshError, OutcomeUnknown, Unreachable
from nova0.objects.errors import LeaveRefused
from nova0.rpcapi.compute import ComputeAPI

log = logging.getLogger(__name__)

Commit = Callable[[], Any]

ASK_AGAIN_S = 0.3  # first pause before a step is asked again; doubles up to ASK_AGAIN_MOST_S
ASK_AGAIN_MOST_S = 3.0
AT_ONCE = 200  # operations under way; more wait their turn in the store
LEAVE_TRIES = 10
ANEW_TRIES = 10  # under another id, of one call whose outcome the host says is lost
HOST_PATIENCE_S = 30.0  # how long a host that is not known to be down may stay silent


@dataclass(kw_only=True)
class World:
    """What operations act on."""

    store: Store
    bus: Bus
    scheduler: Scheduler
    lives: HostLives
    cluster_id: str
    networks_changed: Callable[[list[str]], None]
    asked: Counter[str] = field(default_factory=Counter)  # host -> operations that wait for its answer


@dataclass(kw_only=True)
class Done:
    """A step is done: `commit` is written in one transaction with the record that it is.
    `next` names the step to go on with; None: the one that follows."""

    commit: Commit | None = None
    next: str | None = None
    then: Callable[[], None] | None = None  # after the commit, in the loop; may be lost


@dataclass(kw_only=True)
class Later:
    """The step can't be done yet: come back to it (or to `next`) after `seconds`."""

    seconds: float
    commit: Commit | None = None
    next: str | None = None


class HostSilent(MeshError):
    """A host that was asked gives no answer: it may be down, cut off, or held."""


MOST_DETAILS = 16_384  # of a failure, in characters: a host may say megabytes


class Failed(MeshError):
    """The operation can't be done; the message is for the user's eyes."""


class FenceLost(Exception):
    """Another took this operation, or it was superseded: whoever held it must change nothing more."""


class HostHasEnough(Exception):
    """As many operations wait for that host as it leaves places for others: the step runs again a little later."""


class StepAgain(Exception):
    """Raised by a commit that finds the world changed since its step looked: nothing is written, and the
    step runs again (`row.attempt` grows)."""


@dataclass
class Operation(ABC):
    """One taken-up operation. Subclasses set `kind` and `steps` (method names, in order)."""

    kind: ClassVar[str] = ""
    steps: ClassVar[tuple[str, ...]] = ()

    row: OperationRow
    world: World
    data: dict[str, Any] = field(init=False)
    asked: set[str] = field(init=False, default_factory=set)  # request ids whose answers hosts still keep

    def __post_init__(self) -> None:
        self.data = dict(self.row.data)

    def step_ended(self) -> None:  # noqa: B027  (most steps hold nothing)
        """A step ended and is recorded, or will be run again, however it went: let go what it held in memory."""

    @property
    def uuid(self) -> str:
        """The server this is about."""
        return self.row.subject

    def following(self, step: str) -> str | None:
        """The step after `step`; None after the last."""
        at = self.steps.index(step) + 1
        return self.steps[at] if at < len(self.steps) else None

    @abstractmethod
    def gave_up(self, error: Exception) -> Commit:
        """What to write when a step raised for good; the operation is recorded as failed with it."""

    def instance(self) -> InstanceRow:
        """The server's row as it is now."""
        return self.world.store.read(lambda: InstanceRow.known("uuid", self.uuid))

    def write(self, commit: Commit) -> None:
        """Write in the middle of a step, if the operation is still ours. Raises FenceLost."""
        row = self.row

        def closure() -> None:
            ours = OperationRow.select(OperationRow.id).where(
                OperationRow.uuid == row.uuid, OperationRow.fence == row.fence, OperationRow.state == "running"
            )
            if not ours.exists():
                raise FenceLost
            commit()

        self.world.store.write(closure)

    def placed(self) -> tuple[InstanceRow, str]:
        """The server's row and the host it is placed on. Raises Failed where it is on none."""
        row = self.instance()
        if not row.host:
            raise Failed(f"server {self.uuid} is on no host")
        return row, row.host

    @property
    def action_id(self) -> int:
        """The row of what the user asked, whose steps are shown."""
        return int(self.data["action_id"])

    @property
    def step(self) -> str:
        """The step being done."""
        return self.row.step or self.steps[0]

    def request_id(self, method: str) -> str:
        """The id this step's call bears in the mesh: the same whenever it is asked again."""
        made = f"{self.row.uuid}:{self.step}:{method}:{self.data.get('round', 0)}.{self.row.attempt}"
        self.asked.add(made)
        return made

    def next_round(self) -> None:
        """Steps run from here on are new requests, not the same asked again. Recorded with the step."""
        self.data["round"] = self.data.get("round", 0) + 1

    def host(self, name: str, method: str, on_progress: Callable[[Any], None] | None = None) -> ComputeAPI:
        """The stub through which this step asks a host."""
        return self.world.bus.stub(
            ComputeAPI,
            name,
            request_id=self.request_id(method),
            context=journal.about(self.row),
            on_progress=on_progress,
        )

    def ask(
        self,
        host: str,
        method: str,
        *args: Any,
        on_progress: Callable[[Any], None] | None = None,
        patience_s: float = HOST_PATIENCE_S,
    ) -> Any:
        """Ask a host, again under the same id while it is not known to be down.

        Raises HostSilent when it is down or stays silent; an outcome that was lost in a crash of the
        host is asked under a new id (every method here is idempotent on the host), ANEW_TRIES times. Other
        errors are the host's own. HostHasEnough is the engine's to catch."""
        asked = self.world.asked
        if asked[host] >= AT_ONCE - asked.total():
            raise HostHasEnough(host)
        asked[host] += 1
        try:
            return self._ask(host, method, args, on_progress=on_progress, patience_s=patience_s)
        finally:
            asked[host] -= 1
            if not asked[host]:
                del asked[host]

    def _ask(
        self,
        host: str,
        method: str,
        args: tuple[Any, ...],
        *,
        on_progress: Callable[[Any], None] | None,
        patience_s: float,
    ) -> Any:
        deadline = time.monotonic() + patience_s
        pause, anew = ASK_AGAIN_S, 0
        while True:
            try:
                return getattr(self.host(host, method, on_progress), method)(*args)
            except (OutcomeUnknown, Cancelled, BadArguments) as error:
                if isinstance(error, BadArguments) and not error.data.get("used"):
                    raise
                # "used": asked before a restart, or before the disk was full; what is to be told has changed since.
                self.row.attempt += 1
                self._record_attempt()
                anew += 1
                if anew >= ANEW_TRIES:
                    raise HostSilent(
                        f"{host} does not say how {method} ended, asked {anew} times anew ({error.message}): "
                        "see the log of that host"
                    ) from error
                if anew > 1:
                    gevent.sleep(pause)
                    pause = min(pause * 2, ASK_AGAIN_MOST_S)
            except (CallTimeout, Unreachable, Busy) as error:
                if self.world.lives.is_down(host) or time.monotonic() > deadline:
                    raise HostSilent(
                        f"{host} does not answer ({method}: {error.message}): "
                        f"see `nova0 agents` and the log of that host"
                    ) from error
                gevent.sleep(pause)
                pause = min(pause * 2, ASK_AGAIN_MOST_S)

    def ask_to_start(self, host: str, method: str, *args: Any) -> Any:
        """`ask`, for methods that need our own leave. Where the host could not get it from us (we were
        away, or it was too slow) nothing was started, and it is asked anew. Raises also LeaveRefused."""
        for _ in range(LEAVE_TRIES):
            try:
                return self.ask(host, method, *args)
            except LeaveRefused as error:
                if not (error.data.get("unanswered") or error.data.get("expired")):
                    raise
                last = error
                log.info("%s: asking anew (%s)", method, error.message)
                self.row.attempt += 1
                self._record_attempt()
                gevent.sleep(ASK_AGAIN_S)
        raise last

    def _record_attempt(self) -> None:
        row = self.row
        self.world.store.write(
            lambda: (
                OperationRow.update(attempt=row.attempt)
                .where(OperationRow.uuid == row.uuid, OperationRow.fence == row.fence)
                .execute()
            )
        )


def record_fault(uuid: str, message: str, host: str | None, details: str = "", code: int = 500) -> None:
    """In a transaction: what a user sees as `fault` while the server is in ERROR."""
    details = (details or message)[:MOST_DETAILS]
    FaultRow.create(instance_uuid=uuid, code=code, message=message[:255], details=details, host=host)


def set_instance(uuid: str, **columns: Any) -> None:
    """In a transaction: change some columns of a server."""

    columns.setdefault("updated_at", now())
    InstanceRow.change({"uuid": uuid}, **columns)


def finish_action(operation: Operation, error: str | None = None) -> None:
    """In a transaction: the action a user sees ends."""
    journal.action_finished(operation.action_id, error)


def supersede(subject: str, by: str) -> int:
    """In a transaction: end all other unfinished operations on a server. Their owners find their fence lost."""
    return (
        OperationRow.update(
            state="failed", fence=OperationRow.fence + 1, error=f"superseded by {by}", finished_at=now()
        )
        .where(
            OperationRow.subject == subject,
            OperationRow.uuid != by,
            OperationRow.state.in_(("ready", "running")),
        )
        .execute()
    )
