"""The rules of liveness and damping as functions of time: no socket, no clock but the test's own."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nova0.mesh import wire
from nova0.mesh.bus import Status
from nova0.mesh.flapping import HALF_LIFE_S, REUSE, SUPPRESS, Flaps
from nova0.mesh.liveness import CUT_S, STALL_S, Judge
from nova0.mesh.peer import Peer

SILENCE_S, PROBE_S, TICK_S = 2.2, 2.0, 0.2


def a_peer(name):
    peer = Peer(wire.Card(f"{name}/host", ("host",), (), "127.0.0.1", 1, 2, 3, 0, b"k" * 32, "0", 1))
    peer.watched = True
    return peer


class Watcher(RuleBasedStateMachine):
    """A Judge beside a model that only remembers when each peer last gave a sign and when we ourselves were held."""

    def __init__(self):
        super().__init__()
        self.judge, self.now = Judge(SILENCE_S, PROBE_S), 1000.0
        self.peers = [a_peer(f"lab{n}") for n in range(3)]
        self.sign = {}  # node -> last sign of life, moved by our own stalls
        self.probed = set()
        self.went_down_early = None
        for peer in self.peers:
            self._hear(peer)
        self._tick()

    def _hear(self, peer):
        peer.heard_at = self.now
        peer.cut_at = None
        peer.status = Status.UP
        self.sign[peer.node] = self.now

    def _tick(self):
        for verdict in self.judge.tick(self.now, self.peers):
            if verdict.probe:
                self.probed.add(verdict.peer.node)
            if verdict.status is Status.DOWN and self.now - self.sign[verdict.peer.node] < PROBE_S:
                self.went_down_early = verdict.peer.node
            if verdict.status is Status.DOWN and verdict.peer.node not in self.probed:
                self.went_down_early = f"{verdict.peer.node} without a probe"
            if verdict.status is not None:
                verdict.peer.status = verdict.status

    @rule(which=st.integers(0, 2))
    def heard(self, which):
        self._hear(self.peers[which])
        self.probed.discard(self.peers[which].node)

    @rule(ticks=st.integers(1, 30), speaking=st.sets(st.integers(0, 2)))
    def time_passes(self, ticks, speaking):
        """In steps of a tick; those who speak are heard every second."""
        for step in range(ticks):
            self.now += TICK_S
            if step % 5 == 0:
                for which in speaking:
                    self.heard(which)
            self._tick()

    @rule(seconds=st.floats(STALL_S + 0.1, 100))
    def we_are_held(self, seconds):
        """Everybody gets the time back that we did not listen."""
        self.now += seconds
        for node in self.sign:
            self.sign[node] += seconds
        before = {peer.node: peer.status for peer in self.peers}
        self._tick()
        assert {peer.node: peer.status for peer in self.peers} == before, "a node judges nobody by its own stall"

    @rule(which=st.integers(0, 2))
    def its_connection_breaks(self, which):
        if self.peers[which].status is Status.UP:
            self.peers[which].cut_at = self.now
            self.judge.look_at(self.peers[which])

    @rule(which=st.integers(0, 2))
    @precondition(lambda self: any(p.status is Status.SUSPECT for p in self.peers))
    def a_witness_speaks_for_it(self, which):
        peer = self.peers[which]
        if peer.status is Status.SUSPECT:
            peer.suspect_at = self.now
            self.sign[peer.node] = max(self.sign[peer.node], self.now - SILENCE_S)

    @invariant()
    def never_down_while_heard_or_unprobed(self):
        assert self.went_down_early is None

    @invariant()
    def the_silent_are_down_in_time(self):
        for peer in self.peers:
            bound = SILENCE_S + SILENCE_S + PROBE_S + 3 * TICK_S  # SILENCE_S once more for what a witness put off
            if self.now - self.sign[peer.node] > bound:
                assert peer.status is Status.DOWN, f"{peer.node} silent for {self.now - self.sign[peer.node]:.1f} s"


Watcher.TestCase.settings = settings(stateful_step_count=30, deadline=None)
TestWatcher = pytest.mark.design("L1")(Watcher.TestCase)


@pytest.mark.design("L2")
def test_a_broken_connection_is_a_suspicion_unless_it_is_made_anew():
    for again, expected in ((False, Status.SUSPECT), (True, None)):
        judge, peer = Judge(SILENCE_S, PROBE_S), a_peer("lab1")
        peer.status, peer.heard_at, peer.cut_at = Status.UP, 10.0, 10.0
        if again:
            peer.cut_at = None  # as a greeting does
        verdicts = judge.tick(10.0 + CUT_S, [peer])
        assert [v.status for v in verdicts] == ([expected] if expected else [])


def test_in_most_ticks_only_those_are_looked_at_with_whom_something_is():
    class Peers(list):
        times = 0

        def __iter__(self):
            self.times += 1
            return super().__iter__()

    judge, peers = Judge(SILENCE_S, PROBE_S), Peers(a_peer(f"lab{n}") for n in range(5))
    for peer in peers:
        peer.status, peer.heard_at = Status.UP, 10.0
    assert judge.tick(10.0, peers) == []
    for peer in list(peers)[1:]:
        peer.heard_at = 11.0
    cut = peers[1]
    cut.cut_at = 11.0
    judge.look_at(cut)
    times = peers.times
    assert [judge.tick(now, peers) for now in (10.5, 11.1)] == [[], []]
    assert [v.peer for v in judge.tick(11.0 + CUT_S, peers)] == [cut]
    cut.status = Status.UP  # it was heard of at once
    assert peers.times == times, "nobody else"
    assert judge.tick(12.0, peers) == []
    silent = judge.tick(10.0 + SILENCE_S + TICK_S, peers)
    assert [v.peer for v in silent if v.status is Status.SUSPECT] == [peers[0]] and peers.times == times + 1


@pytest.mark.design("L3")
def test_who_goes_again_and_again_is_held_back_until_steady():
    flaps, now = Flaps(), 0.0
    flaps.went(Status.DOWN, now)
    assert not flaps.damped, "once is no flapping"
    while not flaps.damped:
        now += 4
        flaps.went(Status.SUSPECT, now)  # costs nothing
        flaps.went(Status.DOWN, now)
        assert now < 60
    assert flaps.penalty(now) > SUPPRESS and flaps.times >= 3
    held = flaps.held_s(now)
    assert not flaps.calm(now + held - 1) and flaps.calm(now + held + 1) and not flaps.damped
    assert flaps.penalty(now + held + 1) < REUSE
    for _ in range(100):
        flaps.went(Status.DOWN, now)
    assert flaps.held_s(now) <= 3 * HALF_LIFE_S, "and never for longer than this"


def test_one_that_restarts_now_and_then_is_not_flapping():
    flaps = Flaps()
    for hour in range(10):
        flaps.went(Status.LEFT, hour * 3600.0)
        flaps.went(Status.DOWN, hour * 3600.0 + 1)
        assert not flaps.damped
