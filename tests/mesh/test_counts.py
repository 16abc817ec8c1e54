"""What a node counts of its work, as another node and Prometheus are told it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cluster import Cluster
from contract import OutOfPaint, PaintAgent, PaintAPI, until
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import nova0
from nova0 import metrics
from nova0.mesh import counts
from nova0.mesh.bus import Status
from nova0.mesh.errors import NotAllowed, Unreachable
from nova0.mesh.mesh_api import MeshAPI

WAIT_S = 20


@pytest.fixture
def pair(tmp_path):
    cluster = Cluster(tmp_path)
    controller = cluster.bus("lab0", "controller", ("controller",))
    host = cluster.bus("lab1", "host", ("host",))
    agent = PaintAgent(host)
    host.offer(agent)
    controller.start()
    host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP and m.topics for m in controller.members()), WAIT_S)
    yield controller, host, agent
    cluster.close()


def told(bus, host) -> dict[tuple, float]:
    """Every sample of that host's node as Prometheus would read it: (name, sorted labels) -> value."""
    text = metrics.render(bus.stub(MeshAPI, host).metrics()).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def paint(name, method, **labels):
    return (f"nova0_mesh_{name}", *sorted({"method": method, "topic": "paint", **labels}.items()))


@pytest.mark.design("O1")
def test_both_ends_of_a_call_count_it_by_method_and_outcome(pair):
    controller, _, _ = pair
    stub = controller.stub(PaintAPI, "lab1")
    for _ in range(3):
        assert stub.add(1) == 11
    with pytest.raises(OutOfPaint):
        stub.fail("own")
    with pytest.raises(NotAllowed):
        stub.near()
    there, here = told(controller, "lab1"), told(controller, "lab0")
    for seen, name in ((there, "calls_answered_total"), (here, "calls_asked_total")):
        assert seen[paint(name, "add", outcome="ok")] == 3
        assert seen[paint(name, "fail", outcome="OutOfPaint")] == 1
    assert there["nova0_mesh_calls_refused_total", ("reason", "NotAllowed")] == 1
    assert here[paint("calls_asked_total", "near", outcome="NotAllowed")] == 1
    for seen, name in ((there, "answered_seconds"), (here, "asked_seconds")):
        assert seen[paint(f"{name}_count", "add")] == 3 == seen[paint(f"{name}_bucket", "add", le="+Inf")]
        assert 0 < seen[paint(f"{name}_sum", "add")] < 3 * WAIT_S


@pytest.mark.design("O2")
def test_casts_bytes_links_peers_and_the_process_are_counted(pair):
    controller, _host, agent = pair
    before = told(controller, "lab1")

    def heard():
        controller.stub(PaintAPI).colour("red")
        return agent.colours

    until(heard, WAIT_S)
    with pytest.raises(Unreachable):
        controller.stub(PaintAPI, "lab9").add(1)
    here, there = told(controller, "lab0"), told(controller, "lab1")
    assert here["nova0_mesh_casts_sent_total", ("topic", "paint")] >= 1
    assert there[paint("casts_heard_total", "colour", outcome="ok")] >= 1
    assert here[paint("calls_asked_total", "add", outcome="Unreachable")] == 1
    for name in ("received_bytes_total", "sent_bytes_total", "received_frames_total", "sent_frames_total"):
        for of in ("calls", "casts"):
            key = (f"nova0_mesh_{name}", ("of", of))
            until(lambda key=key: told(controller, "lab1")[key] > before[key], WAIT_S, key)
    assert sum(there["nova0_mesh_peers", ("status", str(status))] for status in Status) == 1
    until(lambda: told(controller, "lab1")["nova0_mesh_links",] == 1, WAIT_S)
    assert there["nova0_mesh_links_up_total",] >= 1
    assert there["nova0_mesh_journal_records",] == 0 and there["nova0_mesh_queue_frames", ("of", "calls")] == 0
    assert there["process_resident_memory_bytes",] > 1e6 and there["process_open_fds",] > 5
    assert there["nova0_info", ("node", "lab1/host"), ("version", nova0.__version__)] == 1


def test_gaps_reconnects_refused_strangers_and_stalls_are_counted(pair):
    controller, host, _ = pair
    link = until(lambda: host.roster.peers["lab0/controller"].link, WAIT_S)
    until(lambda: link.up, WAIT_S)
    link._broken("as if the cable was pulled", False)
    until(lambda: told(controller, "lab1")["nova0_mesh_reconnects_total",] >= 1, WAIT_S)
    controller.lost_casts("paint", "lab1/host")
    controller.refusals.note("192.0.2.7", "no key")
    controller.counts.stalled(0.25)
    seen = told(controller, "lab0")
    assert seen["nova0_mesh_gaps_total",] >= 1
    assert seen["nova0_mesh_strangers_refused_total",] >= 1
    assert seen["nova0_mesh_loop_stalls_total",] >= 1 and seen["nova0_mesh_loop_stalled_seconds_total",] >= 0.25
    assert told(controller, "lab1")["nova0_mesh_links_cut_total",] >= 1


def test_totals_leave_out_the_node_s_own_bookkeeping(pair):
    controller, _host, _ = pair
    controller.stub(PaintAPI, "lab1").add(1)
    for _ in range(3):
        seen = controller.stub(MeshAPI, "lab1").totals()
    assert (seen.node, seen.answered, seen.asked, seen.failed) == ("lab1/host", 1, 0, 0)
    assert sum(seen.buckets) == 1 and seen.bytes_in > 100 and seen.bytes_out > 100
    mine = controller.stub(MeshAPI, "lab0").totals()
    assert (mine.asked, sum(mine.asked_buckets), mine.answered) == (1, 1, 0)


def test_links_say_whom_a_node_has_dialled(pair):
    controller, host, _ = pair
    until(lambda: [x.up for x in controller.stub(MeshAPI, "lab1").links()] == [True], WAIT_S)
    [seen] = controller.stub(MeshAPI, "lab1").links()
    assert (seen.node, seen.listens) == ("lab0/controller", True)
    controller.stop()
    until(lambda: [bool(x.trouble) for x in host.stub(MeshAPI, "lab1").links() if not x.up] == [True], WAIT_S)


@pytest.mark.design("O3")
def test_names_a_person_types_do_not_grow_the_table_without_bound(pair):
    _, host, _ = pair
    made = host.counts
    for number in range(counts.MOST_ASKED + 50):
        made.asking("typed", f"m{number}").took(0.001)
    assert len(made.asked) <= counts.MOST_ASKED + 1
    assert made.asked[counts.OTHER].count >= 50


def test_an_error_without_a_class_on_this_side_counts_under_one_label(pair):
    controller, _, _ = pair
    with pytest.raises(Exception, match="made up"):
        controller.stub(PaintAPI, "lab1").fail("made up")
    assert told(controller, "lab1")[paint("calls_answered_total", "fail", outcome="RemoteError")] == 1


def test_counting_does_not_load_the_prometheus_library():
    script = "import sys, nova0.mesh.node; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@given(st.lists(st.floats(0, 4000), max_size=60))
def test_buckets_hold_every_duration_once_and_quantiles_stay_within_them(seconds):
    tally = metrics.Tally()
    for one in seconds:
        tally.took(one)
    assert tally.count == len(seconds) and tally.outcomes() == {"ok": len(seconds)}
    family = metrics.histogram("x", "x", [({"a": "b"}, tally)])
    text = metrics.render([family]).decode()
    [read] = text_string_to_metric_families(text)
    for sample in read.samples:
        if sample.name == "x_bucket":
            assert sample.value == sum(one <= float(sample.labels["le"]) for one in seconds)
    median = metrics.quantile(tally.buckets, 0.5)
    if not seconds:
        assert median is None
    else:
        bound = sorted(seconds)[(len(seconds) - 1) // 2]
        above = next((b for b in metrics.BOUNDS_S if b >= bound), metrics.BOUNDS_S[-1])
        below = max((b for b in metrics.BOUNDS_S if b < bound), default=0.0)
        assert below <= median <= above
