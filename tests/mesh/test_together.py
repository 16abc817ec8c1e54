"""What is said in one turn of the loop travels together, and nobody waits for his neighbour in the frame."""

from __future__ import annotations

import gevent
import pytest
from cluster import Cluster
from contract import until
from gevent.event import Event

from nova0.mesh.bus import Status
from nova0.mesh.errors import Unreachable
from nova0.mesh.surface import CONTROLLER, MEMBER, Surface, call, cast


class CrowdAPI(Surface):
    topic = "crowd"
    served_by = MEMBER

    @call(allow=CONTROLLER, repeatable=True)
    def size(self, text: str) -> int: ...

    @call(allow=CONTROLLER, repeatable=True)
    def held(self) -> str: ...

    @cast(allow=CONTROLLER)
    def note(self, text: str) -> None: ...


class Crowd(CrowdAPI):
    def __init__(self):
        self.go, self.heard = Event(), []

    def size(self, text):
        return len(text)

    def held(self):
        self.go.wait(30)
        return "let go"

    def note(self, text):
        if text == "held":
            self.go.wait(30)
        self.heard.append(text)


@pytest.fixture
def two(tmp_path):
    cluster = Cluster(tmp_path)
    main = cluster.bus("lab0", "controller", ("controller",))
    main.start()
    host, agent = cluster.bus("lab1"), Crowd()
    host.offer(agent)
    host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in main.members()), 10)
    crowd = main.stub(CrowdAPI, "lab1")

    def flows():
        crowd.note("warm")
        return agent.heard

    until(flows, 10)
    assert crowd.size("warm") == 4
    seen = len(agent.heard)
    until(lambda: len(agent.heard) == seen and not gevent.sleep(0.2), 10)
    agent.heard.clear()
    yield main, crowd, agent
    agent.go.set()
    cluster.close()


@pytest.mark.design("TG1")
def test_calls_made_together_travel_in_few_frames(two):
    main, crowd, _ = two
    before = main.counts.calls.frames_out
    calls = [gevent.spawn(crowd.size, "x" * n) for n in range(64)]
    assert [one.get(timeout=30) for one in calls] == list(range(64))
    assert main.counts.calls.frames_out - before < 32


@pytest.mark.design("TG2")
def test_casts_said_together_travel_in_few_frames(two):
    main, crowd, agent = two
    before = main.counts.casts.frames_out
    for n in range(200):
        crowd.note(str(n))
    until(lambda: len(agent.heard) == 200, 30)
    assert agent.heard == [str(n) for n in range(200)]
    assert main.counts.casts.frames_out - before < 60  # a beat or two among them


@pytest.mark.design("TG3")
def test_a_call_that_waits_holds_up_none_that_came_with_it(two):
    _, crowd, agent = two
    held = [gevent.spawn(crowd.held) for _ in range(3)]
    calls = [gevent.spawn(crowd.size, "x" * n) for n in range(20)]
    assert [one.get(timeout=30) for one in calls] == list(range(20))
    assert not any(one.ready() for one in held)
    agent.go.set()
    assert [one.get(timeout=30) for one in held] == ["let go"] * 3


@pytest.mark.design("TG4")
def test_a_cast_that_waits_holds_up_none_that_came_with_it(two):
    _, crowd, agent = two
    for text in ("held", "one", "held", "two"):
        crowd.note(text)
    until(lambda: agent.heard == ["one", "two"], 30)
    agent.go.set()
    until(lambda: agent.heard == ["one", "two", "held", "held"], 30)


@pytest.mark.design("TG5")
def test_what_is_too_much_for_one_frame_goes_in_several(two):
    _, crowd, agent = two
    calls = [gevent.spawn(crowd.size, "x" * (1 << 20)) for _ in range(12)]
    assert {one.get(timeout=60) for one in calls} == {1 << 20}
    for n in range(12):
        crowd.note(str(n) * 200_000)
    until(lambda: len(agent.heard) == 12, 60)
    assert [text[0] for text in agent.heard] == [str(n)[0] for n in range(12)]


def test_who_is_quarantined_is_passed_over_from_the_next_call_on(two):
    """Though the members of a topic are remembered between calls."""
    main, _, _ = two
    anyone = main.stub(CrowdAPI)
    assert anyone.size("xy") == 2
    main.roster.quarantine(main.roster.peers["lab1/host"].card.key, "the test says so")
    with pytest.raises(Unreachable):
        anyone.size("xy")
