"""Takes up recorded operations and drives each to its end, through any number of restarts.

An operation is taken up by raising its fence; every later write compares it. So an owner that was
thought dead, or whose operation was superseded, can change nothing any more (`FenceLost`).
"""

from __future__ import annotations

import logging
import random
import time
import traceback
from typing import Any, ClassVar

import gevent
import peewee
from gevent.event import Event
from gevent.pool import Pool

from nova0.controller.conductor import journal
from nova0.controller.conductor.boot import Boot
from nova0.controller.conductor.delete import Delete
from nova0.controller.conductor.operation import (
    AT_ONCE,
    MOST_DETAILS,
    Commit,
    Done,
    FenceLost,
    HostHasEnough,
    Later,
    Operation,
    StepAgain,
    World,
    finish_action,
)
from nova0.controller.conductor.pause import Pause
from nova0.controller.conductor.reboot import Reboot
from nova0.controller.conductor.start import Start
from nova0.controller.conductor.stop import Stop
from nova0.controller.conductor.unpause import Unpause
from nova0.controller.db.base_table import now
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import StoreUnavailable
from nova0.crashpoints import crash_point
from nova0.log import request as log_request
from nova0.mesh.errors import MeshError
from nova0.native import Mailbox

log = logging.getLogger(__name__)

LEASE_S = 60.0  # how long an owner may be silent before another controller takes its operations up
ENOUGH_S = 2.0  # until a host for which many operations wait is asked for one more
LOOK_S = 1.0  # how often the books are read for operations whose time has come


class Engine:
    """`owner` names this controller process (host and boot number)."""

    KINDS: ClassVar[dict[str, type[Operation]]] = {
        kind.kind: kind for kind in (Boot, Delete, Start, Stop, Reboot, Pause, Unpause)
    }

    def __init__(self, world: World, owner: str) -> None:
        self.world, self.owner = world, owner
        self._bell = Event()
        self._under_way: dict[str, str] = {}  # operation uuid -> subject
        self._pool = Pool(AT_ONCE)
        self._mailbox = Mailbox(self._bell.set)
        self._looking: gevent.Greenlet | None = None
        self._seen = -1  # operations begun when the bell last rang

    def start(self) -> None:
        """Take up what an earlier run left and whatever is recorded from now on."""
        self.world.store.on_commit(self._committed)
        self._bell.set()
        self._looking = gevent.spawn(self._look)

    def _committed(self) -> None:
        """On the store thread: most commits are our own steps, and no reason to read the books again."""
        if journal.begun() != self._seen:
            self._seen = journal.begun()
            self._mailbox.post()

    def stop(self, patience_s: float = 5.0) -> None:
        """Stop taking up; let steps under way end; what does not end is taken up after the next start."""
        if self._looking is not None:
            self._looking.kill()
        self._pool.join(timeout=patience_s)
        self._pool.kill()
        self._mailbox.close()

    def _look(self) -> None:
        renewed = time.monotonic()
        while True:
            self._bell.wait(LOOK_S)
            self._bell.clear()
            try:
                if self._under_way and time.monotonic() - renewed > LEASE_S / 3:
                    renewed = time.monotonic()
                    self.world.store.write(self._renew)
                for row in self.world.store.read(self._due):
                    if len(self._pool) >= AT_ONCE:
                        break
                    taken = self._take(row)
                    if taken is not None:
                        self._under_way[taken.uuid] = taken.subject
                        self._pool.spawn(self._drive, taken)
            except StoreUnavailable:  # the store has logged it, and says when it takes writes again
                gevent.sleep(LOOK_S)
            except Exception:
                log.exception("reading the books of operations failed; trying again")
                gevent.sleep(LOOK_S)

    def _now(self) -> float:
        """By which waits and leases of operations go: not the clock of the day, which may jump."""
        return self.world.store.clock.now()

    def _renew(self) -> None:
        OperationRow.update(lease_until=self._now() + LEASE_S).where(
            OperationRow.owner == self.owner, OperationRow.uuid.in_(list(self._under_way))
        ).execute()

    def _due(self) -> list[OperationRow]:
        names: Any = (
            OperationRow.select(OperationRow.uuid, OperationRow.subject, OperationRow.kind)
            .where(OperationRow.state.in_(("ready", "running")), OperationRow.not_before <= self._now())
            .order_by(OperationRow.not_before, OperationRow.id)  # those that never waited first
            .limit(AT_ONCE * 2)
        )
        due, subjects = [], set(self._under_way.values())
        for uuid, subject, kind in names.tuples():  # most are under way: their rows are not read again
            if uuid in self._under_way:
                continue
            # One operation at a time on a server; a delete does not wait, it supersedes.
            if kind != "delete" and subject in subjects:
                continue
            subjects.add(subject)
            due.append(OperationRow.known("uuid", uuid))
        return due

    def _take(self, row: OperationRow) -> OperationRow | None:
        fence, moment = row.fence, self._now()

        def closure() -> bool:
            free = (
                (OperationRow.owner.is_null())
                | (OperationRow.owner == self.owner)
                | (OperationRow.owner.startswith(self.owner.rpartition("#")[0] + "#"))  # our own earlier runs
                | (OperationRow.lease_until < moment)
            )
            return (
                OperationRow.update(owner=self.owner, fence=fence + 1, state="running", lease_until=moment + LEASE_S)
                .where(OperationRow.uuid == row.uuid, OperationRow.fence == fence, free)
                .execute()
                == 1
            )

        if not self.world.store.write(closure):
            return None
        row.fence, row.owner, row.state = fence + 1, self.owner, "running"
        return row

    def _drive(self, row: OperationRow) -> None:
        log_request.set(journal.about(row))
        try:
            operation = self.KINDS[row.kind](row, self.world)
            if row.step is None:
                row.step = operation.steps[0]
            while self._step(operation):
                pass
        except FenceLost:
            log.info("%s of %s was taken over or superseded", row.kind, row.subject)
        except gevent.GreenletExit:
            raise
        except StoreUnavailable:  # taken up again, at the step that was recorded last
            gevent.sleep(LOOK_S)
        except Exception:
            log.exception("%s of %s: step %s could not be recorded; trying again", row.kind, row.subject, row.step)
            gevent.sleep(LOOK_S)
        finally:
            self._under_way.pop(row.uuid, None)
            self._bell.set()

    def _step(self, operation: Operation) -> bool:
        """Run one step and record it. True: go on with the next at once."""
        try:
            return self._run_step(operation)
        finally:
            operation.step_ended()

    def _run_step(self, operation: Operation) -> bool:
        row = operation.row
        step = operation.step
        name = f"{row.kind}.{step}"
        crash_point(f"{name}.begun")
        try:
            outcome: Done | Later = getattr(operation, step)()
        except HostHasEnough:
            outcome = Later(seconds=random.uniform(ENOUGH_S / 2, ENOUGH_S))  # noqa: S311  (spread, not secrecy)
        except (FenceLost, StoreUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - every failure of a step has its recorded end
            if not isinstance(error, MeshError):
                log.error("%s of %s failed\n%s", name, row.subject, traceback.format_exc())
            self._record_failure(operation, error)
            return False
        crash_point(f"{name}.done")
        try:
            going_on = self._record(operation, outcome)
        except StepAgain:
            row.attempt += 1
            return True
        except (FenceLost, StoreUnavailable, peewee.DatabaseError):
            raise
        except Exception as error:  # noqa: BLE001 - what a commit can't do (no address left) ends the operation
            self._record_failure(operation, error)
            return False
        crash_point(f"{name}.committed")
        self._acknowledge(operation)
        if isinstance(outcome, Done) and outcome.then is not None:
            outcome.then()
        return going_on

    def _record(self, operation: Operation, outcome: Done | Later) -> bool:
        row = operation.row
        if isinstance(outcome, Later):
            following: str | None = outcome.next or row.step
            state, not_before = "running", self._now() + outcome.seconds
        else:
            following = outcome.next or operation.following(operation.step)
            state, not_before = ("running" if following else "done"), 0.0
        moved = following != row.step

        def also() -> None:
            if outcome.commit is not None:
                outcome.commit()
            if moved:
                journal.event_finished(operation.action_id, operation.step, since=row.created_at)
                if following:
                    journal.event_started(operation.action_id, following)

        self._write(
            operation,
            also,
            step=following,
            attempt=0 if moved else row.attempt,
            state=state,
            not_before=not_before,
            finished_at=None if following else now(),
        )
        row.step = following
        row.attempt = 0 if moved else row.attempt
        return isinstance(outcome, Done) and following is not None

    def _record_failure(self, operation: Operation, error: Exception) -> None:
        row = operation.row
        message = (getattr(error, "message", None) or f"{type(error).__name__}: {error}")[:MOST_DETAILS]
        log.warning("%s of %s failed at %s: %s", row.kind, row.subject, row.step, message)
        commit = operation.gave_up(error)

        def also() -> None:
            commit()
            journal.event_finished(operation.action_id, operation.step, message, since=row.created_at)
            finish_action(operation, message)

        self._write(operation, also, state="failed", error=message, finished_at=now())

    def _acknowledge(self, operation: Operation) -> None:
        """What the answers said is in the store: hosts need not keep them any longer."""
        asked, operation.asked = list(operation.asked), set()
        if asked:
            self.world.bus.acknowledge(asked)

    def _write(self, operation: Operation, also: Commit, **columns: object) -> None:
        row = operation.row

        def closure() -> None:
            ours = {"uuid": row.uuid, "fence": row.fence, "state": "running"}
            always = {"data": operation.data, "lease_until": self._now() + LEASE_S}
            if OperationRow.change(ours, **{**always, **columns}) != 1:
                raise FenceLost
            also()

        self.world.store.write(closure)
