"""What the others see when a process dies, is held, is stopped, leaves or comes back; real processes."""

from __future__ import annotations

import signal
import socket as sockets

import gevent
import pytest
import zmq
from cluster import Cluster
from contract import PaintAPI, until

from nova0.mesh import keys, monitor
from nova0.mesh.bus import Status
from nova0.mesh.errors import CallTimeout, OutcomeUnknown, Unreachable
from nova0.mesh.zap import dial_curve, limit


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.start()
    yield cluster
    cluster.close()


def status(node, of):
    return next((m.status for m in node.members() if m.node == of), None)


def member(node, of):
    return next(m for m in node.members() if m.node == of)


@pytest.mark.slow
@pytest.mark.covers("S040", "S206")
def test_a_killed_process_is_down_within_five_seconds_everywhere_and_up_again_at_its_return(lab):
    watcher = lab.bus("lab3")
    watcher.start()
    settings = lab.member("lab1")
    lab1 = lab.process(settings).ready()
    for node in (lab.main, watcher):
        until(lambda node=node: status(node, "lab1/host") == Status.UP, 3, "seen within 3 s of its start")
    lab1.signal(signal.SIGKILL)
    for node in (lab.main, watcher):
        until(lambda node=node: status(node, "lab1/host") == Status.DOWN, 5, "down within 5 s")
    assert "listens" in member(lab.main, "lab1/host").detail or "cut" in member(lab.main, "lab1/host").detail
    assert status(lab.main, "lab3/host") == Status.UP
    with pytest.raises(Unreachable), gevent.Timeout(10, AssertionError("must be said at once")):
        lab.main.stub(PaintAPI, "lab1").where()
    lab.process(settings).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 4, "back")
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"


@pytest.mark.slow
def test_a_stopped_process_is_down_within_five_seconds(lab):
    lab1 = lab.process(lab.member("lab1")).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    lab1.signal(signal.SIGSTOP)
    until(lambda: status(lab.main, "lab1/host") == Status.DOWN, 5.5, "down")
    lab1.signal(signal.SIGCONT)
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 5, "up again by itself")


@pytest.mark.slow
def test_a_held_loop_is_told_from_a_dead_process(lab):
    lab1 = lab.process(lab.member("lab1")).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"  # the link is up, not only heard of
    lab1.signal(signal.SIGUSR1)
    until(lambda: status(lab.main, "lab1/host") == Status.DOWN, 6, "down")
    assert "loop is held" in member(lab.main, "lab1/host").detail
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 5, "up again by itself")


@pytest.mark.design("L11")
def test_a_clean_end_says_goodbye_at_once(lab):
    lab1 = lab.process(lab.member("lab1")).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"  # the link is up, not only heard of
    lab1.signal(signal.SIGTERM)
    until(lambda: status(lab.main, "lab1/host") == Status.LEFT, what="left, and not down")


@pytest.mark.covers("S206", "S205")
@pytest.mark.design("C9")
def test_an_effect_whose_end_was_not_recorded_is_never_run_again(lab):
    settings = lab.member("lab1")
    lab1 = lab.process(settings).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    asked = gevent.spawn(lab.main.stub(PaintAPI, "lab1", request_id="step-7").count, "30")
    until(lambda: "count begins" in lab1.lines, 5)
    lab1.kill()
    again = lab.process(settings).ready()
    # the pending call is asked again by the mesh as soon as the link is back, under the same id
    with pytest.raises(OutcomeUnknown, match="lab1"):
        asked.get(timeout=30)
    with pytest.raises(OutcomeUnknown):
        lab.main.stub(PaintAPI, "lab1", request_id="step-7").count("30")
    assert "count begins" not in again.lines


@pytest.mark.covers("S191", "S205", "S206")
@pytest.mark.design("C8")
def test_a_recorded_answer_survives_the_callee(lab):
    settings = lab.member("lab1")
    lab1 = lab.process(settings).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    assert lab.main.stub(PaintAPI, "lab1", request_id="step-8").count("x") == 1
    lab1.kill()
    again = lab.process(settings).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 5)
    assert lab.main.stub(PaintAPI, "lab1", request_id="step-8").count("x") == 1
    assert "count begins" not in again.lines


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("mesh.intent.written", "unknown"),
        pytest.param("mesh.answer.before", 1, marks=pytest.mark.slow),
        pytest.param("mesh.answer.after", 1, marks=pytest.mark.slow),
    ],
)
@pytest.mark.design("C10")
def test_a_crash_around_the_answer_runs_nothing_twice(lab, point, expected):
    settings = lab.member("lab1")
    lab.process(settings, NOVA0_CRASH_AT=point).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    asked = gevent.spawn(lab.main.stub(PaintAPI, "lab1", request_id="step-9").count, "x")
    until(lambda: lab.processes[-1].process.poll() is not None, 5, "it crashed")
    again = lab.process(settings).ready()
    try:
        outcome = asked.get(timeout=30)
    except OutcomeUnknown:
        outcome = "unknown"
    assert outcome == expected
    assert "count begins" not in again.lines


@pytest.mark.slow
def test_a_call_that_waits_for_a_dead_peer_ends(lab):
    lab1 = lab.process(lab.member("lab1")).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    asked = gevent.spawn(lab.main.stub(PaintAPI, "lab1", timeout_s=4).slow, 30.0)
    gevent.sleep(0.3)
    lab1.kill()
    with pytest.raises(CallTimeout, match="lab1"):
        asked.get(timeout=30)


@pytest.mark.slow
@pytest.mark.design("C15")
def test_long_work_outlives_the_silence_a_caller_tolerates(lab):
    """`slow` is of class LONG, 10 s of silence; here 2 s, kept alive by the callee's working beats."""
    from nova0.mesh.surface import Timeout

    lab.process(lab.member("lab1")).ready()
    until(lambda: status(lab.main, "lab1/host") == Status.UP, 3)
    from nova0.mesh.codec import decode, encode

    body = lab.main.calling.ask("paint", "lab1", "slow", encode({"seconds": 4.0}), patience=Timeout("test", 2.0, 20.0))
    assert decode(body) == "done"


@pytest.mark.design("D7")
@pytest.mark.slow
def test_everything_restarts_and_finds_itself_from_memory(tmp_path):
    """No mDNS, no seeds, ephemeral ports: what each remembers is enough."""
    cluster = Cluster(tmp_path)
    try:
        main = cluster.bus("lab0", "controller", ("controller",))
        main.start()
        hosts = [cluster.bus(f"lab{n}") for n in (1, 2)]
        for node in hosts:
            node.start()
        everyone = [main, *hosts]
        for node in everyone:
            until(lambda node=node: sum(m.status == Status.UP for m in node.members()) == 3, 3)
        gevent.sleep(1.2)  # until the roster is on disk
        for node in everyone:
            node.stop()
        again = [type(node)(node.settings) for node in everyone]
        cluster.nodes += again
        for node in again[1:]:  # the controller stays away: hosts find each other
            node.start()
        until(lambda: status(again[1], "lab2/host") == Status.UP, 4, "hosts meet without a controller")
        assert status(again[1], "lab0/controller") == Status.UNKNOWN
        again[0].start()
        for node in again:
            until(lambda node=node: sum(m.status == Status.UP for m in node.members()) == 3, 4)
    finally:
        cluster.close()


def test_two_processes_of_one_machine_share_its_identity(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        main = cluster.bus("lab0", "controller", ("controller",))
        main.start()
        from contract import PaintAgent

        side = cluster.bus("lab0", "host", ("host",))
        side.offer(PaintAgent(side))
        side.start()
        for node in (main, side):
            until(lambda node=node: sum(m.status == Status.UP for m in node.members()) == 2, 3)
        assert main.stub(PaintAPI, "lab0").near() == "lab0/host"
        assert main.stub(PaintAPI, "lab0").count("x") == 1
        away = cluster.bus("lab1")
        away.start()
        until(lambda: sum(m.status == Status.UP for m in away.members()) == 3, 3)
        assert away.stub(PaintAPI, "lab0").add(1, 1) == 2
    finally:
        cluster.close()


@pytest.mark.design("L12")
@pytest.mark.parametrize(("ends_it", "said", "locked_out"), [(False, "busy", False), (True, "another key", True)])
def test_a_handshake_that_takes_too_long_is_told_from_one_that_is_refused(monkeypatch, ends_it, said, locked_out):
    monkeypatch.setattr(monitor, "SLOW_S", 60.0 if ends_it else 0.2)
    context, told = zmq.Context(), []
    dealer = context.socket(zmq.DEALER)
    pair = keys.CurvePair(zmq.curve_keypair()[1])
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        dial_curve(dealer, pair, pair.public)
        limit(dealer, most_bytes=1000, handshake_s=0.5)
        dealer.setsockopt(zmq.RECONNECT_IVL, -1)
        watch = monitor.Dialled(context, dealer, lambda *why: told.append(why))
        dealer.connect(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        until(lambda: watch.reached, 20, "TCP stands")
        connection, _ = listening.accept()
        if ends_it:
            connection.close()
        until(lambda: told, 20, "its end is seen")
        connection.close()
    watch.close()
    context.destroy(0)
    assert said in told[0][0] and told[0][1] is locked_out
