"""A loop that is held says who held it, and how long."""

from __future__ import annotations

import logging
import time

import gevent
import pytest
from cluster import Cluster
from contract import until

from nova0.mesh.stalls import Stalls


def hold_the_loop(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@pytest.fixture
def watched(request):
    heard = []
    stalls = Stalls("lab1/host", getattr(request, "param", 100), heard.append)
    stalls.start()
    yield heard
    stalls.stop()


@pytest.mark.design("L4")
def test_the_stack_that_held_the_loop_is_logged_once_with_how_long(watched, caplog):
    gevent.sleep(0.2)
    with caplog.at_level(logging.WARNING, "nova0.mesh.stalls"):
        hold_the_loop(1.5)
        until(lambda: "hold_the_loop" in caplog.text, 10, "it is said")
    lines = [record.getMessage() for record in caplog.records if "hold_the_loop" in record.getMessage()]
    assert len(lines) == 1 and "lab1/host: the loop was held for" in lines[0]
    assert max(watched) > 1.0


@pytest.mark.parametrize("watched", [0], indirect=True)
def test_with_nought_nobody_looks(watched, caplog):
    hold_the_loop(0.5)
    gevent.sleep(0.1)
    assert watched == [] and not [r for r in caplog.records if r.name == "nova0.mesh.stalls"]


def test_a_node_counts_its_stalls(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        node = cluster.bus("lab0", "controller", ("controller",))
        node.start()
        gevent.sleep(0.2)
        before = node.counts.stalls
        hold_the_loop(0.6)
        until(lambda: node.counts.stalls > before, 10, "it is counted")
    finally:
        cluster.close()
