"""Casts of a frame read by one call of a decoder are heard exactly as those that are looked at one by one."""

from __future__ import annotations

from typing import Any

import pytest
from contract import until
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from nova0.mesh import offers as dispatch
from nova0.mesh import wire
from nova0.mesh.bus import Caller
from nova0.mesh.codec import encode
from nova0.mesh.hearing import Hearing
from nova0.mesh.offers import Offers
from nova0.mesh.surface import CONTROLLER, MEMBER, Surface, cast


class NewsAPI(Surface):
    topic = "news"
    served_by = MEMBER

    @cast(allow=CONTROLLER)
    def told(self, what: str, count: int) -> None: ...

    @cast(allow=MEMBER)
    def said(self, what: str, count: int = 7) -> None: ...


class News(NewsAPI):
    def __init__(self):
        self.heard, self.go = [], Event()

    def told(self, what, count):
        caller = dispatch.running().caller
        if what == "wait":
            self.go.wait(30)
        if what == "bad":
            raise ValueError("as the test wants it")
        self.heard.append(("told", what, count, caller.roles, caller.request_id, caller.context))

    def said(self, what, count=7):
        self.heard.append(("said", what, count, dispatch.running().caller.roles))


class Swapped(NewsAPI):
    """Its parameters stand in another order than the surface's."""

    def __init__(self):
        self.heard = []

    def told(self, count, what):
        self.heard.append((what, count))


def frame(*casts):
    return wire.write_signal("news", wire.Casts("lab0/controller", 1, 1, list(casts)))


def one(method="told", what: Any = "a", count: Any = 1, **more):
    return wire.Cast(method, wire.Raw(encode({"what": what, "count": count})), **more)


def hearing(agent):
    offers = Offers("lab1/host")
    offers.add(agent)
    return Hearing(offers, "lab1/host"), offers


def hears(hearing, body, roles=("controller", "member")):
    """Whether it was read by one call."""
    topic, signal, offered = hearing.read(body)
    caller = Caller(node="lab0/controller", host="lab0", roles=roles, request_id="")
    hearing.run(topic, signal.casts, caller, ("member",), offered)
    return offered is not None


def done(hearing):
    until(lambda: hearing.running == 0, 30)


def test_what_the_last_frame_held_is_tried_first():
    agent = News()
    part, offers = hearing(agent)
    assert [hears(part, frame(one(), one())) for _ in range(3)] == [False, True, True]
    done(part)
    assert agent.heard == [("told", "a", 1, ("controller", "member"), "", {})] * 6
    assert offers.find("news", "told", "cast").tally.outcomes() == {"ok": 6}


def test_arguments_go_by_name_where_the_order_is_another():
    agent = Swapped()
    part, _ = hearing(agent)
    assert not any(hears(part, frame(one(), one())) for _ in range(3))
    done(part)
    assert agent.heard == [("a", 1)] * 6


@pytest.mark.design("TG6")
def test_a_bad_cast_spoils_no_other_of_its_frame(caplog):
    agent = News()
    part, offers = hearing(agent)
    hears(part, frame(one(), one()))
    assert not hears(part, frame(one(what="b"), one(count="not a number"), one(what="c")))
    hears(part, frame(one(), one()))
    assert hears(part, frame(one(what="d"), one(what="bad"), one(what="e")))
    done(part)
    assert [row[1] for row in agent.heard] == ["a", "a", "b", "c", "a", "a", "d", "e"]
    assert [row.getMessage().partition("failed: ")[2] for row in caplog.records] == [
        "told: Expected `int`, got `str` - at `$.count`",
        "as the test wants it",
    ]
    assert offers.find("news", "told", "cast").tally.outcomes() == {"ok": 8, "BadArguments": 1, "RemoteError": 1}


@pytest.mark.design("TG4")
def test_who_waits_holds_up_none_of_a_frame_read_at_once():
    agent = News()
    part, _ = hearing(agent)
    hears(part, frame(one(), one()))
    done(part)
    agent.heard.clear()
    assert hears(part, frame(one(what="wait"), one(what="b"), one(what="wait"), one(what="c")))
    assert hears(part, frame(one(what="d")))
    until(lambda: [row[1] for row in agent.heard] == ["b", "c", "d"], 30)
    assert part.running == 2
    agent.go.set()
    done(part)
    assert [row[1] for row in agent.heard] == ["b", "c", "d", "wait", "wait"]


def test_who_may_not_is_not_heard_and_each_is_said(caplog):
    agent = News()
    part, _ = hearing(agent)
    hears(part, frame(one(), one()))
    done(part)
    agent.heard.clear()
    assert hears(part, frame(one(), one()), roles=("host", "member"))
    assert agent.heard == [] and part.running == 0
    assert [("needs role controller" in row.getMessage()) for row in caplog.records] == [True, True]


@pytest.mark.parametrize("more", [{"request_id": "r1"}, {"context": {"user_id": "u"}}, {"plain": True}])
def test_who_says_something_of_his_own_is_seen_with_it(more):
    agent = News()
    part, _ = hearing(agent)
    hears(part, frame(one(), one()))
    done(part)
    agent.heard.clear()
    assert not hears(part, frame(one(), one(**more), one()))
    done(part)
    usual = ("told", "a", 1, ("controller", "member"), "", {})
    own = ("told", "a", 1, ("controller", "member"), more.get("request_id", ""), more.get("context", {}))
    assert agent.heard == [usual, *([] if "plain" in more else [own]), usual]


casts = st.lists(
    st.builds(
        one,
        method=st.sampled_from(["told", "told", "told", "said", "unknown"]),
        what=st.sampled_from(["a", "b", "bad"]),
        count=st.sampled_from([1, 2, 1 << 63, "x", None]) | st.integers(0, 5),
        request_id=st.sampled_from(["", "", "", "r1"]),
        context=st.sampled_from([{}, {}, {}, {"user_id": "u"}]),
        plain=st.sampled_from([False, False, False, True]),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(casts, max_size=5))
def test_it_makes_no_difference_how_a_frame_is_read(frames):
    """Each frame after one that makes it be tried as a whole, and without."""
    heard = []
    for eager in (True, False):
        agent = News()
        part, offers = hearing(agent)
        for group in frames:
            if eager:
                hears(part, frame(one(what="first"), one(what="first")))
            hears(part, frame(*group))
            if not eager:
                part._guesses.clear()
        done(part)
        failures = {name: offers.find("news", name, "cast").tally.failures for name in ("told", "said")}
        heard.append(([row for row in agent.heard if row[1] != "first"], failures))
    assert heard[0] == heard[1]
