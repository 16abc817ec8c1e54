"""One trace over several hops: each call a span of its own, on every kind of bus."""

from __future__ import annotations

import json
import os
import sys

import pytest
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until
from gevent.subprocess import PIPE, run
from test_bus_contract import net  # noqa: F401  (both buses)

from nova0 import log, trace
from nova0.mesh.bus import Status
from nova0.mesh.local_client import connect
from nova0.mesh.surface import MEMBER, Surface, call

SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WAIT_S = 20


class Middle(PaintAgent):
    """Asks another host in the name of who asks it."""

    def who(self):
        mine = super().who()
        return {**mine, "next": self.bus.stub(PaintAPI, "lab2").who(), "log": dict(log.request.get() or {})}


@pytest.fixture
def hosts(net):  # noqa: F811
    controller = net.bus("lab0", "controller", ("controller",))
    middle = net.bus("lab1", "host", ("host", "controller"))
    last = net.bus("lab2", "host", ("host",))
    middle.offer(Middle(middle))
    last.offer(PaintAgent(last))
    for bus in (controller, middle, last):
        bus.start()
    for bus in (controller, middle):
        until(lambda bus=bus: sum(m.status == Status.UP and "paint" in m.topics for m in bus.members()) == 2, WAIT_S)
    return controller, middle, last


@pytest.mark.design("O6")
@pytest.mark.covers("S362")
def test_each_hop_is_a_child_span_of_the_same_trace(hosts):
    controller = hosts[0]
    first = controller.stub(PaintAPI, "lab1", context={"request_id": "req-1", "traceparent": SENT}).who()
    second = first["next"]
    spans = [trace.parse(text) for text in (SENT, first["context"]["traceparent"], second["context"]["traceparent"])]
    assert {span[0] for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"} and {span[2] for span in spans} == {1}
    assert len({span[1] for span in spans}) == 3
    assert second["context"]["request_id"] == "req-1" and first["log"] == first["context"]


def test_two_calls_of_one_stub_are_two_spans_and_none_without_a_trace(hosts):
    controller = hosts[0]
    stub = controller.stub(PaintAPI, "lab2", context={"traceparent": SENT})
    assert stub.who()["context"]["traceparent"] != stub.who()["context"]["traceparent"]
    assert controller.stub(PaintAPI, "lab2").who()["context"] == {}
    assert controller.stub(PaintAPI, "lab2", context={"traceparent": "00-wrong"}).who()["context"] == {}


class TellAPI(Surface):
    topic = "user/tell"

    @call(allow=MEMBER, repeatable=True)
    def context(self) -> dict: ...


class Tell(TellAPI):
    def __init__(self, bus):
        self.bus = bus

    def context(self):
        return self.bus.caller().context


@pytest.mark.slow
def test_a_person_continues_a_trace_and_a_malformed_one_begins_another(tmp_path):
    cluster = Cluster(tmp_path / "hosts")
    socket_path = tmp_path / "state" / "run" / "mesh-host.sock"
    node = cluster.bus("lab0", "controller", ("controller",), socket_path=str(socket_path))
    node.offer(Tell(node))
    node.start()
    environment = {**os.environ, "NOVA0_STATE_PATH": str(tmp_path / "state")}

    def typed(*words, **more):
        command = [sys.executable, "-m", "nova0.cli.main", "call", "user/tell", "context", *words]
        done = run(command, env={**environment, **more}, stdout=PIPE, text=True, timeout=120)
        return trace.parse(json.loads(done.stdout).get("traceparent"))

    try:
        with connect(str(socket_path)) as client:
            assert client.call("user/tell", "context") == {}
            assert client.call("user/tell", "context", traceparent="00-wrong")["traceparent"]
        assert typed("--traceparent", SENT)[0] == trace.parse(SENT)[0] == typed(TRACEPARENT=SENT)[0]
        assert typed("--traceparent", "wrong")[0] != trace.parse(SENT)[0]
    finally:
        cluster.close()
