"""How a node tells what it counts: families for Prometheus, totals for `nova0 top`.

Sums, names and labels are made here, when somebody asks.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Protocol

import nova0
from nova0.mesh.answering import Answering
from nova0.mesh.casting import Casting
from nova0.mesh.counts import Counts
from nova0.mesh.journal import Journal
from nova0.mesh.members import Status
from nova0.mesh.mesh_api import Totals
from nova0.mesh.offers import Offers
from nova0.mesh.refusals import Refusals
from nova0.mesh.roster import Roster
from nova0.mesh.streams.links import Links
from nova0.metrics import BOUNDS_S, Family, Sample, Tally, counter, gauge, histogram, process_families

PRE = "nova0_mesh_"


class Measured(Protocol):
    """The parts of a node that count or hold something."""

    node: str
    counts: Counts
    offers: Offers
    roster: Roster
    answering: Answering
    casting: Casting
    streams: Links
    journal: Journal
    refusals: Refusals


def totals(node: Measured) -> Totals:
    counts = node.counts
    answered = [o.tally for (topic, _), o in node.offers.methods() if topic != "mesh" and o.row.kind == "call"]
    heard = [o.tally for (topic, _), o in node.offers.methods() if topic != "mesh" and o.row.kind == "cast"]
    asked = [tally for (topic, _), tally in counts.asked.items() if topic != "mesh"]
    now = time.monotonic()
    return Totals(
        node=node.node,
        at_s=now,
        up_s=now - counts.started_at,
        load=max(0, node.answering.running - 1),  # this question is one
        answered=sum(t.count for t in answered),
        asked=sum(t.count for t in asked),
        failed=sum(sum(t.failures.values()) for t in answered) + sum(counts.refused_calls.values()),
        buckets=_sum(answered),
        asked_buckets=_sum(asked),
        casts_sent=sum(node.casting.sent().values()),
        casts_heard=sum(t.count for t in heard),
        bytes_in=counts.calls.bytes_in + counts.casts.bytes_in + counts.streams.bytes_in,
        bytes_out=counts.calls.bytes_out + counts.casts.bytes_out + counts.streams.bytes_out,
        gaps=counts.gaps,
        reconnects=counts.reconnects,
        stalls=counts.stalls,
    )


def _sum(tallies: list[Tally]) -> list[int]:
    rows = [t.buckets for t in tallies]
    return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * (len(BOUNDS_S) + 1)


def families(node: Measured) -> list[Family]:
    """Everything, for Prometheus. Labels come from declared methods, kinds of error and a bounded table."""
    counts = node.counts
    peers = list(node.roster.peers.values())
    links = [p.link for p in peers if p.link is not None]
    ours = sorted(node.offers.methods())
    answered = [((topic, name), o.tally) for (topic, name), o in ours if o.row.kind == "call" and o.tally.count]
    heard = [((topic, name), o.tally) for (topic, name), o in ours if o.row.kind == "cast" and o.tally.count]
    asked = sorted(counts.asked.items())
    statuses = Counter(str(p.status) for p in peers if p.listed)
    sent = Counter[str]()
    for topic, number in node.casting.sent().items():
        sent[topic.partition("@")[0]] += number
    return [
        gauge("nova0_info", "Who this is; always 1.", Sample({"node": node.node, "version": nova0.__version__}, 1)),
        gauge(PRE + "up_seconds", "Since this node started.", value=time.monotonic() - counts.started_at),
        counter(PRE + "calls_asked_total", "Calls this node made, by how they ended.", *_outcomes(asked)),
        counter(PRE + "calls_answered_total", "Calls run here, by how they ended.", *_outcomes(answered)),
        counter(PRE + "casts_heard_total", "Casts run here, by how they ended.", *_outcomes(heard)),
        histogram(PRE + "asked_seconds", "From asking to the answer.", _timings(asked)),
        histogram(PRE + "answered_seconds", "Of running a method here.", _timings([*answered, *heard])),
        counter(
            PRE + "calls_refused_total",
            "Calls answered with an error without running anything.",
            *(Sample({"reason": kind}, n) for kind, n in sorted(counts.refused_calls.items())),
        ),
        gauge(PRE + "calls_running", "Calls at work here.", value=node.answering.running),
        gauge(PRE + "calls_waiting", "Calls of this node without an answer.", value=sum(len(x.pending) for x in links)),
        gauge(PRE + "casts_running", "Casts at work here.", value=node.casting.running),
        counter(
            PRE + "casts_sent_total",
            "Casts published.",
            *(Sample({"topic": topic}, n) for topic, n in sorted(sent.items())),
        ),
        counter(PRE + "casts_dropped_total", "Casts not run, over the bound.", value=counts.casts_dropped),
        counter(PRE + "gaps_total", "Times that casts were lost on the way here.", value=counts.gaps),
        gauge(PRE + "peers", "Known nodes.", *(Sample({"status": str(s)}, statuses[str(s)]) for s in Status)),
        gauge(PRE + "links", "Links this node has dialled and that are up.", value=sum(x.up for x in links)),
        counter(PRE + "links_up_total", "Times that a dialled link came up.", value=counts.links_up),
        counter(PRE + "links_cut_total", "Times that a dialled link that was up ended.", value=counts.links_cut),
        counter(PRE + "reconnects_total", "Links that came up again.", value=counts.reconnects),
        counter(PRE + "received_bytes_total", "Payload received.", *_by_kind(counts, "bytes_in")),
        counter(PRE + "sent_bytes_total", "Payload sent.", *_by_kind(counts, "bytes_out")),
        counter(PRE + "received_frames_total", "Frames received; a frame may hold many messages.",
                *_by_kind(counts, "frames_in")),
        counter(PRE + "sent_frames_total", "Frames sent.", *_by_kind(counts, "frames_out")),
        gauge(
            PRE + "queue_frames",
            "Frames that wait for slow peers.",
            Sample({"of": "answers"}, node.answering.queued()),
            Sample({"of": "calls"}, sum(x.queued() for x in links)),
        ),
        gauge(PRE + "streams", "Streams open here.", value=len(node.streams.service.open)),
        counter(PRE + "streams_total", "Streams opened here or from here.", value=node.streams.service.opened),
        gauge(PRE + "journal_records", "Requests kept so that they run only once.", value=len(node.journal)),
        counter(PRE + "strangers_refused_total", "Connections and messages of those who are no members.",
                value=node.refusals.count),
        counter(PRE + "loop_stalls_total", "Times that something held the loop.", value=counts.stalls),
        counter(PRE + "loop_stalled_seconds_total", "For how long.", value=counts.stalled_s),
        *process_families(),
    ]  # fmt: skip


def _outcomes(tallies: list[tuple[tuple[str, str], Tally]]) -> list[Sample]:
    return [
        Sample({"topic": topic, "method": method, "outcome": outcome}, count)
        for (topic, method), tally in tallies
        for outcome, count in tally.outcomes().items()
    ]


def _timings(tallies: list[tuple[tuple[str, str], Tally]]) -> list[tuple[dict[str, str], Tally]]:
    return [({"topic": topic, "method": method}, tally) for (topic, method), tally in tallies]


def _by_kind(counts: Counts, name: str) -> list[Sample]:
    return [
        Sample({"of": "calls"}, getattr(counts.calls, name)),
        Sample({"of": "casts"}, getattr(counts.casts, name)),
        Sample({"of": "streams"}, getattr(counts.streams, name)),
    ]
