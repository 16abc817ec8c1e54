"""Lost casts are noticed, bounds answer Busy, and links are as many as needed."""

from __future__ import annotations

import gevent
import gevent.event
import pytest
from cluster import Cluster
from contract import GONE, PaintAgent, PaintAPI, until

from nova0.mesh import casting, wire
from nova0.mesh.bus import Status
from nova0.mesh.codec import encode
from nova0.mesh.driven import FAREWELL_MS
from nova0.mesh.errors import Busy, CallTimeout, Incompatible, RemoteError, Unreachable
from nova0.mesh.liveness import Judge
from nova0.mesh.peer import Peer
from nova0.mesh.ring import interest
from nova0.mesh.surface import CONTROLLER, MEMBER, Role, Surface, call, cast


class ListenAPI(Surface):
    topic = "listen"
    served_by = MEMBER

    @cast(allow=CONTROLLER)
    def note(self, number: int) -> None: ...

    @call(allow=CONTROLLER)
    def nest(self) -> str: ...


class Listen(ListenAPI):
    def __init__(self):
        self.heard = []

    def note(self, number):
        self.heard.append(number)

    def nest(self):
        raise Unreachable("the store")


@pytest.fixture
def pair(tmp_path):
    cluster = Cluster(tmp_path)
    main = cluster.bus("lab0", "controller", ("controller",))
    main.start()
    host = cluster.bus("lab1", calls_running=4, calls_waiting=8, goodbye_s=0.5)
    agent = Listen()
    host.offer(agent)
    host.offer(PaintAgent(host))
    host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in main.members()), 3)

    def flows():
        main.stub(ListenAPI).note(0)
        return agent.heard

    until(flows, 5)
    gevent.sleep(0.1)
    agent.heard.clear()
    yield main, host, agent
    cluster.close()


@pytest.mark.design("K4")
def test_a_hole_in_the_numbers_calls_on_gap(pair):
    main, host, agent = pair
    gaps = []
    host.on_gap(lambda topic, publisher: gaps.append((topic, publisher)))
    main.stub(ListenAPI).note(1)
    main.casting._spoken["listen"].number += 1  # one lost on the way
    main.stub(ListenAPI).note(3)
    until(lambda: gaps == [("listen", "lab0/controller")], 2)
    assert agent.heard == [1, 3]


@pytest.mark.design("K5")
def test_the_loss_of_the_last_cast_is_seen_by_the_next_beats(pair):
    main, host, _ = pair
    gaps = []
    host.on_gap(lambda topic, publisher: gaps.append((topic, publisher)))
    main.casting._spoken["listen"].number += 1
    main.casting._spoken["listen"].at += 5
    until(lambda: gaps == [("listen", "lab0/controller")], 3)
    gevent.sleep(1.5)
    assert len(gaps) == 1, "said once"


@pytest.mark.design("K7")
def test_a_cast_that_comes_twice_is_heard_once(pair):
    main, _, agent = pair
    main.casting._spoken["listen"].number += 1
    number = main.casting.number("listen")
    again = wire.Casts(main.node, main.boot, number, [wire.Cast("note", wire.Raw(encode({"number": 7})))])
    for _ in range(3):
        main.casting.publish("listen", again)
    main.stub(ListenAPI).note(8)
    until(lambda: 8 in agent.heard, 20)
    assert agent.heard == [7, 8]


@pytest.mark.design("K3")
def test_casts_keep_their_order(pair):
    main, _, agent = pair
    for number in range(500):
        main.stub(ListenAPI).note(number)
        if number % 50 == 0:
            gevent.sleep(0)
    until(lambda: len(agent.heard) == 500, 5)
    assert agent.heard == list(range(500))


@pytest.mark.design("C3", "B1")
def test_over_the_bound_of_calls_at_work_there_is_busy_and_nothing_is_started(pair):
    main, host, _ = pair
    agent, go_on = host.offers.agents["paint"], gevent.event.Event()
    host.offers._methods["paint", "slow"].function = lambda seconds: go_on.wait(seconds) and "done"
    calls = [gevent.spawn(main.stub(PaintAPI, "lab1").slow, 60.0) for _ in range(4)]
    until(lambda: host.answering.running == 4, 3)
    with pytest.raises(Busy, match="lab1"):
        main.stub(PaintAPI, "lab1").count("x")
    assert agent.counts == {}
    go_on.set()
    assert [g.get(timeout=30) for g in calls] == ["done"] * 4
    assert main.stub(PaintAPI, "lab1").count("x") == 1


@pytest.mark.design("B2")
def test_over_the_bound_of_waiting_calls_the_caller_itself_says_busy(pair):
    main, host, _ = pair
    main.offer(PaintAgent(main))
    until(lambda: any("paint" in m.topics for m in host.members() if m.host == "lab0"), 3)
    calls = [gevent.spawn(host.stub(PaintAPI, "lab0", timeout_s=60).echo, {"name": "x"}) for _ in range(30)]
    gevent.joinall(calls)
    refused = [g for g in calls if isinstance(g.exception, Busy)]
    assert len(refused) == 22 and sum(g.successful() for g in calls) == 8


@pytest.mark.design("C14")
def test_a_failure_inside_a_method_is_not_taken_for_the_link_s(pair):
    main, _, _ = pair
    with pytest.raises(RemoteError, match="the store"):
        main.stub(ListenAPI, "lab1").nest()


@pytest.mark.covers("S212")
def test_protocols_too_far_apart_say_which_side_to_upgrade(pair):
    main, _host, _ = pair
    main.settings.speaks = (5, 6)
    link = main.roster.peers["lab1/host"].link
    link._broken("test", False)
    until(lambda: isinstance(link.fatal, Incompatible), 3)
    assert "upgrade nova0 on lab1/host" in str(link.fatal)
    with pytest.raises(Incompatible):
        main.stub(PaintAPI, "lab1").where()


@pytest.mark.covers("S206")
@pytest.mark.design("C12")
def test_a_broken_link_is_mended_and_the_call_in_flight_answered(pair):
    main, host, _ = pair
    asked = gevent.spawn(main.stub(PaintAPI, "lab1").slow, 0.4)
    until(lambda: host.answering.running == 1)
    main.roster.peers["lab1/host"].link._broken("cut by the test", False)
    assert asked.get(timeout=30) == "done"


def test_a_seed_finds_a_member_whose_address_changed(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        main = cluster.bus("lab0", "controller", ("controller",))
        main.start()
        made = cluster.member("lab1")
        main.stop()
        moved = type(main)(cluster.settings("lab0", "controller", ("controller",), listen="127.0.0.2"))
        cluster.nodes.append(moved)
        moved.start()
        made.join = (f"127.0.0.2:{moved.card().door_port}",)
        host = type(main)(made)
        cluster.nodes.append(host)
        host.start()
        until(lambda: any(m.host == "lab0" and m.status == Status.UP for m in host.members()), 5)
    finally:
        cluster.close()


def card(name, roles=("host",)):
    return wire.Card(f"{name}/host", roles, (), "", 1, 1, 1, 0, name.encode().ljust(32), "", 1)


def test_links_grow_with_the_number_of_hosts_and_not_its_square():
    peers = [Peer(card(f"lab{n}")) for n in range(100)] + [Peer(card("ctl", ("controller",)))]
    for peer in peers:
        peer.listed, peer.roles = True, peer.card.roles
    sizes = [len(interest(p.node, False, {Role.CONTROLLER}, [q for q in peers if q is not p], 2)) for p in peers[:-1]]
    assert max(sizes) <= 5
    assert len(interest("ctl/host", True, set(), peers[:-1], 2)) == 100
    assert len(interest("lab1/host", False, {Role.HOST}, peers, 2)) >= 99


def test_a_node_that_was_held_itself_judges_nobody():
    judge, peer = Judge(2.2, 2.0), Peer(card("lab1"))
    peer.watched, peer.status, peer.heard_at = True, Status.UP, 100.0
    assert judge.tick(100.2, [peer]) == []
    assert judge.tick(130.0, [peer]) == [], "our own stall"
    assert [v.status for v in judge.tick(130.2, [peer])] == []
    at = 130.2
    verdicts = []
    while at < 140 and Status.DOWN not in [v.status for v in verdicts]:
        at += 0.2
        for verdict in judge.tick(at, [peer]):
            verdicts.append(verdict)
            peer.status = verdict.status or peer.status
    assert [v.status for v in verdicts if v.status] == [Status.SUSPECT, Status.DOWN]
    assert 4.0 < at - 130.0 < 5.0


@pytest.mark.design("C18")
def test_stopping_ends_every_call_that_waits_and_opens_nothing_more(pair):
    main, host, _ = pair
    waiting = gevent.spawn(main.stub(PaintAPI, "lab1").slow, 5.0)
    until(lambda: host.answering.running == 1, 3)
    main.stop()
    with pytest.raises(CallTimeout), gevent.Timeout(20, AssertionError("hangs")):
        waiting.get()
    with pytest.raises(Unreachable):
        main.stub(PaintAPI, "lab1").where()
    with pytest.raises(Unreachable):
        main.link(Peer(card("lab9")))


@pytest.mark.parametrize("gone", [False, True])
def test_last_words_are_not_kept_for_who_is_gone(pair, monkeypatch, gone):
    main, host, _ = pair
    waits, close = [], casting.Mouth.close
    monkeypatch.setattr(casting.Mouth, "close", lambda mouth, ms=0: (waits.append(ms), close(mouth, ms)))
    if gone:
        main.stop()
        until(lambda: any(m.host == "lab0" and m.status in GONE for m in host.members()))
    host.stop()
    assert waits == [0 if gone else FAREWELL_MS]
