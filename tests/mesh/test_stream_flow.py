"""Credit and half-close as pure rules: whatever the order of sending, arriving and reading."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nova0.mesh.streams.flow import CHUNK, LARGEST, OVERHEAD, SMALLEST, WINDOW, BrokenRules, Flow


class Ends(RuleBasedStateMachine):
    """Two ends and what is under way between them, in order, in both directions."""

    def __init__(self):
        super().__init__()
        windows = (WINDOW, 64 * OVERHEAD)
        self.flows = [Flow(window) for window in windows]
        for here in (0, 1):
            self.flows[here].opened(windows[1 - here])
        self.under_way = [deque(), deque()]  # towards that side
        self.sent, self.read = [0, 0], [0, 0]

    @rule(side=st.sampled_from((0, 1)), size=st.integers(1, 3 * CHUNK))
    def send(self, side, size):
        flow = self.flows[side]
        if not flow.sent_end:
            part = flow.may_send(size)
            assert 0 <= part <= min(size, CHUNK)
            if part:
                flow.sending(part)
                self.under_way[1 - side].append(bytes(part))
                self.sent[side] += part

    @rule(side=st.sampled_from((0, 1)))
    def end(self, side):
        if not self.flows[side].sent_end:
            self.flows[side].end()
            self.under_way[1 - side].append("end")

    @rule(side=st.sampled_from((0, 1)), many=st.integers(1, 5))
    def arrive(self, side, many):
        for _ in range(min(many, len(self.under_way[side]))):
            self._arrive(side)

    @rule(side=st.sampled_from((0, 1)), many=st.integers(1, 5))
    def take(self, side, many):
        for _ in range(min(many, len(self.flows[side].waiting))):
            self._take(side)

    @precondition(lambda self: not any(flow.sent_end for flow in self.flows))
    @rule()
    def when_all_is_read_both_may_send_whole_messages_again(self):
        while any(self.under_way) or any(flow.waiting for flow in self.flows):
            for side in (0, 1):
                if self.under_way[side]:
                    self._arrive(side)
                if self.flows[side].waiting:
                    self._take(side)
        for side in (0, 1):
            assert self.flows[side].may_send(10 * CHUNK) == self.flows[side]._chunk

    @invariant()
    def nothing_is_lost_and_memory_is_bounded(self):
        for side in (0, 1):
            flow, other = self.flows[side], self.flows[1 - side]
            assert 0 <= flow.credit <= other.window
            coming = [m for m in self.under_way[side] if isinstance(m, bytes)]
            held = [*flow.waiting, *coming]
            assert sum(len(body) + OVERHEAD for body in held) <= flow.window
            assert self.sent[1 - side] == self.read[side] + sum(map(len, held))
            if flow.heard_end:
                assert other.sent_end and not coming

    def _arrive(self, side):
        message = self.under_way[side].popleft()
        if isinstance(message, int):
            self.flows[side].granted(message)
        elif message == "end":
            self.flows[side].heard()
        else:
            self.flows[side].arrived(message)

    def _take(self, side):
        body, grant = self.flows[side].take()
        self.read[side] += len(body)
        if grant:
            self.under_way[1 - side].append(grant)


TestEnds = pytest.mark.design("ST3")(Ends.TestCase)
TestEnds.settings = settings(stateful_step_count=60, deadline=None, database=None)


def opened(window=WINDOW):
    flow = Flow(window)
    flow.opened(WINDOW)
    return flow


@pytest.mark.design("ST3")
def test_what_breaks_the_rules_is_refused():
    flow = opened()
    for _ in range(WINDOW // (CHUNK + OVERHEAD)):
        flow.arrived(bytes(CHUNK))
    with pytest.raises(BrokenRules, match="credit"):
        flow.arrived(b"x")
    with pytest.raises(BrokenRules, match="bytes"):
        opened().arrived(b"")
    with pytest.raises(BrokenRules, match="grant"):
        opened().granted(1)  # over what it may hold
    with pytest.raises(BrokenRules, match="grant"):
        opened().granted(0)
    ended = opened()
    ended.heard()
    with pytest.raises(BrokenRules, match="after its end"):
        ended.arrived(b"x")
    with pytest.raises(BrokenRules, match="second end"):
        ended.heard()
    for window in (0, SMALLEST - 1, LARGEST + 1):
        with pytest.raises(BrokenRules, match="window"):
            Flow().opened(window)


@pytest.mark.design("ST3")
def test_a_flood_of_tiny_messages_is_held_back_too():
    flow, sent = opened(), 0
    while flow.may_send(1):
        flow.sending(1)
        sent += 1
    assert sent == WINDOW // (1 + OVERHEAD)
