"""Boot: choose a host and claim it, addresses, prepare on the host, start with its leave, finish.

`prepare` starts nothing, so until leave is granted the server may move to another host at once; once
granted, only its host can say what became of it (`settle`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gevent
from gevent.event import Event

from nova0.config import CONF
from nova0.controller.conductor import claims, journal
from nova0.controller.conductor.fitting import REFUSED
from nova0.controller.conductor.instance_view import plan
from nova0.controller.conductor.operation import (
    MOST_DETAILS,
    Commit,
    Done,
    Failed,
    HostHasEnough,
    HostSilent,
    Later,
    Operation,
    StepAgain,
    finish_action,
    record_fault,
    set_instance,
    supersede,
)
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import HostRow, InstanceRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.network import books as networks
from nova0.controller.scheduler.request import Request
from nova0.mesh.errors import MeshError
from nova0.objects.errors import NoValidHost
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkView
from nova0.objects.states import PowerState, TaskState, VmState

log = logging.getLogger(__name__)

CLAIM_TRIES = 20  # a claim lost so often in a row is no race any more
SETTLE_LOOK_S = 2.0  # how often a silent host that holds a leave is looked for
PROGRESS_EVERY_S = 0.5  # between two writes of progress


@dataclass
class Boot(Operation):
    kind = "boot"
    steps = ("schedule", "address", "prepare", "start", "finish")
    _told_at: float = field(default_factory=time.monotonic)
    _decides: bool = False
    _deciding: ClassVar[dict[str, Event]] = {}  # batches being decided in this process

    def schedule(self) -> Done | Later:
        """Choose a host and claim it, in one transaction: for all servers asked for together, or for this one."""
        scheduler = self.world.scheduler
        self._wait_for_the_batch()
        if self.row.attempt > CLAIM_TRIES:
            raise Failed("No valid host was found: every host chosen had lost its room before it could be claimed")
        requests, placed, mine = self.world.store.read(self._requests)
        if mine:  # with the others of its batch
            return Done(commit=lambda: set_instance(self.uuid, task_state=TaskState.NETWORKING))
        try:
            chosen = scheduler.select_many(requests, int(self.data.get("at_least", 1)) - placed)
        except NoValidHost:
            if scheduler.still_gathering():
                return Later(seconds=0.5)  # hosts have not been heard since our own start: wait for them
            raise
        places = [
            (request, host, scheduler.limits(host), scheduler.zone(host))
            for request, host in zip(requests, chosen, strict=False)
        ]

        def commit() -> None:
            try:
                for request, host, limits, zone in places:
                    if InstanceRow.known("uuid", request.uuid).host is not None:
                        scheduler.refused(host, request.uuid)  # placed meanwhile, by another of its batch
                        continue
                    claims.claim(request.uuid, host, request.takes, limits)
                    claims.hold_to_group(request, host)
                    set_instance(request.uuid, host=host, node=host, availability_zone=zone, host_leased_until=None)
            except claims.ClaimLost as lost:
                for request, host, _, _ in places:
                    scheduler.refused(host, request.uuid)
                raise StepAgain from lost
            set_instance(self.uuid, task_state=TaskState.NETWORKING)

        return Done(commit=commit)

    def address(self) -> Done:
        """Ports and addresses, bound to the host."""

        def commit() -> None:
            row = InstanceRow.known("uuid", self.uuid)
            networks.allocate(row, row.requested_networks)
            networks.bind(self.uuid, row.host)
            set_instance(self.uuid, task_state=TaskState.SPAWNING)

        return Done(commit=commit)

    def prepare(self) -> Done | Later:
        """Image, disks, taps and definition on the host: long, and nothing is started."""
        row, host = self.placed()
        instance, views = self._plan()
        try:
            self.ask(host, "prepare", instance, views, on_progress=self._progress)
        except MeshError as error:
            return self._elsewhere(row, error)
        return Done(then=self._tell_networks)

    def start(self) -> Done | Later:
        """The host asks leave, then starts the guest."""
        row, host = self.placed()
        try:
            found = self.ask_to_start(host, "start", self.uuid, row.generation)
        except HostSilent as error:
            row = self.instance()
            if row.host_leased_until is None:
                return self._elsewhere(row, error)
            return self._unsettled(row, error)
        except MeshError as error:
            return self._elsewhere(row, error)
        self.data["power_state"] = int(found.power_state)
        return Done()

    def finish(self) -> Done:
        """ACTIVE."""

        def commit() -> None:
            set_instance(
                self.uuid,
                vm_state=VmState.ACTIVE,
                task_state=None,
                power_state=self.data.get("power_state", PowerState.RUNNING),
                launched_at=now(),
                progress=100,
                admin_password=None,  # its guest has it; nobody else needs it any more
            )
            networks.activate(self.uuid)
            finish_action(self)

        return Done(commit=commit, then=lambda: self.world.scheduler.built(self.uuid))

    def settle(self) -> Done | Later:
        """The host had leave and then fell silent: only it can say whether the guest runs. The server
        shows ERROR meanwhile; claim and addresses stay."""
        row, host = self.placed()
        fenced = self.world.store.read(
            lambda: HostRow.select().where(HostRow.host == host, HostRow.forced_down).exists()
        )
        if fenced:
            return self._elsewhere(row, Failed(f"{host} was fenced"))
        try:
            found = self.ask(host, "inspect", self.uuid, patience_s=0)
        except HostSilent:
            return Later(seconds=SETTLE_LOOK_S)
        commit: Commit = lambda: set_instance(self.uuid, vm_state=VmState.BUILDING, task_state=TaskState.SPAWNING)  # noqa: E731
        if found is not None and found.power_state == PowerState.RUNNING:
            self.data["power_state"] = int(found.power_state)
            return Done(next="finish", commit=commit)
        self.next_round()
        return Done(next="prepare" if found is None else "start", commit=commit)

    def gave_up(self, error: Exception) -> Commit:
        row = self.instance()
        message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        self._clean(row)
        details = str(getattr(error, "data", {}).get("trace", message))
        if isinstance(error, NoValidHost) and self.data.get("reasons"):  # why those that were chosen could not
            refused = "; ".join(self.data["reasons"])
            message, details = f"{message} {refused}", f"{details}\n{refused}"
        together = self.step == "schedule" and not self.data.get("tried") and self.data.get("batch")

        def commit() -> None:
            self._end_in_error(row.host, message, details)
            if together:  # one decision: what has no room for this one has none for those asked for with it
                self._end_the_others(together, message, details)

        return commit

    def _end_the_others(self, batch: str, message: str, details: str) -> None:
        """In a transaction: servers of the batch that have no host end as this one did, and their boots with them."""
        waiting = InstanceRow.select().where(
            InstanceRow.reservation_id == batch,
            InstanceRow.uuid != self.uuid,
            InstanceRow.host.is_null(),
            InstanceRow.task_state == TaskState.SCHEDULING,
            InstanceRow.deleted_at.is_null(),
        )
        for row in list(waiting):
            for operation in OperationRow.select().where(
                OperationRow.subject == row.uuid,
                OperationRow.kind == self.kind,
                OperationRow.state.in_(("ready", "running")),
            ):
                journal.action_finished(int(operation.data["action_id"]), message)
            supersede(row.uuid, self.row.uuid)
            networks.release(row.uuid)
            set_instance(row.uuid, vm_state=VmState.ERROR, task_state=None, admin_password=None)
            record_fault(row.uuid, message, None, details)

    def _wait_for_the_batch(self) -> None:
        """One boot at a time decides for those asked for together; the others then see what it did."""
        batch = self.data.get("batch")
        while batch and batch in self._deciding:
            self._deciding[batch].wait()
        if batch:
            self._deciding[batch] = Event()
            self._decides = True

    def step_ended(self) -> None:
        if self._decides:
            self._decides = False
            self._deciding.pop(self.data["batch"]).set()

    def _requests(self) -> tuple[list[Request], int, bool]:
        """This server's request first, then those of the servers asked for with it that have no host yet; how
        many of them have one; whether this one has."""
        tried = tuple(self.data.get("tried", ()))
        row = InstanceRow.known("uuid", self.uuid)
        mine, batch = Request.of(row, tried=tried), self.data.get("batch")
        if not batch or tried:
            return [mine], 0, False
        others = InstanceRow.select().where(
            InstanceRow.reservation_id == batch, InstanceRow.uuid != self.uuid, InstanceRow.deleted_at.is_null()
        )
        placed = [other for other in others if other.host is not None]
        waiting = [o for o in others if o.host is None and o.task_state == TaskState.SCHEDULING]
        return [mine, *(Request.of(other) for other in waiting)], len(placed), row.host is not None

    def _plan(self) -> tuple[Instance, list[NetworkView]]:
        def closure() -> tuple[Instance, list[NetworkView]]:
            row = InstanceRow.known("uuid", self.uuid)
            return plan(row, row.host or "", self.world.cluster_id)

        try:
            return self.world.store.read(closure)
        except REFUSED as error:
            raise Failed(f"server {self.uuid}: its record does not fit what hosts take: {error}") from error

    def _elsewhere(self, row: InstanceRow, error: MeshError) -> Done:
        """This host can't: undo there, and try another, or give up with every host's reason."""
        reasons = [*self.data.get("reasons", []), error.message[:MOST_DETAILS]]
        tried = [*self.data.get("tried", []), row.host]
        self.data |= {"reasons": reasons, "tried": tried}
        log.warning("%s of %s on %s: %s", self.kind, self.uuid, row.host, error.message)
        self.world.scheduler.failed(str(row.host))
        if len(tried) >= CONF.scheduler.max_attempts or row.forced_host:
            raise Failed("; ".join(reasons))
        # Raised first and committed: a start that is still on its way to that host is Stale from here on.
        self._raise_generation()
        self._clean(self.instance())
        self.next_round()

        def commit() -> None:
            claims.free(self.uuid)
            networks.bind(self.uuid, None)
            set_instance(self.uuid, host=None, node=None, task_state=TaskState.SCHEDULING, host_leased_until=None)

        return Done(commit=commit, next="schedule", then=lambda: self.world.scheduler.release(self.uuid))

    def _unsettled(self, row: InstanceRow, error: HostSilent) -> Later:
        message = (
            f"{error.message}; {row.host} had leave to start this server and may be running it. It settles "
            f"by itself when {row.host} returns; if it is switched off for good: nova0 fence {row.host}"
        )

        def commit() -> None:
            set_instance(self.uuid, vm_state=VmState.ERROR, task_state=None)
            record_fault(self.uuid, message, row.host)

        return Later(seconds=SETTLE_LOOK_S, commit=commit, next="settle")

    def _raise_generation(self) -> None:
        # Fenced: a boot that a delete superseded must not raise what the delete has told hosts already.
        raised = InstanceRow.update(generation=InstanceRow.generation + 1).where(InstanceRow.uuid == self.uuid)
        self.write(raised.execute)

    def _clean(self, row: InstanceRow) -> None:
        """Best effort at once; what a silent host keeps it is told to remove when it returns (`compare`)."""
        if not row.host:
            return
        try:
            self.ask(row.host, "delete", self.uuid, row.generation, patience_s=2.0)
        except HostHasEnough:
            log.warning("%s keeps what it has of %s until it is compared: it has much to answer", row.host, self.uuid)
        except MeshError as error:
            log.warning("%s keeps what it has of %s until it returns: %s", row.host, self.uuid, error.message)

    def _end_in_error(self, host: str | None, message: str, details: str) -> None:
        claims.free(self.uuid)
        if host:
            self.world.scheduler.refused(host, self.uuid)
        networks.release(self.uuid)
        set_instance(
            self.uuid,
            vm_state=VmState.ERROR,
            task_state=None,
            host=None,
            node=None,
            host_leased_until=None,
            admin_password=None,
        )
        record_fault(self.uuid, message, host, details)

    def _progress(self, value: Any) -> None:
        """Called in the loop: writes what is worth a commit, in the background."""
        if not isinstance(value, dict) or time.monotonic() - self._told_at < PROGRESS_EVERY_S:
            return
        self._told_at = time.monotonic()
        said = value.get("percent")
        if not isinstance(said, int | float) or not 0 <= said <= 100:
            return  # a host may say anything
        percent = min(int(said), 99)

        def closure() -> None:
            InstanceRow.update(progress=percent).where(
                InstanceRow.uuid == self.uuid, InstanceRow.task_state == TaskState.SPAWNING
            ).execute()

        gevent.spawn(self.world.store.write, closure)

    def _tell_networks(self) -> None:
        self.world.networks_changed(self.world.store.read(lambda: networks.heard_by(self.uuid)))
