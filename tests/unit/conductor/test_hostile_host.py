"""A host that answers as no host of ours would: it wastes its own time, not the controller's."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from nova0.controller.conductor import engine, operation
from nova0.controller.tunnel import GuestTunnel
from nova0.mesh.errors import BadArguments, Cancelled, OutcomeUnknown
from nova0.objects.errors import DriverError
from nova0.objects.host import GuestInfo
from nova0.objects.states import PowerState
from nova0.rpcapi.conductor import ConductorAPI


@pytest.mark.parametrize("error", [OutcomeUnknown("x"), Cancelled("x"), BadArguments("x", used=True)], ids=str)
def test_a_host_that_has_itself_asked_anew_without_end_is_left(cloud, monkeypatch, error):
    monkeypatch.setattr(operation, "ASK_AGAIN_MOST_S", 0.01)
    evil = cloud.host("evil", memory_mb=16384, vcpus=16)
    cloud.host("good")

    def script(uuid, *args):
        raise error

    evil.script["prepare"] = evil.script["delete"] = script
    uuid = cloud.boot()
    row = cloud.settled(uuid)
    assert (row.host, row.vm_state) == ("good", "active")
    assert len(evil.asked) <= 2 * operation.ANEW_TRIES


def test_a_host_that_never_ends_what_it_is_asked_keeps_no_boot_elsewhere_waiting(cloud, monkeypatch):
    """threat: a host that promises much room, and holds every operation that the controller has under way."""
    cloud.crash()
    for module in (engine, operation):
        monkeypatch.setattr(module, "AT_ONCE", 8)
    monkeypatch.setattr(engine, "ENOUGH_S", 0.2)
    cloud.open()
    evil, end = cloud.host("evil", memory_mb=100_000, vcpus=100), Event()
    evil.script["prepare"] = lambda uuid: end.wait(60)
    held = [cloud.boot() for _ in range(30)]
    cloud.until(lambda: len(evil.asked) == 4 and cloud.controller.world.asked["evil"] == 4)
    cloud.host("good", memory_mb=1_000_000, vcpus=100)
    for _ in range(3):
        row = cloud.settled(cloud.boot())
        assert (row.host, row.vm_state) == ("good", "active")
    assert len(evil.asked) == 4
    end.set()
    assert {cloud.settled(uuid, 30).vm_state for uuid in held} == {"active"}
    assert not cloud.controller.world.asked


def test_an_error_of_megabytes_is_cut_where_it_enters(cloud, caplog):
    """threat: a host's words fill the controller's log and store."""
    evil = cloud.host("evil", memory_mb=16384, vcpus=16)
    cloud.host("good")

    def script(uuid, *args):
        raise DriverError("no " * 2_000_000)

    evil.script["prepare"] = evil.script["delete"] = script
    uuid = cloud.boot()
    assert cloud.settled(uuid).host == "good"
    assert max(len(line) for line in caplog.messages) < 20_000
    evil.script = {"delete": script}
    cloud.ask("delete", uuid)
    cloud.until(lambda: cloud.row(uuid).deleted_at)
    assert (cloud.tmp_path / "store.sqlite").stat().st_size < 2_000_000
    wal = cloud.tmp_path / "store.sqlite-wal"
    assert not wal.exists() or wal.stat().st_size < 5_000_000


def test_a_host_tells_of_guests_without_number_in_a_few_lines(cloud, caplog):
    """threat: a line in the log for each guest that was never there, and a call for each time one is named."""
    evil = cloud.host("evil")
    cloud.host("good", memory_mb=16384, vcpus=16)
    uuid = cloud.boot()
    assert cloud.settled(uuid).host == "good"
    conductor = evil.bus.stub(ConductorAPI)
    unknown = [
        GuestInfo(uuid=f"5a0f8c9e-0000-4000-8000-{n:012}", generation=1, power_state=PowerState.RUNNING)
        for n in range(3000)
    ]
    others = [GuestInfo(uuid=uuid, generation=1, power_state=PowerState.SHUTDOWN)] * 500
    caplog.clear()
    assert {one.uuid for one in conductor.compare(unknown + others)} == {uuid}
    assert len([line for line in caplog.messages if "evil" in line]) < 50
    cloud.until(lambda: not cloud.controller.removals._hosts)
    assert len(evil.asked) < 10
    assert cloud.row(uuid).power_state == PowerState.RUNNING


def test_a_tunnel_to_which_its_host_has_nothing_to_tell_is_asked_now_and_then():
    """threat: a host that answers at once where it should wait keeps the controller asking."""
    asked = []

    class Host:
        def tunnel_open(self, *where):
            return "t"

        def tunnel_read(self, name, offset):
            asked.append(offset)
            return b""

    tunnel = GuestTunnel(SimpleNamespace(stub=lambda surface, host: Host()), "evil", "n", "10.0.0.5", 22)
    reading = gevent.spawn(tunnel.read)
    assert not reading.join(0.5) and len(asked) < 20
    reading.kill()
