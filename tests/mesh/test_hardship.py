"""A node whose disk is full, whose descriptors are spent or whose listener fails goes on, and recovers."""

from __future__ import annotations

import errno
import os

import gevent
import pytest
import zmq
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until

from nova0.mesh import keys, monitor, watching, wire
from nova0.mesh import offers as dispatch
from nova0.mesh.bus import Caller, Status
from nova0.mesh.errors import Busy, CallTimeout, Cancelled, Unreachable
from nova0.mesh.link import Link
from nova0.native import Worker


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.start()
    yield cluster
    cluster.close()


def up(node, host):
    return any(m.host == host and m.status == Status.UP for m in node.members())


def test_a_batch_that_fails_as_a_whole_is_told_to_who_waits_and_the_next_one_runs():
    fails = [True]

    def batch(jobs):
        for job in jobs:
            job.run()
        if fails[0]:
            raise OSError(errno.EMFILE, "no descriptors left")

    worker = Worker("test", batch)
    with gevent.Timeout(10), pytest.raises(OSError, match="descriptors"):
        worker.submit(lambda: 1)
    fails[0] = False
    with gevent.Timeout(10):
        assert worker.submit(lambda: 2) == 2
    worker.stop()


@pytest.mark.slow
@pytest.mark.design("F2")
def test_a_full_disk_does_not_stop_a_node_from_watching_others(lab, monkeypatch):
    monkeypatch.setattr(watching, "SAVE_AGAIN", 3)
    real, refused = keys.write_public, []

    def write(path, body):
        if path.parent.name == "peers" and len(refused) < 2:
            refused.append(path)
            raise OSError(errno.ENOSPC, "no space left")
        real(path, body)

    made = lab.member("lab1")
    monkeypatch.setattr(keys, "write_public", write)
    first = lab.bus("lab1")
    first.start()
    until(lambda: len(refused) == 2, 10, "the disk refuses")
    lab.bus("lab2").start()
    until(lambda: up(lab.main, "lab2"), 10, "it is still watched who comes")
    until(lambda: (lab.folder / "lab0/peers/lab1~host").exists(), 10, "what was not written is written later")
    assert made.host == "lab1"


@pytest.mark.design("F8")
def test_a_link_cut_in_the_moment_it_was_greeted_is_made_anew(lab, monkeypatch):
    """Both are heard in one turn of the loop, before the greenlet that dials goes on."""
    real, cut = Link._take, []

    def take(self, message):
        real(self, message)
        if isinstance(message, wire.Welcome) and not cut:
            cut.append(self.peer.node)
            self._watch._event(zmq.EVENT_DISCONNECTED, 0)

    host = lab.bus("lab1")
    monkeypatch.setattr(Link, "_take", take)
    host.start()
    until(lambda: cut, 20)
    until(lambda: any(node.counts.reconnects for node in (host, lab.main)), 20, "that link is made anew")


@pytest.mark.design("F3")
def test_a_turn_that_fails_does_not_end_the_loop(lab, monkeypatch):
    failed = []

    def tell_news():
        failed.append(1)
        monkeypatch.undo()
        raise ValueError("once")

    host = lab.bus("lab1")
    monkeypatch.setattr(lab.main.watching, "_tell_news", tell_news)
    host.start()
    until(lambda: failed, 10, "it failed")
    lab.bus("lab2").start()
    until(lambda: up(host, "lab2"), 10, "news is told")


def test_a_peer_that_cannot_be_dialled_for_want_of_descriptors_is_dialled_later(lab, monkeypatch):
    agent = lab.bus("lab1")
    agent.offer(PaintAgent(agent))
    failing = [5]
    real = zmq.Context.socket

    def socket(context, kind, *more, **named):
        if context is lab.main.context and kind == zmq.DEALER and failing[0]:
            failing[0] -= 1
            raise zmq.ZMQError(errno.EMFILE)
        return real(context, kind, *more, **named)

    monkeypatch.setattr(zmq.Context, "socket", socket)
    agent.start()
    until(lambda: failing[0] == 0, 20, "it was tried five times")
    until(lambda: up(lab.main, "lab1"), 20, "it is up")
    assert lab.main.stub(PaintAPI, "lab1").add(1, 2) == 3


@pytest.mark.design("T6")
def test_a_copy_of_what_was_begun_is_answered_by_a_callee_that_takes_nothing_new(lab):
    host = lab.bus("lab1")
    agent = PaintAgent(host)
    host.offer(agent)
    host.start()
    until(lambda: up(lab.main, "lab1"), 20)

    def count(request_id):
        return lab.main.stub(PaintAPI, "lab1", request_id=request_id).count("x")

    assert count("first") == 1
    host.settings.calls_running = 0
    assert count("first") == 1
    with pytest.raises(Busy):
        count("second")
    host.answering.leaving = True
    assert count("first") == 1
    with pytest.raises(Unreachable, match="stopping"):
        count("second")
    assert agent.counts == {"x": 1}


def test_a_descriptor_that_became_something_else_is_let_be_and_leaks_nothing(lab, tmp_path):
    """Between libzmq's word of a connection and our look its number may have been given to a file."""
    with open(tmp_path / "file", "w") as file:
        before = len(os.listdir("/proc/self/fd"))
        lab.main.door._gate._accepted(file.fileno())
        monitor.shut(file.fileno(), os.fstat(file.fileno()).st_ino)
        file.write("still open")
        assert file.fileno() not in lab.main.door._gate._open
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.design("F4")
def test_a_socket_that_met_an_error_is_not_deaf_afterwards(lab, monkeypatch):
    host = lab.bus("lab1")
    host.offer(PaintAgent(host))
    host.start()
    until(lambda: up(lab.main, "lab1"), 20)
    driven, failing = host.answering._driven, [2]
    real = driven._take_one

    def take_one():
        if failing[0]:
            failing[0] -= 1
            raise OSError(errno.EMFILE, "no descriptors left")
        real()

    driven._take_one = take_one
    assert lab.main.stub(PaintAPI, "lab1", timeout_s=30).add(1) == 11
    assert not failing[0]


def test_a_method_ended_by_the_clock_is_a_time_out_to_its_caller(lab):
    """Cancelled is for who took a request back; here the callee's clock was a little ahead."""
    offers = lab.main.offers
    lab.main.offer(PaintAgent(lab.main))
    offered = offers.find("paint", "where", "call")
    offered.function = lambda: gevent.sleep(30)
    caller = Caller(node="lab1/host", host="lab1", roles=("member",), request_id="r", context={})
    for expired, kind in ((True, CallTimeout), (False, Cancelled)):
        running = dispatch.Running(caller, lambda value: None, may_be_ended=True)
        work = gevent.spawn(dispatch.run, offered, running, b"\x80")
        gevent.spawn_later(0.1, running.take_back, "its time is up", expired=expired)
        with pytest.raises(kind):
            work.get(timeout=20)
