"""Time, giving up and being asked twice: what a call promises beyond its answer. On both buses."""

from __future__ import annotations

import logging

import gevent
import pytest
from cluster import Cluster
from contract import until
from gevent.event import Event

from nova0.mesh import journal, wire
from nova0.mesh.bus import Status
from nova0.mesh.errors import BadArguments, Busy, CallTimeout, Cancelled, RemoteError
from nova0.mesh.local import LocalNet
from nova0.mesh.surface import MEMBER, Surface, call, cast


class WorkAPI(Surface):
    topic = "work"
    served_by = MEMBER

    @call(allow=MEMBER)
    def hold(self, label: str) -> str: ...

    @call(allow=MEMBER)
    def stop_early(self, label: str) -> str: ...

    @call(allow=MEMBER, repeatable=True)
    def look(self, label: str) -> str: ...

    @call(allow=MEMBER, repeatable=True)
    def pass_on(self, label: str) -> str: ...

    @call(allow=MEMBER, repeatable=True)
    def left(self) -> float | None: ...

    @call(allow=MEMBER, repeatable=True)
    def left_below(self, how: str) -> dict: ...

    @call(allow=MEMBER)
    def count(self, label: str) -> int: ...

    @call(allow=MEMBER, repeatable=True)
    def double(self, body: bytes, times: int = 2) -> bytes: ...

    @cast(allow=MEMBER)
    def note(self, body: bytes) -> None: ...

    @call(allow=MEMBER, repeatable=True)
    def break_(self) -> None: ...


class Work(WorkAPI):
    def __init__(self, bus):
        self.bus = bus
        self.saw: list[str] = []
        self.counts: dict[str, int] = {}
        self.go_on = Event()

    def hold(self, label):
        """Of the kind that looks: a method that is not repeatable is never ended from outside."""
        self.saw.append(f"{label} begins")
        while not self.go_on.is_set():
            if self.bus.wait_cancelled(0.05):
                assert self.bus.cancelled()
                self.saw.append(f"{label} is not wanted")
                return "left off"
        return "held"

    def stop_early(self, label):
        self.saw.append(f"{label} begins")
        self.bus.wait_cancelled(30)
        self.bus.check_cancelled()
        return "went on"

    def look(self, label):
        self.saw.append(f"{label} begins")
        try:
            self.go_on.wait(30)
        except Cancelled:
            self.saw.append(f"{label} is ended")
            raise
        return label

    def pass_on(self, label):
        return self.bus.stub(WorkAPI, "lab0").look(label)

    def left(self):
        return self.bus.time_left()

    def left_below(self, how):
        stub = self.bus.stub(WorkAPI, "lab0")
        seen = gevent.spawn(stub.left).get() if how == "spawned" else stub.left()
        return {"here": self.bus.time_left(), "below": seen, "context": stub.context}

    def count(self, label):
        self.counts[label] = self.counts.get(label, 0) + 1
        return self.counts[label]

    def double(self, body, times=2):
        return body * times

    def note(self, body):
        self.saw.append(f"{len(body)} bytes")

    def break_(self):
        raise ZeroDivisionError("as a test wants it")


class Two:
    def __init__(self, net):
        self.main = net.bus("lab0", "controller", ("controller",))
        self.host = net.bus("lab1", "host", ("host",))
        self.above, self.agent = Work(self.main), Work(self.host)
        self.main.offer(self.above)
        self.host.offer(self.agent)
        for bus in (self.main, self.host):
            bus.start()
        for bus in (self.main, self.host):
            until(lambda bus=bus: sum(m.status == Status.UP for m in bus.members()) == 2, 20)

    def work(self, **more):
        return self.main.stub(WorkAPI, "lab1", **more)

    def begun(self, label, agent=None):
        until(lambda: f"{label} begins" in (agent or self.agent).saw, 20, f"{label} is at work")


@pytest.fixture(scope="module", params=["local", "node"])
def net(request, tmp_path_factory):
    made = LocalNet() if request.param == "local" else Cluster(tmp_path_factory.mktemp("delivery"))
    two = Two(made)
    yield two
    if request.param == "local":
        for bus in made.buses.values():
            bus.stop()
    else:
        made.close()


@pytest.fixture
def two(net):
    for agent in (net.agent, net.above):
        agent.saw.clear()
        agent.counts.clear()
        agent.go_on.clear()
    yield net
    for agent in (net.agent, net.above):
        agent.go_on.set()


only_nodes = pytest.mark.parametrize("net", ["node"], indirect=True, scope="module")  # what only sockets have


@pytest.mark.design("C19")
def test_a_call_inside_a_method_has_no_more_time_than_the_method(two):
    seen = two.work(timeout_s=9).left_below("at once")
    assert seen["below"] <= seen["here"] + 0.1 and seen["below"] <= 9
    assert two.work().left_below("at once")["below"] <= 60


@pytest.mark.design("C20")
def test_what_a_method_spawns_and_what_nobody_called_is_not_bound(two):
    assert two.work(timeout_s=9).left_below("spawned")["below"] > 9
    assert two.main.time_left() is None


@pytest.mark.design("C21")
@pytest.mark.covers("S069")
def test_a_call_inside_a_method_carries_the_context_of_the_request(two):
    seen = two.work(context={"request_id": "req-user", "trace": "t1"}).left_below("at once")
    assert seen["context"] == {"request_id": "req-user", "trace": "t1"}


@pytest.mark.design("C22")
@pytest.mark.parametrize("way", ["killed", "time-out of its own", "time-out around it"])
def test_giving_up_reaches_the_worker(two, way):
    if way == "killed":
        asked = gevent.spawn(two.work().hold, way)
        two.begun(way)
        asked.kill()
    else:
        while f"{way} begins" not in two.agent.saw:  # a slow machine may start nothing within a second
            with pytest.raises(CallTimeout), gevent.Timeout(1.0 if "around" in way else None, CallTimeout("around")):
                two.work(timeout_s=60.0 if "around" in way else 1.0).hold(way)
    until(lambda: f"{way} is not wanted" in two.agent.saw, 20)


@pytest.mark.design("C23")
def test_a_method_that_may_run_twice_is_ended_where_it_waits(two):
    asked = gevent.spawn(two.work().look, "x")
    two.begun("x")
    asked.kill()
    until(lambda: "x is ended" in two.agent.saw, 20)


@pytest.mark.design("C24")
def test_giving_up_reaches_the_worker_behind_the_worker(two):
    asked = gevent.spawn(two.work().pass_on, "far")
    two.begun("far", two.above)
    asked.kill()
    until(lambda: "far is ended" in two.above.saw, 20)


@pytest.mark.design("C25")
def test_who_named_a_request_may_stop_waiting_for_it_and_ask_again(two):
    first, second = (gevent.spawn(two.work(request_id="own-1").hold, "named") for _ in range(2))
    two.begun("named")
    first.kill()
    with pytest.raises(CallTimeout):
        two.work(request_id="own-1", timeout_s=0.3).hold("named")
    second.kill()
    third = gevent.spawn(two.work(request_id="own-1").hold, "named")
    gevent.sleep(0.2)
    two.agent.go_on.set()
    assert third.get(timeout=20) == "held"
    assert two.agent.saw == ["named begins"]


@pytest.mark.design("C26")
def test_a_named_request_is_taken_back_by_its_name(two):
    asked = [gevent.spawn(two.work(request_id="own-2").stop_early, "y") for _ in range(2)]
    two.begun("y")
    two.main.cancel(["own-2", "never asked"])
    for waiting in asked:
        with pytest.raises(Cancelled):
            waiting.get(timeout=20)
    with pytest.raises(Cancelled, match="waits for it no more"):
        two.work(request_id="own-2").stop_early("y")  # what became of it
    assert two.agent.saw == ["y begins"]


@pytest.mark.design("C27")
def test_an_answer_that_comes_late_is_nobody_s(two):
    late = gevent.spawn(two.work().hold, "late")
    two.begun("late")
    later = gevent.spawn(two.work().look, "later")
    two.begun("later")
    late.kill()  # it answers now, and nobody waits
    until(lambda: "late is not wanted" in two.agent.saw, 20)
    gevent.sleep(0.1)
    assert not later.ready()
    two.agent.go_on.set()
    assert later.get(timeout=20) == "later"
    assert two.work().count("after") == 1


@pytest.mark.design("C28")
def test_two_callers_may_choose_the_same_id(two):
    assert two.work(request_id="same").count("mine") == 1
    assert two.host.stub(WorkAPI, "lab1", request_id="same").count("theirs") == 1
    assert two.work(request_id="same").count("mine") == 1
    mine = gevent.spawn(two.work(request_id="at once").look, "mine")
    two.begun("mine")
    theirs = gevent.spawn(two.host.stub(WorkAPI, "lab1", request_id="at once").look, "theirs")
    two.begun("theirs")
    two.agent.go_on.set()
    assert [mine.get(timeout=20), theirs.get(timeout=20)] == ["mine", "theirs"]
    two.host.acknowledge(["same"])
    gevent.sleep(0.3)
    assert two.work(request_id="same").count("mine") == 1


@pytest.mark.design("C37")
def test_a_caller_that_restarted_asks_again_under_its_id(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        two = Two(cluster)
        assert two.work(request_id="step-1").count("x") == 1
        two.main.stop()
        again = type(two.main)(two.main.settings)
        cluster.nodes.append(again)
        again.start()
        until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in again.members()), 20)
        assert again.stub(WorkAPI, "lab1", request_id="step-1").count("x") == 1
        assert again.stub(WorkAPI, "lab1").count("x") == 2, "ids of its own are new after a restart"
    finally:
        cluster.close()


@only_nodes
@pytest.mark.design("T7")
def test_a_call_to_a_topic_moves_on_when_it_was_not_started_and_only_then(two, monkeypatch):
    """Both nodes have the topic; the host asks, and half of its calls go to the controller first."""
    with monkeypatch.context() as busy:
        busy.setattr(two.main.settings, "calls_running", 0)
        refused = two.main.counts.refused_calls
        before = refused.get("Busy", 0)
        until(lambda: two.host.stub(WorkAPI).count("moved") and refused.get("Busy", 0) > before, 20, "Busy is said")
        assert "moved" not in two.above.counts
    with monkeypatch.context() as mute:
        mute.setattr(two.main.answering, "_put", lambda message, route: None)
        for number in range(100):
            label = f"silent {number}"
            try:
                two.host.stub(WorkAPI, timeout_s=1.0).count(label)
            except CallTimeout:
                assert label not in two.agent.counts
                return
    raise AssertionError("the controller was never chosen")


@only_nodes
@pytest.mark.design("B5")
@pytest.mark.parametrize("bad", ["~mine", "x" * 256])
def test_an_id_is_short_and_none_of_the_mesh_s(two, bad):
    with pytest.raises(BadArguments, match="request id"):
        two.work(request_id=bad).count("x")
    assert two.agent.counts == {}


@pytest.mark.design("B6")
def test_what_no_frame_can_carry_is_said_and_cuts_no_link(two):
    with pytest.raises(BadArguments, match="larger things are streams"):
        two.work().double(b"x" * (9 << 20))
    with pytest.raises(BadArguments, match="larger things are streams"):
        two.work().double(b"x" * (3 << 20), 3)
    assert len(two.work().double(b"x" * (3 << 20))) == 6 << 20
    with pytest.raises(BadArguments, match="larger things are streams"):
        two.work().note(b"x" * (1 << 20))

    def heard():
        two.work().note(b"x" * 900_000)
        return "900000 bytes" in two.agent.saw

    until(heard, 20)


@only_nodes
@pytest.mark.design("C38")
def test_what_may_run_twice_needs_no_room_in_the_journal(two, monkeypatch):
    monkeypatch.setattr(journal, "MOST", 0)
    with pytest.raises(Busy):
        two.work().count("x")
    assert two.work().double(b"x") == b"xx" and "count" not in two.agent.counts


@only_nodes
@pytest.mark.design("B7")
def test_what_is_too_large_for_one_frame_together_leaves_in_several(two):
    link = two.main.roster.peers["lab1/host"].link
    before = link._driven
    asked = [gevent.spawn(two.work().double, b"x" * (1 << 20), 1) for _ in range(24)]
    assert all(len(g.get(timeout=60)) == 1 << 20 for g in asked)
    assert link._driven is before, "the connection was not cut"


@only_nodes
@pytest.mark.design("C11")
def test_the_mesh_acknowledges_its_own_ids(two):
    for n in range(20):
        two.work().count(f"label {n}")
    until(lambda: not [r for r in two.host.journal._records.values() if r.intent.request_id.startswith("~")], 20)


@only_nodes
@pytest.mark.design("C29")
def test_a_lost_acknowledgement_is_made_good_by_the_next(two):
    records = two.host.journal._records
    two.work().count("one")
    two.main.calling._acknowledged.clear()  # as if it had been on its way when the link broke
    lost = [r for r in records.values() if r.intent.request_id.startswith("~")]
    assert len(lost) == 1 and not two.host.journal._done_with(lost[0])
    two.work().count("two")
    until(lambda: two.host.journal._done_with(lost[0]), 20)
    with pytest.raises(Cancelled):  # nor is a late copy of it run
        two.host.journal._records.pop(lost[0].key)
        two.host.journal.begin(*lost[0].key, lost[0].intent.hash, "work.count")


@pytest.mark.design("C13", "C30")
def test_no_traceback_travels(two, caplog, monkeypatch):
    frames = []
    read = wire.read_frame
    monkeypatch.setattr(wire, "read_frame", lambda body: frames.append(bytes(body)) or read(body))
    with caplog.at_level(logging.DEBUG), pytest.raises(RemoteError) as caught:
        two.work().break_()
    assert "Traceback" not in str(caught.value) + repr(caught.value.data)
    assert caught.value.data == {"remote_kind": "ZeroDivisionError"} and caught.value.__cause__ is None
    assert not any(b"test_delivery.py" in frame for frame in frames)
    logged = [r for r in caplog.records if r.exc_info and r.exc_info[0] is ZeroDivisionError]
    assert [r.levelname for r in logged] == ["DEBUG"], "the node where it happened keeps it, for who asks"
