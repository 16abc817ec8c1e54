"""Boot: choose a host and claim it, addresses, prepare on the host, start with its leave, finish.

`prepare` starts nothing, so until leave is granted the server may move to another host at once; once
granted, only its host can say what became of it (`settle`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import gevent

from nova0.config import CONF
from nova0.controller.conductor import claims
from nova0.controller.conductor.instance_view import plan
from nova0.controller.conductor.operation import (
    Commit,
    Done,
    Failed,
    HostSilent,
    Later,
    Operation,
    StepAgain,
    finish_action,
    record_fault,
    set_instance,
)
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import HostRow, InstanceRow
from nova0.controller.network import books as networks
from nova0.controller.scheduler.request import Request
from nova0.mesh.errors import MeshError
from nova0.objects.errors import NoValidHost
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkView
from nova0.objects.states import PowerState, TaskState, VmState

log = logging.getLogger(__name__)

SETTLE_LOOK_S = 2.0  # how often a silent host that holds a leave is looked for
PROGRESS_EVERY_S = 0.5  # between two writes of progress


@dataclass
class Boot(Operation):
    kind = "boot"
    steps = ("schedule", "address", "prepare", "start", "finish")
    _told_at: float = field(default_factory=time.monotonic)

    def schedule(self) -> Done | Later:
        """Choose a host and claim it, in one transaction."""
        request = self.world.store.read(self._request)
        try:
            choices = self.world.scheduler.select(request)
        except NoValidHost:
            if self.world.scheduler.still_gathering():
                return Later(seconds=0.5)  # hosts have not been heard since our own start: wait for them
            raise
        chosen = choices[0]
        limits = self.world.scheduler.limits(chosen)
        zone = self.world.scheduler.zone(chosen)

        def commit() -> None:
            try:
                claims.claim(self.uuid, chosen, request.takes, limits)
                claims.hold_to_group(request, chosen)
            except claims.ClaimLost as lost:
                self.world.scheduler.refused(chosen, self.uuid)
                raise StepAgain from lost
            set_instance(
                self.uuid,
                host=chosen,
                node=chosen,
                availability_zone=zone,
                task_state=TaskState.NETWORKING,
                host_leased_until=None,
            )

        self.world.scheduler.consume(chosen, self.uuid, request.takes)
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
        return lambda: self._end_in_error(row.host, message, details)

    def _request(self) -> Request:
        return Request.of(InstanceRow.known("uuid", self.uuid), tried=tuple(self.data.get("tried", ())))

    def _plan(self) -> tuple[Instance, list[NetworkView]]:
        def closure() -> tuple[Instance, list[NetworkView]]:
            row = InstanceRow.known("uuid", self.uuid)
            return plan(row, row.host or "", self.world.cluster_id)

        return self.world.store.read(closure)

    def _elsewhere(self, row: InstanceRow, error: MeshError) -> Done:
        """This host can't: undo there, and try another, or give up with every host's reason."""
        reasons = [*self.data.get("reasons", []), error.message]
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
        except MeshError as error:
            log.warning("%s keeps what it has of %s until it returns: %s", row.host, self.uuid, error.message)

    def _end_in_error(self, host: str | None, message: str, details: str) -> None:
        claims.free(self.uuid)
        if host:
            self.world.scheduler.refused(host, self.uuid)
        networks.release(self.uuid)
        set_instance(self.uuid, vm_state=VmState.ERROR, task_state=None, host=None, node=None, host_leased_until=None)
        record_fault(self.uuid, message, host, details)

    def _progress(self, value: Any) -> None:
        """Called in the loop: writes what is worth a commit, in the background."""
        if not isinstance(value, dict) or time.monotonic() - self._told_at < PROGRESS_EVERY_S:
            return
        self._told_at = time.monotonic()
        percent = min(int(value.get("percent") or 0), 99)

        def closure() -> None:
            InstanceRow.update(progress=percent).where(
                InstanceRow.uuid == self.uuid, InstanceRow.task_state == TaskState.SPAWNING
            ).execute()

        gevent.spawn(self.world.store.write, closure)

    def _tell_networks(self) -> None:
        self.world.networks_changed(self.world.store.read(lambda: networks.heard_by(self.uuid)))
