"""Both wings at once: the real conductor and a real host, on one bus."""

from __future__ import annotations

import os

import msgspec
import pytest
from nova0.agents.images import ImagesAgent

from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.image.books import ref, register_file
from nova0.host.compute.machine import Machine, Settings
from nova0.mesh.errors import NotAllowed, Unreachable
from nova0.objects.errors import ImageUnusable
from nova0.objects.states import PowerState, VmState
from nova0.rpcapi.conductor import ConductorAPI
from nova0.rpcapi.images import ImagesAPI
from tests.unit.conductor.conftest import Cloud


class Wings(Cloud):
    """A cloud whose hosts are machines with the fake driver."""

    def __init__(self, tmp_path) -> None:
        self.machines: list[Machine] = []
        super().__init__(tmp_path)

    def machine(self, name: str) -> Machine:
        bus = self.net.bus(name, "host", ("host",))
        made = Machine(bus, Settings(cluster_id="c1", state_dir=self.tmp_path / name, compute_driver="fake"))
        self.machines.append(made)
        made.open()
        for agent in made.agents():
            bus.offer(agent)
        bus.start()
        assert made.adoption.adopted.wait(30)
        return made

    def kill(self, machine: Machine) -> None:
        self.net.kill(machine.bus)
        machine.driver.listener.heard = lambda event: None
        machine.close()
        self.machines.remove(machine)

    def close(self) -> None:
        for machine in list(self.machines):
            self.kill(machine)
        super().close()


@pytest.fixture
def cloud(tmp_path):
    made = Wings(tmp_path)
    yield made
    made.close()


@pytest.mark.covers("S002", "S081")
def test_a_server_lives_and_ends(cloud):
    machine = cloud.machine("lab1")
    uuid = cloud.boot()
    row = cloud.settled(uuid)
    assert (row.vm_state, row.host, row.power_state) == (VmState.ACTIVE, "lab1", PowerState.RUNNING)
    for kind, state, power in (
        ("stop", VmState.STOPPED, PowerState.SHUTDOWN),
        ("start", VmState.ACTIVE, PowerState.RUNNING),
        ("pause", VmState.PAUSED, PowerState.PAUSED),
        ("unpause", VmState.ACTIVE, PowerState.RUNNING),
    ):
        cloud.ask(kind, uuid, {"patience_s": 0} if kind == "stop" else None)
        cloud.until(lambda state=state: cloud.row(uuid).vm_state == state and cloud.row(uuid).task_state is None)
        assert machine.driver.find(uuid).power_state == power
    cloud.ask("delete", uuid)
    cloud.until(lambda: cloud.row(uuid).deleted_at)
    assert {kind: found for kind, found in machine.guests.inventory().items() if found} == {}


@pytest.mark.covers("S215", "S290")
def test_a_guest_that_dies_by_itself_is_stopped_in_the_store(cloud):
    machine = cloud.machine("lab1")
    uuid = cloud.boot()
    cloud.settled(uuid)
    machine.driver.crash(uuid)
    cloud.until(lambda: cloud.row(uuid).vm_state == VmState.STOPPED)


@pytest.mark.covers("S045")
def test_a_host_killed_and_started_again_agrees_with_the_store(cloud):
    machine = cloud.machine("lab1")
    kept, moved = cloud.boot(), cloud.boot()
    cloud.settled(kept), cloud.settled(moved)
    cloud.kill(machine)
    cloud.store.write(InstanceRow.update(host="lab2").where(InstanceRow.uuid == moved).execute)
    machine = cloud.machine("lab1")
    assert [found.uuid for found in machine.driver.found()] == [kept]
    assert cloud.row(kept).vm_state == VmState.ACTIVE
    assert machine.driver.find(kept).power_state == PowerState.RUNNING


@pytest.mark.covers("S273", "S276")
def test_a_server_its_host_cannot_start_ends_in_error_and_leaves_nothing(cloud):
    bad = cloud.machine("lab1")
    uuid = cloud.boot(metadata={"nova0:fail": "start"})
    row = cloud.settled(uuid)
    assert row.vm_state == VmState.ERROR
    cloud.until(lambda: not any(bad.guests.inventory().values()))


@pytest.mark.covers("S272")
def test_an_image_comes_from_a_host_that_has_it_and_only_for_who_may_have_it(cloud, tmp_path, option):
    """The second host's bytes come from the first: the controller only says who, proves them, and gives leave."""
    option("fetch_images", True, group="fake")
    agent = ImagesAgent(cloud.controller)
    cloud.bus.offer(agent)
    body = os.urandom(3_000_000)
    (tmp_path / "body").write_bytes(body)
    image_id = register_file(cloud.store, tmp_path, name="tiny", path=tmp_path / "body", disk_format="raw")
    image = msgspec.to_builtins(cloud.store.read(lambda: ref(image_id)))
    machines = {name: cloud.machine(name) for name in ("lab1", "lab2")}
    for name in ("lab1", "lab2"):
        machines[name].bus.stub(ConductorAPI).report(machines[name].resources.state())
    first = cloud.settled(cloud.boot(image=image))
    assert first.vm_state == VmState.ACTIVE, first.fault
    other = machines["lab2" if first.host == "lab1" else "lab1"]
    with pytest.raises(NotAllowed):
        other.bus.stub(ImagesAPI).ticket(image_id, first.host)
    with pytest.raises(ImageUnusable, match="asks for its own"):  # it would keep the controller waiting for itself
        machines[first.host].bus.stub(ImagesAPI).ticket(image_id, first.host)

    given = []
    plain = machines[first.host].images.offer
    machines[first.host].images.offer = lambda *asked: given.append(asked) or plain(*asked)

    def away(*args, **more):
        raise Unreachable("ctl: its own copy is not to be had")

    agent.files.offer = away
    second = cloud.settled(cloud.boot(image=image), 30)
    assert (second.vm_state, second.host) == (VmState.ACTIVE, other.host), second.fault
    assert (other.images.directory / image_id).read_bytes() == body
    assert {(asked[0], asked[2]) for asked in given} == {(image_id, other.bus.node)}
