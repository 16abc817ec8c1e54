"""What an agent does on a timer: again and again, spread at its start, and one failing run never stops the next."""

from __future__ import annotations

import gevent
import pytest
from contract import until

from nova0.mesh.local import LocalNet
from nova0.mesh.surface import MEMBER, Surface, every


class Gardener(Surface):
    topic = "garden"
    served_by = MEMBER

    def __init__(self):
        self.watered = self.failed = 0

    @every(0.02)
    def water(self):
        self.watered += 1

    @every(0.02)
    def prune(self):
        self.failed += 1
        raise RuntimeError("the shears are gone")


@pytest.mark.covers("S072")
def test_a_timer_runs_again_and_again_and_a_failing_one_too(caplog):
    net = LocalNet()
    bus = net.bus("lab1", "host", ("host",))
    agent = Gardener()
    bus.offer(agent)
    bus.start()
    try:
        until(lambda: agent.watered > 3 and agent.failed > 3, what="both ran four times")
        assert "prune failed; next run in 0.02 s" in caplog.text
    finally:
        bus.stop()
    gevent.sleep(0)  # one that was due in the turn of the end may still have run
    watered, clock = agent.watered, Gardener()
    other = net.bus("lab2", "host", ("host",))
    other.offer(clock)
    other.start()
    try:
        until(lambda: clock.watered > 5, what="another's timer, of the same spacing, ran on")
    finally:
        other.stop()
    assert agent.watered == watered, "nothing runs after the end"
