"""Judges a recorded history of calls: what callers saw against what callees did. Pure; no clock, no mesh.

Events are mappings, one JSON line each, written by the processes themselves (O_APPEND, a line a write, so a
killed process loses nothing it had written). `t` is the machine's monotonic clock, the same in all of them.

    boot    node, boot                                     a process started
    begin   node, call, try, id, repeatable, hash, to      a caller asks; `call` is unique for ever, `id` is the
                                                           request id it gave ("" when the mesh makes one)
    end     node, call, try, outcome, value                "ok" with the callee's value, or the error's kind
    ack     node, call                                     the caller has stored the answer, and asks no more
    run     node, boot, number, caller, id, call, hash     a callee begins to execute

The value of a method is {"call", "stamp"}: what it was asked for, and "node:boot:number" of its run.
A begin without an end is an outcome nobody knows: its caller was killed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOT_STARTED = {"Busy", "Unreachable"}
NOBODY_KNOWS = {"CallTimeout", "OutcomeUnknown"}

Event = dict[str, Any]


def read(folder: Path) -> list[Event]:
    """All events of all processes, by time. A line cut off by a kill is left out."""
    events = []
    for path in sorted(folder.glob("*.history")):
        for line in path.read_bytes().split(b"\n"):
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
    return sorted(events, key=lambda event: event["t"])


def check(events: Iterable[Event]) -> list[str]:
    """One line for each promise that was broken; empty when all were kept."""
    ordered = sorted(events, key=lambda event: event["t"])
    begins: dict[str, list[Event]] = defaultdict(list)
    ends: dict[str, list[Event]] = defaultdict(list)
    runs: dict[str, list[Event]] = defaultdict(list)
    boots: list[Event] = []
    kinds = {"begin": begins, "end": ends, "run": runs}
    for event in ordered:
        if event["e"] == "boot":
            boots.append(event)
        elif event["e"] in kinds:
            kinds[event["e"]][event["call"]].append(event)
    stamps = {stamp(run): run for found in runs.values() for run in found}
    wrong = [
        f"{call}: executed by {ran[0]['node']}, asked by nobody" for call, ran in runs.items() if call not in begins
    ]
    for call, asked in begins.items():
        wrong += _one_call(call, asked, ends.get(call, []), runs.get(call, []), stamps, boots)
    return wrong


def stamp(run: Event) -> str:
    return f"{run['node']}:{run['boot']}:{run['number']}"


def _one_call(
    call: str, asked: list[Event], ended: list[Event], ran: list[Event], stamps: dict[str, Event], boots: list[Event]
) -> list[str]:
    wrong = []
    once = not asked[0]["repeatable"]
    if once and len(ran) > 1:
        where = ", ".join(f"{stamp(run)} at {run['t']:.3f}" for run in ran)
        wrong.append(f"{call} (id {asked[0]['id']!r}): executed {len(ran)} times: {where}")
    for run in ran:
        if run["caller"] != asked[0]["node"]:
            wrong.append(f"{call}: {stamp(run)} ran it for {run['caller']}, asked by {asked[0]['node']}")
        if run["hash"] != asked[0]["hash"]:
            wrong.append(f"{call}: {stamp(run)} ran it with other arguments")
    answers = set()
    for end in ended:
        if end["outcome"] == "ok":
            value = end["value"]
            answers.add(value["stamp"])
            if value["call"] != call:
                wrong.append(f"{call}: {end['node']} was given the answer to {value['call']}")
            elif value["stamp"] not in stamps:
                wrong.append(f"{call}: acknowledged by {value['stamp']}, but no such execution is recorded")
        elif end["outcome"] == "OutcomeUnknown":
            began = min(begin["t"] for begin in asked)
            if not any(began < boot["t"] < end["t"] for boot in boots):
                wrong.append(f"{call}: OutcomeUnknown at {end['t']:.3f}, but no node restarted since it was asked")
        elif end["outcome"] not in NOT_STARTED | NOBODY_KNOWS:
            wrong.append(f"{call}: ended as {end['outcome']}, which no fault explains: {end.get('value')}")
    if once and len(answers) > 1:
        wrong.append(f"{call}: was given different answers: {', '.join(sorted(answers))}")
    return wrong + _said_not_started(call, asked, ended, ran) if once else wrong


def _said_not_started(call: str, asked: list[Event], ended: list[Event], ran: list[Event]) -> list[str]:
    """Busy and Unreachable mean that this try did not start it: then some other try must have, before the run."""
    outcome = {end["try"]: end for end in ended}
    wrong = []
    for run in ran:
        could = [
            begin
            for begin in asked
            if begin["t"] <= run["t"] and outcome.get(begin["try"], {}).get("outcome") not in NOT_STARTED
        ]
        if not could:
            said = ", ".join(sorted({end["outcome"] for end in ended}))
            wrong.append(f"{call}: {stamp(run)} executed it, though every try was told {said}")
    return wrong


def summary(events: Iterable[Event]) -> dict[str, Any]:
    """Figures for a person: calls asked, tries, executions, outcomes, calls whose caller was killed."""
    counts: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    open_: set[tuple[str, int]] = set()
    asked: set[str] = set()
    for event in sorted(events, key=lambda event: event["t"]):
        counts[event["e"]] += 1
        if event["e"] == "begin":
            asked.add(event["call"])
            open_.add((event["call"], event["try"]))
        elif event["e"] == "end":
            outcomes[event["outcome"]] += 1
            open_.discard((event["call"], event["try"]))
    return {
        "calls": len(asked),
        "tries": counts["begin"],
        "executions": counts["run"],
        "starts": counts["boot"],
        "outcomes": dict(outcomes.most_common()),
        "without_an_end": len(open_),
    }
