"""A controller on an in-process bus, and hosts that do as they are told, or fail as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import msgspec
import pytest
from gevent.lock import RLock
from nova0.agents.conductor import ConductorAgent

from nova0.controller.assembly import Controller
from nova0.controller.conductor import boot, delete, engine, journal
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import new_id
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.store import Store
from nova0.mesh.errors import CallTimeout, Unreachable
from nova0.mesh.local import LocalBus, LocalNet
from nova0.objects.errors import InstanceNotFound, LeaveRefused
from nova0.objects.flavor import Flavor
from nova0.objects.host import GuestInfo, HostState
from nova0.objects.instance import Instance
from nova0.objects.network import NetworkView
from nova0.objects.states import PowerState, TaskState, VmState
from nova0.rpcapi.compute import ComputeAPI
from nova0.rpcapi.conductor import ConductorAPI

TINY = Flavor(flavor_id="1", name="m1.tiny", vcpus=1, memory_mb=512, root_gb=1)


class ScriptedHost(ComputeAPI):
    """A compute agent without a machine: remembers what was asked; `script[method]` may raise or block.
    One call at a time for each server, as a real host works."""

    def __init__(self, net: LocalNet, name: str, memory_mb: int = 8192, vcpus: int = 4) -> None:
        self.name, self.memory_mb, self.vcpus = name, memory_mb, vcpus
        self.bus = net.bus(name, "host", ("host",))
        self.guests_here: dict[str, PowerState] = {}
        self.asked: list[tuple[str, str]] = []
        self.script: dict[str, Callable[..., Any]] = {}
        self.locks: dict[str, RLock] = {}
        self.bus.offer(self)
        self.bus.start()

    def join(self) -> ScriptedHost:
        self.bus.stub(ConductorAPI).report(self.host_state())
        return self

    def _do(self, method: str, uuid: str, *args: Any) -> None:
        self.asked.append((method, uuid))
        if method in self.script:
            self.script[method](uuid, *args)

    def _info(self, uuid: str) -> GuestInfo:
        if uuid not in self.guests_here:
            raise InstanceNotFound(f"{self.name}: no guest {uuid}")
        return GuestInfo(uuid=uuid, generation=1, power_state=self.guests_here[uuid])

    def _alone(self, uuid: str) -> RLock:
        return self.locks.setdefault(uuid, RLock())

    def prepare(self, instance: Instance, networks: list[NetworkView]) -> GuestInfo:
        with self._alone(instance.uuid):
            self._do("prepare", instance.uuid)
            self.guests_here.setdefault(instance.uuid, PowerState.SHUTDOWN)
            return self._info(instance.uuid)

    def start(self, uuid: str, generation: int) -> GuestInfo:
        with self._alone(uuid):
            return self._start(uuid, generation)

    def _start(self, uuid: str, generation: int) -> GuestInfo:
        self._do("start", uuid, generation)
        if self._info(uuid).power_state == PowerState.RUNNING:
            return self._info(uuid)
        try:
            self.bus.stub(ConductorAPI).leave(uuid, generation)
        except (CallTimeout, Unreachable) as error:
            raise LeaveRefused(f"{self.name}: no leave: {error}", unanswered=True) from error
        self._do("leave_granted", uuid, generation)
        self.guests_here[uuid] = PowerState.RUNNING
        return self._info(uuid)

    def stop(self, uuid: str, generation: int, patience_s: float) -> GuestInfo:
        self._do("stop", uuid)
        self._info(uuid)
        self.guests_here[uuid] = PowerState.SHUTDOWN
        return self._info(uuid)

    def reboot(self, uuid: str, generation: int, hard: bool) -> GuestInfo:
        self._do("reboot", uuid)
        self.guests_here[uuid] = PowerState.RUNNING
        return self._info(uuid)

    def pause(self, uuid: str, generation: int) -> GuestInfo:
        self._do("pause", uuid)
        self.guests_here[uuid] = PowerState.PAUSED
        return self._info(uuid)

    def unpause(self, uuid: str, generation: int) -> GuestInfo:
        self._do("unpause", uuid)
        self.guests_here[uuid] = PowerState.RUNNING
        return self._info(uuid)

    def delete(self, uuid: str, generation: int) -> None:
        with self._alone(uuid):
            self._do("delete", uuid, generation)
            self.guests_here.pop(uuid, None)

    def inspect(self, uuid: str) -> GuestInfo | None:
        return self._info(uuid) if uuid in self.guests_here else None

    def guests(self) -> list[GuestInfo]:
        return [self._info(uuid) for uuid in self.guests_here]

    def inventory(self) -> dict[str, list[str]]:
        return {"guests": list(self.guests_here)}

    def host_state(self) -> HostState:
        return HostState(
            host=self.name,
            hypervisor_hostname=self.name,
            hypervisor_type="fake",
            hypervisor_version=1,
            virt_type="fake",
            arch="x86_64",
            vcpus=self.vcpus,
            memory_mb=self.memory_mb,
            disk_gb=100,
        )

    def console_log(self, uuid: str, most_bytes: int) -> bytes:
        return b"login:"

    def describe_anew(self, instance: Instance) -> None:
        self._do("describe_anew", instance.uuid)


class Cloud:
    """A controller under test, with what a test asks of it most."""

    def __init__(self, tmp_path: Any) -> None:
        self.tmp_path = tmp_path
        self.net = LocalNet(timers=False)
        self.store = Store(tmp_path / "store.sqlite")
        self.runs = 0
        self.open()

    def open(self) -> None:
        """A controller process starts."""
        self.runs += 1
        self.bus: LocalBus = self.net.bus("ctl", "controller", ("controller",))
        self.controller = Controller(
            self.store,
            self.bus,
            state_dir=self.tmp_path,
            cluster_id="c1",
            public_url="http://127.0.0.1:0",
            owner=f"ctl#{self.runs}",
        )
        self.bus.offer(ConductorAgent(self.controller))
        self.bus.start()
        self.controller.start()

    def crash(self) -> None:
        """It ends as kill -9 would end it: nothing is said, nothing is finished."""
        self.controller.engine._looking.kill()
        self.controller.engine._pool.kill()
        self.controller.networks.stop()
        self.net.kill(self.bus)

    def close(self) -> None:
        self.crash()
        self.store.close()

    def host(self, name: str, **size: int) -> ScriptedHost:
        return ScriptedHost(self.net, name, **size).join()

    def context(self) -> RequestContext:
        return RequestContext(request_id=f"req-{new_id()}", user_id="u", project_id="p", roles=frozenset({"member"}))

    def boot(self, flavor: Flavor = TINY, **columns: Any) -> str:
        """What POST /servers writes; returns the uuid."""

        def closure() -> str:
            row = InstanceRow.create(
                name="s",
                hostname="s",
                project_id="p",
                user_id="u",
                vm_state=VmState.BUILDING,
                task_state=TaskState.SCHEDULING,
                flavor=msgspec.to_builtins(flavor),
                reservation_id="r-1",
                requested_networks="none",
                **columns,
            )
            journal.begin("boot", row.uuid, self.context())
            return row.uuid

        return self.store.write(closure)

    def ask(self, kind: str, uuid: str, data: dict[str, Any] | None = None) -> None:
        self.store.write(lambda: journal.begin(kind, uuid, self.context(), data) and None)

    def row(self, uuid: str) -> InstanceRow:
        return self.store.read(lambda: InstanceRow.get(InstanceRow.uuid == uuid))

    def until(self, true: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Wait until `true()` is truthy; looks after every commit, so no fixed pause decides."""
        timeout_s *= 3  # a busy machine is no fault
        with gevent.Timeout(timeout_s, AssertionError(f"not within {timeout_s} s")):
            while not (value := true()):
                gevent.sleep(0.005)
            return value

    def settled(self, uuid: str, timeout_s: float = 10.0) -> InstanceRow:
        """The row once nothing is being done to it."""
        return self.until(lambda: row if (row := self.row(uuid)).task_state is None else None, timeout_s)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((boot, "SETTLE_LOOK_S"), (delete, "LOOK_S"), (engine, "LOOK_S")):
        monkeypatch.setattr(module, name, 0.2)


@pytest.fixture
def cloud(tmp_path: Any) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    yield made
    made.close()
