"""What may grow has an end, and over it something is said."""

from __future__ import annotations

import time

import gevent
import msgspec
import pytest
import zmq
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until

from nova0.mesh import local_socket, roster, tokens, wire
from nova0.mesh.bus import Status
from nova0.mesh.codec import encode
from nova0.mesh.driven import Driven
from nova0.mesh.errors import Busy, CallTimeout, JoinRefused
from nova0.mesh.local_client import connect
from nova0.mesh.surface import Timeout


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    cluster = Cluster(folder)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.start()
    cluster.host = cluster.bus("lab1", casts_running=3, goodbye_s=0.2, socket_path=str(folder / "run" / "mesh.sock"))
    cluster.agent = PaintAgent(cluster.host)
    cluster.host.offer(cluster.agent)
    cluster.host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in cluster.main.members()), 20)
    yield cluster
    cluster.close()


@pytest.mark.design("B10")
def test_what_waits_for_a_peer_that_does_not_read_is_bounded():
    context = zmq.Context()
    silent, socket = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    silent.setsockopt(zmq.RCVHWM, 1)
    socket.setsockopt(zmq.SNDHWM, 1)
    silent.bind("inproc://silent")  # and never reads
    socket.connect("inproc://silent")
    driven = Driven(socket, lambda to, frame: None, queue=5)
    try:
        with pytest.raises(Busy, match="does not read"):
            for number in range(20):
                driven.put(wire.Ping(number))
                driven.flush()
        assert len(driven._blocked[b""]) == 5
    finally:
        driven.close()
        silent.close(0)
        context.destroy(0)


@pytest.mark.design("B11")
def test_casts_over_the_bound_of_those_at_work_are_lost_and_said_to_be(net, monkeypatch):
    gaps, hold, begun = [], gevent.event.Event(), []
    net.host.on_gap(lambda topic, publisher: gaps.append(topic))

    def colour(name):
        begun.append(name)
        hold.wait(20)

    offered = net.host.offers.find("paint", "colour", "cast")
    monkeypatch.setattr(offered, "function", colour)

    def full():
        net.main.stub(PaintAPI).colour("x")
        return gaps

    try:
        until(full, 20, "some are lost")
        assert len(begun) == 3 and gaps[0] == "paint"
    finally:
        hold.set()
    until(lambda: net.host.casting.running == 0, 20)


@pytest.mark.design("B12")
def test_nodes_that_are_only_heard_of_are_bounded_and_so_are_the_proven(net, monkeypatch):
    book = roster.Roster(net.main.identity, "lab0/controller", 5)
    card = net.host.card()

    def hint(number):
        return book.hint(msgspec.structs.replace(card, node=f"h{number}/host", key=bytes([number]) * 32))

    monkeypatch.setattr(roster, "MAX_HINTS", 3)
    assert all(hint(n) is not None for n in range(1, 7))
    assert sorted(book.peers) == ["h4/host", "h5/host", "h6/host"], "the oldest went"
    monkeypatch.setattr(book, "_most", 3)
    with pytest.raises(Busy, match="no more are taken"):
        book.prove(net.host.chain(), card, card.key)


@pytest.mark.design("B13")
def test_tokens_are_bounded(net, monkeypatch):
    held = len(net.main.tokens.list()) if hasattr(net.main.tokens, "list") else 0
    monkeypatch.setattr(tokens, "MAX_TOKENS", held + 2)
    with pytest.raises(JoinRefused, match="revoke some"):
        for _ in range(4):
            net.token()


@pytest.mark.design("B14")
def test_a_watcher_that_does_not_read_costs_a_bounded_memory_and_is_told(net, monkeypatch):
    monkeypatch.setattr(local_socket, "MOST_EVENTS", 4)
    with connect(net.host.settings.socket_path) as client:
        events = client.watch()
        assert next(events)["event"] == "watching"
        for number in range(10):  # in one turn: the watcher's greenlet does not run between
            net.host._local._event(event="test", number=number)
        (watcher,) = net.host._local._watchers
        assert len(watcher.events) == 4 and watcher.lost == 6
        seen = [next(events) for _ in range(5)]
        assert [e["number"] for e in seen[:4]] == [0, 1, 2, 3] and seen[4] == {"event": "lost", "count": 6}


@pytest.mark.design("C16")
def test_silence_ends_a_call_long_before_its_time_is_up(net, monkeypatch):
    monkeypatch.setattr(net.host.answering, "_put", lambda message, route: None)  # neither beats nor answers
    began = time.monotonic()
    with pytest.raises(CallTimeout, match="lab1"):
        _slow(net, Timeout("test", 1.0, 120.0))
    assert time.monotonic() - began < 60, "not its total"


@pytest.mark.slow
@pytest.mark.design("C33")
def test_a_total_ends_what_only_beats(net, monkeypatch):
    link, beats = net.main.roster.peers["lab1/host"].link, []
    take = link._take
    monkeypatch.setattr(link, "_take", lambda m: (beats.append(m) if isinstance(m, wire.Working) else None, take(m)))
    for total_s in (3.5, 10.0, 30.0):  # a slow machine may not get to say it in the first
        with pytest.raises(CallTimeout, match="lab1"):
            _slow(net, Timeout("test", 60.0, total_s))
        if beats:
            break
    assert beats, "it said that it works, and still"


@pytest.mark.design("C34")
def test_time_travels_as_what_is_left_and_a_call_that_comes_without_any_is_not_started(net, monkeypatch):
    sent = []
    link = net.main.roster.peers["lab1/host"].link
    monkeypatch.setattr(link._driven, "put", lambda message: sent.append(message))
    asked = gevent.spawn(net.main.stub(PaintAPI, "lab1", timeout_s=7).count, "late")
    until(lambda: sent, 20)
    call = sent[0]
    assert 0 < call.ms_left <= 7000
    monkeypatch.undo()
    call.ms_left = 0  # it was under way for longer than that
    link._driven.put(call)
    with pytest.raises(CallTimeout):
        asked.get(timeout=20)
    assert "late" not in net.agent.counts


@pytest.mark.design("C35")
def test_members_are_told_without_a_wait(net):
    told = []
    gevent.get_hub().loop.run_callback(lambda: told.append(net.main.members()))  # the hub cannot wait
    until(lambda: told, 20)
    assert {m.host for m in told[0]} == {"lab0", "lab1"}


def _slow(net, patience):
    net.main.calling.ask("paint", "lab1", "slow", encode({"seconds": 40.0}), patience=patience)
