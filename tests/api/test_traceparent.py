"""The traceparent header at the edge: continued, or begun, and recorded with the work it caused."""

from __future__ import annotations

import pytest

from nova0 import trace
from nova0.controller.db.operation_tables import OperationRow

pytest_plugins = ("compute_cloud",)
SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def kept(cloud, compute, **headers):
    """What the operation of a server made with these headers carries."""
    answer = cloud.demo.post("/v2.1/servers", compute.body("traced"), version="2.37", headers=headers)
    uuid = answer.json()["server"]["id"]
    row = cloud.store.read(lambda: OperationRow.get(OperationRow.subject == uuid))
    cloud.demo.delete(f"/v2.1/servers/{uuid}")
    return trace.parse(row.data["traceparent"])


@pytest.mark.covers("S362")
def test_a_trace_sent_is_continued_in_a_span_of_the_controller_s(cloud, compute):
    trace_id, span_id, flags = kept(cloud, compute, traceparent=SENT)
    assert (trace_id, flags) == ("4bf92f3577b34da6a3ce929d0e0e4736", 1) and span_id != "00f067aa0ba902b7"


def test_without_one_or_with_a_malformed_one_a_trace_begins(cloud, compute):
    made = [kept(cloud, compute, **headers) for headers in ({}, {"traceparent": SENT.upper()}, {"traceparent": "x"})]
    assert all(made) and len({one[0] for one in made} | {trace.parse(SENT)[0]}) == 4
