"""The judge of histories finds each broken promise in a history made by hand, and none in a good one."""

from __future__ import annotations

import itertools
import json

import pytest
from history import check, read, summary

clock = itertools.count(1)


def begin(call="c1", number=1, node="lab1/p", id="r1", repeatable=False, hash="h"):
    return {
        "e": "begin", "t": next(clock), "node": node, "call": call, "try": number,
        "id": id, "repeatable": repeatable, "hash": hash, "to": "lab2",
    }  # fmt: skip


def run(call="c1", number=1, node="lab2/p", boot=1, caller="lab1/p", id="r1", hash="h"):
    return {
        "e": "run", "t": next(clock), "node": node, "boot": boot, "number": number,
        "caller": caller, "id": id, "call": call, "hash": hash,
    }  # fmt: skip


def end(outcome="ok", call="c1", number=1, stamp="lab2/p:1:1", of=None, node="lab1/p"):
    value = {"call": of or call, "stamp": stamp} if outcome == "ok" else ""
    return {"e": "end", "t": next(clock), "node": node, "call": call, "try": number, "outcome": outcome, "value": value}


def boot(node="lab2/p", number=2):
    return {"e": "boot", "t": next(clock), "node": node, "boot": number}


GOOD = {
    "an answer": lambda: [begin(), run(), end()],
    "a time-out that ran, and the same answer later": lambda: [
        begin(), run(), end("CallTimeout"), begin(number=2), end(number=2),
    ],
    "a time-out, and nobody ever started it": lambda: [begin(), end("CallTimeout")],
    "a caller that was killed": lambda: [begin(), run()],
    "refused and not started, then taken": lambda: [begin(), end("Busy"), begin(number=2), run(), end(number=2)],
    "a first try ran late, after a later one was refused": lambda: [
        begin(), end("CallTimeout"), begin(number=2), end("Unreachable", number=2), run(),
    ],
    "unknown after a restart": lambda: [begin(), run(), boot(), end("OutcomeUnknown")],
    "a repeatable one that ran twice": lambda: [
        begin(repeatable=True), run(), run(number=2), end(stamp="lab2/p:1:2"),
    ],
}  # fmt: skip

BAD = {
    "executed 2 times": lambda: [begin(), run(), run(number=2), end()],
    "executed 2 times: lab2/p:1:1 at .*lab3/p": lambda: [begin(), run(), run(node="lab3/p"), end()],
    "executed 2 times.*lab2/p:2:1": lambda: [
        begin(), run(), end("CallTimeout"), boot(), begin(number=2), run(boot=2), end(number=2, stamp="lab2/p:2:1"),
    ],
    "no such execution is recorded": lambda: [begin(), end()],
    "no such execution": lambda: [begin(repeatable=True), run(), end(stamp="lab2/p:9:9")],
    "different answers": lambda: [
        begin(), run(), end(), begin(number=2), run(number=2), end(number=2, stamp="lab2/p:1:2"),
    ],
    "was given the answer to c2": lambda: [
        begin(), begin(call="c2", id="r2"), run(), run(call="c2", number=2, id="r2"),
        end(of="c2", stamp="lab2/p:1:2"), end(call="c2", stamp="lab2/p:1:2"),
    ],
    "though every try was told Unreachable": lambda: [begin(), run(), end("Unreachable")],
    "though every try was told Busy": lambda: [begin(), end("Busy"), run()],
    "every try was told Busy, Unreachable": lambda: [
        begin(), end("Busy"), run(), begin(number=2), end("Unreachable", number=2),
    ],
    "ran it for lab9/p": lambda: [begin(), run(caller="lab9/p"), end()],
    "with other arguments": lambda: [begin(), run(hash="other"), end()],
    "asked by nobody": lambda: [run()],
    "no node restarted": lambda: [boot(), begin(), run(), end("OutcomeUnknown")],
    "ended as TypeError": lambda: [begin(), end("TypeError")],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_found_good(name):
    assert check(GOOD[name]()) == []


@pytest.mark.parametrize("finding", BAD)
def test_each_broken_promise_is_found(finding):
    import re

    found = check(BAD[finding]())
    assert any(re.search(finding, line) for line in found), found


def test_one_bad_call_is_found_among_many_good_ones():
    events = []
    for number in range(500):
        call = f"n{number}"
        events += [begin(call, id=call), run(call, number, id=call), end(call=call, stamp=f"lab2/p:1:{number}")]
    assert check(events) == []
    bad = run("n77", 999, id="n77")
    assert [line.partition(" ")[0] for line in check([*events, bad])] == ["n77"]


def test_a_history_is_read_back_without_the_line_a_kill_cut_off(tmp_path):
    whole = [begin(), run(), end()]
    (tmp_path / "lab1.history").write_text("".join(json.dumps(e) + "\n" for e in (whole[0], whole[2])))
    (tmp_path / "lab2.history").write_text(json.dumps(whole[1]) + "\n" + json.dumps(run())[:30])
    assert read(tmp_path) == whole
    assert summary(read(tmp_path)) == {
        "calls": 1, "tries": 1, "executions": 1, "starts": 0, "outcomes": {"ok": 1}, "without_an_end": 0,
    }  # fmt: skip
