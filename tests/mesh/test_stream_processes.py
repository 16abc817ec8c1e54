"""Streams between processes: memory, calls beside them, and what is left when one is killed, stopped or put out."""

from __future__ import annotations

import os
import signal

import gevent
import msgspec
import pytest
from cluster import Cluster
from contract import until
from stream_node import PIECE, PipeAgent, PipeAPI

from nova0.mesh.bus import Status
from nova0.mesh.errors import Incompatible, StreamBroken, StreamRefused, Unreachable
from nova0.mesh.streams.tickets import Ticket


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.offer(PipeAgent(cluster.main))
    cluster.main.start()
    yield cluster
    cluster.close()


def a_process(lab, host):
    process = lab.process(lab.member(host), program="stream_node.py").ready()
    until(lambda: any(m.host == host and m.status == Status.UP for m in lab.main.members()), 20, f"{host} is up")
    process.api = lab.main.stub(PipeAPI, host)
    return process


@pytest.mark.slow
@pytest.mark.design("ST3")
def test_memory_stays_flat_whatever_goes_through(lab):
    """256 MiB past a reader slower than the sender, each in a process of its own."""
    one, two = a_process(lab, "lab1"), a_process(lab, "lab2")
    warm = lambda: two.api.pull(one.api.source("lab2", 4), 0.0)  # noqa: E731
    warm()
    before = [p.api.held()["rss"] for p in (one, two)]
    assert two.api.pull(one.api.source("lab2", 256), 0.002) == 256 * PIECE
    grown = [(p.api.held()["most_rss"] - was) >> 20 for p, was in zip((one, two), before, strict=True)]
    assert max(grown) < 40, f"MiB grown by sender and reader: {grown}"


@pytest.mark.slow
@pytest.mark.design("ST6")
def test_a_killed_peer_breaks_the_stream_and_leaves_nothing(lab):
    one = a_process(lab, "lab1")
    quiet = len(lab.main.streams.service.open)
    reading = lab.main.open_stream(one.api.source("lab0", 0))
    with pytest.raises(StreamBroken, match="lab1/host"):
        until(lambda: reading.recv() and reading.bytes_in > 8 * PIECE, 60)
        one.kill()
        while reading.recv():
            pass
    until(lambda: lab.main.roster.peers["lab1/host"].status == Status.DOWN, 30)
    with pytest.raises(Unreachable, match="lab1/host is down"):
        lab.main.open_stream(Ticket(node="lab1/host", purpose="pipe", secret=b"x" * 24))
    two = a_process(lab, "lab2")
    ticket = lab.main.offer_stream("pipe", lambda stream: stream.send(bytes(PIECE * 64)), peer="lab2")
    pulling = gevent.spawn(two.api.pull, ticket, 1.0)
    service = lab.main.streams.service
    until(lambda: service.at_work == 1 and sum(s.bytes_out for s in service.open) > PIECE, 20, "it sends")
    two.kill()
    until(lambda: not service.at_work and len(service.open) == quiet, 30, "the sender's end is broken, too")
    pulling.kill()
    assert not lab.main.streams._routes and not lab.main.streams._descriptors


@pytest.mark.slow
@pytest.mark.design("ST6")
def test_a_peer_that_is_only_stopped_breaks_it_within_seconds(lab):
    one, two = a_process(lab, "lab1"), a_process(lab, "lab2")
    pulling = gevent.spawn(two.api.pull, one.api.source("lab2", 0), 0.0)
    until(lambda: two.api.held()["streams"], 20)
    two.signal(signal.SIGSTOP)
    until(lambda: one.api.held()["handlers"] == 0, 30, "the sender's end broke")
    two.signal(signal.SIGCONT)
    with pytest.raises(StreamBroken):
        pulling.get(timeout=30)
    until(lambda: two.api.held()["streams"] == 0, 20)


@pytest.mark.slow
@pytest.mark.design("ST6")
def test_broken_streams_leave_no_greenlet_and_no_descriptor(lab):
    one = a_process(lab, "lab1")

    def cut_one():
        stream = lab.main.open_stream(one.api.source("lab0", 0))
        stream.recv()
        stream.close()

    def descriptors():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), one.process.pid)]

    def still():
        held = one.api.held()
        return held["streams"] == held["handlers"] == 0 and held

    cut_one()
    before, fds = until(still, 20), descriptors()
    for _ in range(20):
        cut_one()
    after = until(still, 20)
    assert after["greenlets"] <= before["greenlets"] + 2
    until(lambda: max(now - was for now, was in zip(descriptors(), fds, strict=True)) < 8, 20, "descriptors are closed")
    assert not lab.main.streams.service.open


@pytest.mark.slow
@pytest.mark.design("ST8")
def test_calls_go_on_beside_a_stream_at_full_speed(lab):
    one, two = a_process(lab, "lab1"), a_process(lab, "lab2")
    pulling = gevent.spawn(two.api.pull, one.api.source("lab2", 64), 0.0)
    while not pulling.ready():
        assert one.api.echo("a") == "a" and two.api.echo("b") == "b"
    assert pulling.get() == 64 * PIECE


@pytest.mark.design("ST9")
def test_whose_key_is_put_out_loses_its_streams(lab):
    host = lab.bus("lab1")
    host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in lab.main.members()), 20)
    entered = []

    def reads(stream):
        for piece in stream:
            entered.append(piece)

    stream = host.open_stream(lab.main.offer_stream("pipe", reads, peer="lab1"))
    stream.send(b"while a member")
    until(lambda: entered)
    key = host.pair.public
    kept = lab.main.roster._keys.pop(key)
    stream.send(b"afterwards")
    until(lambda: not lab.main.streams.service.open, 20, "its stream is broken")
    assert entered == [b"while a member"]
    lab.main.roster._keys[key] = kept


@pytest.mark.design("ST9")
def test_a_stream_comes_only_from_the_node_that_greeted(lab):
    """The ticket alone is worth nothing: key and start must be those of the greeting."""
    host = lab.bus("lab1")
    host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in lab.main.members()), 20)
    ticket = lab.main.offer_stream("pipe", lambda stream: None, peer="lab1")
    host.streams._home = home = _Posing(host)
    home.boot += 1
    with pytest.raises(StreamRefused, match="before it greets"):
        host.open_stream(ticket)
    home.boot, home.node = host.boot, "lab0/host"
    with pytest.raises(StreamRefused, match="before it greets"):
        host.open_stream(ticket)
    host.streams._home = host
    host.open_stream(ticket).finish()


class _Posing:
    """A node that says other things of itself than it is."""

    def __init__(self, node):
        self._node, self.boot, self.node = node, node.boot, node.node

    def __getattr__(self, name):
        return getattr(self._node, name)


def test_an_older_node_without_streams_is_said_to_need_an_upgrade(lab):
    one = a_process(lab, "lab1")
    ticket = one.api.source("lab0", 1)
    peer = lab.main.roster.peers["lab1/host"]
    peer.card = msgspec.structs.replace(peer.card, stream_port=0)
    with pytest.raises(Incompatible, match="upgrade nova0 there"):
        lab.main.open_stream(ticket)
