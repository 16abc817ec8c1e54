"""What every bus promises; run for the one without sockets and for the node over ZeroMQ."""

from __future__ import annotations

import datetime

import gevent
import gevent.event
import pytest
from cluster import Cluster
from contract import Box, OutOfPaint, PaintAgent, PaintAPI, until

from nova0.mesh.bus import Status
from nova0.mesh.errors import BadArguments, CallTimeout, NotAllowed, RemoteError, Unreachable
from nova0.mesh.local import LocalNet
from nova0.mesh.surface import MEMBER


class LocalKind:
    def __init__(self, tmp_path):
        self.net = LocalNet()
        self.bus = self.net.bus

    def close(self):
        for bus in self.net.buses.values():
            bus.stop()


@pytest.fixture(params=[LocalKind, Cluster], ids=["local", "node"])
def net(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


class Three:
    def __init__(self, net):
        self.controller = net.bus("lab0", "controller", ("controller",))
        self.one = net.bus("lab1", "host", ("host",))
        self.two = net.bus("lab2", "host", ("host",))
        self.agents = {}
        for bus in (self.one, self.two):
            self.agents[bus.host] = PaintAgent(bus)
            bus.offer(self.agents[bus.host])
        for bus in (self.controller, self.one, self.two):
            bus.start()
        for bus in (self.controller, self.one, self.two):
            until(lambda bus=bus: sum(m.status == Status.UP for m in bus.members()) == 3, 10, f"{bus.node} sees three")
        self.warm()

    def warm(self):
        """Casts are heard from the moment a subscriber has connected: wait for it."""

        def heard():
            self.paint().colour("warm 0")
            self.one.stub(PaintAPI).colour("warm 1")
            return all({"warm 0", "warm 1"} <= set(a.colours) for a in self.agents.values())

        until(heard, 10, "casts flow")
        gevent.sleep(0.1)
        for agent in self.agents.values():
            agent.colours.clear()
            agent.painted.clear()

    def paint(self, host=None, **more):
        return self.controller.stub(PaintAPI, host, **more)


@pytest.fixture
def three(net):
    return Three(net)


@pytest.mark.covers("S070")
def test_a_call_with_defaults_and_keywords_is_answered(three):
    assert three.paint("lab1").add(1) == 11
    assert three.paint("lab1").add(1, b=2) == 3
    assert three.paint("lab1").add(b=2, a=5) == 7


def test_typed_values_come_back_as_their_own_class(three):
    box = Box("crate", 7, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    assert three.paint("lab1").echo(box) == box


@pytest.mark.covers("S192", "S193", "S196", "S198", "S201")
def test_a_topic_reaches_any_member_and_topic_at_host_only_that_one(three):
    assert three.paint("lab2").where() == "lab2"
    assert three.paint("lab1").where() == "lab1"
    assert three.paint().where() in ("lab1", "lab2")


@pytest.mark.covers("S208", "S201")
@pytest.mark.design("T1", "T3")
def test_work_for_a_topic_goes_to_the_least_loaded_and_survives_one_worker(three):
    first = gevent.spawn(three.paint("lab1").slow, 1.0)
    three.agents["lab1"].started.wait(30)
    until(lambda: any(m.host == "lab1" and m.load for m in three.controller.members()), 3, "load of lab1 seen")
    assert {three.paint().where() for _ in range(4)} == {"lab2"}
    assert first.get(timeout=30) == "done"
    three.one.stop()
    until(lambda: all(m.status != Status.UP for m in three.controller.members() if m.host == "lab1"), 5)
    assert {three.paint().where() for _ in range(4)} == {"lab2"}


@pytest.mark.covers("S201")
@pytest.mark.design("T2")
def test_equals_share_the_work(three):
    seen = [three.paint().where() for _ in range(60)]
    assert min(seen.count("lab1"), seen.count("lab2")) >= 10


@pytest.mark.covers("S194", "S197", "S199")
@pytest.mark.design("C1")
def test_many_calls_at_once_each_get_their_own_answer(three):
    calls = [gevent.spawn(three.paint(("lab1", "lab2")[n % 2]).add, n, n) for n in range(200)]
    assert [g.get(timeout=30) for g in calls] == [2 * n for n in range(200)]


@pytest.mark.covers("S195", "S200", "S203", "S070")
@pytest.mark.design("K1")
def test_a_cast_reaches_every_listener_of_the_topic(three):
    assert three.paint().colour("blue") is None
    for agent in three.agents.values():
        assert agent.painted.wait(30) and agent.colours == ["blue"]


@pytest.mark.covers("S193")
@pytest.mark.design("K2")
def test_a_cast_to_topic_at_host_is_heard_only_there(three):
    three.paint("lab1").colour("green")
    assert three.agents["lab1"].painted.wait(30)
    three.paint().colour("after")
    until(lambda: "after" in three.agents["lab2"].colours)
    assert three.agents["lab2"].colours == ["after"]


def test_a_host_may_cast_to_other_hosts_where_the_method_allows_it(three):
    three.one.stub(PaintAPI).colour("from lab1")
    until(lambda: all("from lab1" in a.colours for a in three.agents.values()))


@pytest.mark.covers("S211")
def test_roles_decide_who_may_call(three):
    with pytest.raises(NotAllowed, match="needs role controller"):
        three.one.stub(PaintAPI, "lab2").count("x")
    assert three.agents["lab2"].counts == {}
    assert three.one.stub(PaintAPI, "lab2").add(1, 1) == 2


def test_self_means_the_same_machine(three):
    with pytest.raises(NotAllowed):
        three.paint("lab1").near()
    assert three.one.stub(PaintAPI, "lab1").near() == three.one.node


@pytest.mark.covers("S204", "S069")
def test_the_callee_knows_who_calls_and_for_which_request(three):
    seen = three.paint("lab1", request_id="req-9", context={"request_id": "req-user", "trace": "t1"}).who()
    assert seen["node"] == three.controller.node and seen["host"] == "lab0"
    assert "controller" in seen["roles"] and "member" in seen["roles"]
    assert seen["request_id"] == "req-9" and seen["context"]["trace"] == "t1"


def test_there_is_no_caller_outside_of_a_call(three):
    with pytest.raises(LookupError):
        three.controller.caller()


@pytest.mark.design("C13")
def test_errors_cross_with_their_class_or_their_name(three):
    with pytest.raises(OutOfPaint) as caught:
        three.paint("lab1").fail("own")
    assert caught.value.data == {"colour": "red", "litres": 0.5}
    with pytest.raises(RemoteError) as foreign:
        three.paint("lab1").fail("why not")
    assert foreign.value.data["remote_kind"] == "ZeroDivisionError"


@pytest.mark.parametrize("args", [("not a number",), (None,)])
def test_arguments_of_the_wrong_type_name_the_field(three, args):
    with pytest.raises(BadArguments) as caught:
        three.paint("lab1").add(*args)
    assert caught.value.data["field"] == "a"


def test_a_stub_refuses_what_the_signature_does_not_have(three):
    with pytest.raises(TypeError):
        three.paint("lab1").add(1, 2, 3)
    with pytest.raises(TypeError):
        three.paint("lab1").add(c=1)
    with pytest.raises(TypeError):
        three.paint("lab1").add()
    with pytest.raises(AttributeError):
        three.paint("lab1").erase()


@pytest.mark.covers("S202")
@pytest.mark.design("C1", "C4")
def test_a_call_ends_with_a_time_out_and_leaves_nothing_behind(three):
    with pytest.raises(CallTimeout, match="lab1"):
        three.paint("lab1", timeout_s=0.2).slow(1)
    assert three.paint("lab1").add(1, 1) == 2


@pytest.mark.covers("S202")
@pytest.mark.design("C2")
def test_nobody_there_is_said_at_once(three):
    with pytest.raises(Unreachable), gevent.Timeout(10, AssertionError("must not wait")):
        three.paint("lab9").add(1)


@pytest.mark.design("C4", "C6", "C7")
def test_the_same_request_id_runs_once_and_answers_twice(three):
    assert three.paint("lab1", request_id="req-1").count("x") == 1
    assert three.paint("lab1", request_id="req-1").count("x") == 1
    assert three.paint("lab1").count("x") == 2
    with pytest.raises(BadArguments, match="other arguments"):
        three.paint("lab1", request_id="req-1").count("y")


@pytest.mark.covers("S205")
@pytest.mark.design("C5")
def test_asking_again_while_it_runs_joins_the_same_execution(three):
    both = [gevent.spawn(three.paint("lab1", request_id="req-2").slow, 0.4) for _ in range(2)]
    assert [g.get(timeout=30) for g in both] == ["done", "done"]
    assert three.paint("lab1", request_id="req-2").slow(0.4) == "done"


@pytest.mark.design("C11")
def test_an_acknowledged_answer_is_forgotten(three):
    assert three.paint("lab1", request_id="req-3").count("z") == 1
    three.controller.acknowledge(["req-3"])
    until(lambda: three.paint("lab1", request_id="req-3").count("z") == 2, what="the record is dropped")


@pytest.mark.design("C17")
def test_progress_reaches_the_caller_before_the_answer(three):
    seen = []
    assert three.paint("lab1", on_progress=seen.append).slow(0.4) == "done"
    assert seen == [{"step": n, "of": 4} for n in (1, 2, 3, 4)]


def test_members_and_their_changes_are_seen(three, net):
    seen = []
    three.controller.on_member(lambda member, old: seen.append((member.node, old, member.status)))
    three.two.stop()
    until(lambda: (three.two.node, Status.UP, Status.LEFT) in seen, 3, "goodbye is heard at once")
    left = {m.host: m.status for m in three.controller.members()}
    assert left["lab2"] == Status.LEFT and left["lab1"] == Status.UP
    with pytest.raises(Unreachable):
        three.paint("lab2").add(1)


@pytest.mark.covers("S208")
def test_an_agent_offered_late_is_found(three, net):
    class LateAPI(PaintAPI):
        topic = "late"
        served_by = MEMBER

    class Late(PaintAgent, LateAPI):
        topic = "late"
        served_by = MEMBER

    three.two.offer(Late(three.two))
    until(lambda: any("late" in m.topics for m in three.controller.members()), 5, "topic is announced")
    assert three.controller.stub(LateAPI).where() == "lab2"


@pytest.mark.design("T4")
def test_asked_again_a_topic_call_goes_to_the_member_that_may_have_begun_it(three):
    """That one is the busier of the two, so a free choice would fall on the other."""
    ran, goes_on = [], gevent.event.Event()

    def count(label):
        ran.append(label)
        goes_on.wait(60)
        return len(ran)

    for bus in (three.one, three.two):
        bus.offers._methods["paint", "count"].function = count
    for number in range(6):
        goes_on.clear()
        with pytest.raises(CallTimeout):
            three.paint(request_id=f"once-{number}", timeout_s=0.2).count(str(number))
        again = [gevent.spawn(three.paint(request_id=f"once-{number}").count, str(number)) for _ in range(2)]
        gevent.sleep(0.02)  # so that they ask while it runs
        goes_on.set()
        assert len({asked.get(timeout=60) for asked in again}) == 1
    assert len(ran) == 6


@pytest.mark.design("T5")
def test_if_that_member_is_gone_nobody_knows(three):
    with pytest.raises(CallTimeout):
        three.paint(request_id="req-5", timeout_s=0.3).slow(1.0)
    begun = next(bus for bus in (three.one, three.two) if three.agents[bus.host].started.is_set())
    begun.stop()
    until(lambda: all(m.status != Status.UP for m in three.controller.members() if m.host == begun.host), 20)
    with pytest.raises(CallTimeout, match="may have begun"), gevent.Timeout(15, AssertionError("must not wait")):
        three.paint(request_id="req-5", timeout_s=30).slow(1.0)
    assert three.paint(request_id="req-6", timeout_s=30).slow(0.1) == "done"
