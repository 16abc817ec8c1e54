"""The trace of a request reaches the hosts that work for it, long after the request was answered."""

from __future__ import annotations

import pytest

from nova0 import log, trace
from nova0.controller.context import RequestContext

SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.covers("S362")
def test_hosts_are_asked_in_child_spans_of_the_request_s_trace(cloud, monkeypatch):
    host = cloud.host("lab1")
    heard = []

    def note(uuid, *args):
        heard.append((host.bus.caller().context, dict(log.request.get())))

    host.script["prepare"] = host.script["start"] = note
    asked = RequestContext(request_id="req-1", user_id="u", project_id="p", traceparent=SENT)
    monkeypatch.setattr(cloud, "context", lambda: asked)
    cloud.settled(cloud.boot())
    assert len(heard) >= 2 and all(told == logged for told, logged in heard)
    assert {context["request_id"] for context, _ in heard} == {"req-1"}
    spans = [trace.parse(context["traceparent"]) for context, _ in heard]
    assert {span[0] for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert len({span[1] for span in spans} | {trace.parse(SENT)[1]}) == len(heard) + 1


def test_without_a_trace_none_is_made_up(cloud):
    host = cloud.host("lab1")
    heard = []
    host.script["prepare"] = lambda uuid, *args: heard.append(host.bus.caller().context)
    cloud.settled(cloud.boot())
    assert heard and all("traceparent" not in context for context in heard)
