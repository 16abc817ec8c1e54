"""What changes when a controller has many: links grow with the number of nodes, not with its square."""

from __future__ import annotations

import signal
from itertools import pairwise
from types import SimpleNamespace

import gevent
import pytest
import zmq
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until

from nova0.mesh import keys, link, watching
from nova0.mesh.bus import Status
from nova0.mesh.keys import key_text
from nova0.mesh.zap import BACKLOG, RPC, serve_curve


@pytest.fixture
def lab(tmp_path):
    """A controller that keeps links to no host of its own accord."""
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",), links_kept=0)
    cluster.main.start()
    yield cluster
    cluster.close()


def status(node, of):
    return next((m.status for m in node.members() if m.node == of), None)


def up(node):
    return sum(m.status == Status.UP for m in node.members())


def links(node):
    return [p.node for p in node.roster.peers.values() if p.link is not None and p.link.wanted]


def test_the_kernel_takes_thousands_of_connections_before_libzmq_does():
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    serve_curve(socket, keys.CurvePair(zmq.curve_keypair()[1]), RPC)
    socket.bind("tcp://127.0.0.1:*")
    assert socket.getsockopt(zmq.BACKLOG) == BACKLOG >= 2000
    context.destroy(0)


@pytest.mark.design("L5")
def test_a_controller_of_many_dials_a_host_only_to_ask_it(lab):
    hosts = [lab.bus(f"lab{n}") for n in (1, 2, 3)]
    for host in hosts:
        host.offer(PaintAgent(host))
        host.start()
    until(lambda: up(lab.main) == 4, 20, "the controller hears all")
    for host in hosts:
        until(lambda host=host: up(host) == 4, 20, "and tells them of each other")
    assert links(lab.main) == []
    assert lab.main.stub(PaintAPI, "lab2").where() == "lab2"
    assert links(lab.main) == ["lab2/host"]
    assert lab.main.watching._claims == {}, "what hosts say of others is compared with nothing, and not kept"


@pytest.mark.slow
@pytest.mark.design("L5")
def test_of_many_links_not_in_use_those_unused_longest_are_closed(lab, monkeypatch):
    monkeypatch.setattr(watching, "MOST_IDLE", 1)
    hosts = [lab.bus(f"lab{n}") for n in (1, 2, 3)]
    for host in hosts:
        host.offer(PaintAgent(host))
        host.start()
    until(lambda: up(lab.main) == 4, 20, "the controller hears all")
    missed = []
    lab.main.on_member(lambda member, old: missed.append((member.node, str(member.status))))
    for turn in range(2):  # one that was closed is dialled again
        for name in ("lab1", "lab2", "lab3"):
            assert lab.main.stub(PaintAPI, name).where() == name
        until(lambda: len(links(lab.main)) == 1, 20, f"one link is left, turn {turn}")
    gevent.sleep(0.5)  # a look at who is missed, and more
    assert missed == [], "a link that is closed for want of use is no sign that its host is gone"


@pytest.mark.slow
@pytest.mark.design("L6")
def test_a_controller_of_many_sees_who_died_by_the_connection_to_itself(lab):
    lab1 = lab.process(lab.member("lab1")).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 20, "up")
    seen = []
    lab.main.on_member(lambda member, old: seen.append((str(member.status), member.detail)))
    lab1.signal(signal.SIGKILL)
    until(lambda: status(lab.main, "lab1/host") == Status.DOWN, 20, "down")
    assert [s for s, _ in seen] == ["suspect", "down"]
    assert seen[0][1] == "its connection is cut", "not for want of beats"
    assert "process ended" in seen[1][1]


@pytest.mark.slow
def test_a_beat_that_says_something_new_is_read_after_many_that_did_not(lab):
    lab1 = lab.bus("lab1")
    lab1.start()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 20, "up")
    peer = lab.main.roster.peers["lab1/host"]
    until(lambda: lab.main.casting._known and peer.beat >= 4, 20, "its beats are alike")
    assert lab.main.casting._known[key_text(peer.card.key)].peer is peer
    lab1.offer(PaintAgent(lab1))
    until(lambda: PaintAPI.topic in peer.card.topics, 20, "its card is another")
    gaps = []
    lab.main.offer(PaintAgent(lab.main))
    lab.main.on_gap(lambda topic, publisher: gaps.append((topic, publisher)))
    until(lambda: lab.main.casting._known, 20, "alike again")
    heard = lab.main.casting._cast
    lab.main.casting._cast = lambda *cast: None  # the next is lost on the way
    lab1.stub(PaintAPI).colour("red")
    until(lambda: gaps == [(PaintAPI.topic, "lab1/host")], 20, "its number in a beat shows it")
    lab.main.casting._cast = heard


@pytest.mark.slow
@pytest.mark.design("L7")
def test_a_held_loop_and_a_stopped_process_are_told_from_one_that_ended(lab):
    held = lab.process(lab.member("lab1")).ready()
    stopped = lab.process(lab.member("lab2")).ready()
    until(lambda: up(lab.main) == 3, 20, "up")
    until(lambda: all(p.beat >= 3 for p in lab.main.roster.peers.values()), 20, "libzmq has said how long to wait")
    seen = {}
    lab.main.on_member(lambda member, old: seen.setdefault((member.node, str(member.status)), member.detail))
    held.signal(signal.SIGUSR1)
    stopped.signal(signal.SIGSTOP)
    until(lambda: ("lab1/host", "down") in seen and ("lab2/host", "down") in seen, 20, "both down")
    stopped.signal(signal.SIGCONT)
    assert "its loop is held" in seen["lab1/host", "down"]
    assert "stopped" in seen["lab2/host", "down"]
    until(lambda: up(lab.main) == 3, 20, "both back by themselves")


@pytest.mark.slow
@pytest.mark.design("L8")
def test_a_restarted_controller_of_many_waits_for_those_it_knows_before_it_speaks_of_them(tmp_path):
    lab = Cluster(tmp_path)
    try:
        main = lab.bus("lab0", "controller", ("controller",), links_kept=0, many=0)
        main.start()
        hosts = [lab.bus(f"lab{n}") for n in (1, 2, 3)]
        for host in hosts:
            host.start()
        for node in (main, *hosts):
            until(lambda node=node: up(node) == 4, 20, "all see all")
        until(lambda: not main.roster.dirty, 10, "remembered")
        hosts.pop().stop()
        heard = []
        for host in hosts:
            host.on_member(lambda member, old: heard.append((member.node, str(member.status))))
        main.stop()
        again = type(main)(main.settings)
        lab.nodes.append(again)
        again.start()
        until(lambda: up(again) == 3, 20, "the two are back")
        assert status(again, "lab3/host") in (Status.UNKNOWN, Status.LEFT)
        assert again.watching._own_digest() == b"", "one is still awaited"
        gevent.sleep(0.5)
        about_hosts = [h for h in heard if not h[0].startswith("lab0")]
        assert not [h for h in about_hosts if h[1] in ("unknown", "suspect", "down")], about_hosts
    finally:
        lab.close()


@pytest.mark.slow
@pytest.mark.design("L10")
def test_a_link_is_dialled_anew_at_random_moments_further_and_further_apart(tmp_path, monkeypatch):
    drawn = []

    def uniform(low, high):
        drawn.append((low, high))
        return low

    monkeypatch.setattr(link, "random", SimpleNamespace(uniform=uniform))
    lab = Cluster(tmp_path, reconnect_s=(0.01, 0.08))
    try:
        main = lab.bus("lab0", "controller", ("controller",))
        main.start()
        host = lab.bus("lab1")
        host.start()
        until(lambda: up(host) == up(main) == 2, 30)
        drawn.clear()
        main.stop()
        until(lambda: drawn.count((0.04, 0.08)) >= 3, 30, "it dials again and again")
        assert all(low == high / 2 for low, high in drawn), "anywhere in the later half of a pause"
        for before, after in pairwise(high for _, high in drawn):
            assert after in (min(0.08, before * 2), 0.01), "0.01: it had been up in between"
    finally:
        lab.close()


@pytest.mark.design("L9")
def test_links_grow_with_the_number_of_nodes(tmp_path):
    lab = Cluster(tmp_path, ring=1)
    try:
        controllers = [lab.bus("lab0", "controller", ("controller",)), lab.bus("lab1", "controller", ("controller",))]
        controllers[0].start()
        controllers[1].start()
        hosts = [lab.bus(f"host{n:02}") for n in range(10)]
        for host in hosts:
            host.start()
        for node in (*controllers, *hosts):
            until(lambda node=node: up(node) == 12, 60, f"{node.node} sees all")
        until(lambda: all(len(links(host)) <= len(controllers) + 2 for host in hosts), 30, "no host has more")
        both = {"lab0/controller", "lab1/controller"}
        until(lambda: all(both <= set(links(host)) for host in hosts), 30, "and each has the controllers")
    finally:
        lab.close()
