"""W3C Trace Context: the `traceparent` that names a trace and the span a call was made in.

Taken at the edge, or made there; a call carries a new span id of the same trace, so each hop's parent is known.
No spans are kept or sent anywhere here: log lines bear the ids, and what collects logs can join them. `tracestate`
ends at the edge, for nothing is asked of systems beyond the cluster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

KEY = "traceparent"  # in the context of a call, as in a header
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
_VERSION_0 = 55  # characters, exactly
SAMPLED = 1


def parse(text: object) -> tuple[str, str, int] | None:
    """(trace id, span id, flags), or None for what the specification calls invalid: other characters (capital
    letters too), ids of zeros, version ff, or anything after a version 00. Of a later version what is known."""
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 512 else None
    if found is None:
        return None
    version, trace_id, span_id, flags = found.groups()
    if version == "ff" or (version == "00" and found.end() != _VERSION_0):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return trace_id, span_id, int(flags, 16)


def received(text: object = None) -> str:
    """The traceparent of our own span for what somebody asked with this one: the same trace if it is valid, else
    a new one, not sampled."""
    known = parse(text)
    trace_id, flags = (known[0], known[2]) if known else (_fresh(16), 0)
    return f"00-{trace_id}-{_fresh(8)}-{flags & SAMPLED:02x}"


def onward(context: dict[str, Any] | None) -> dict[str, Any]:
    """The context for one call made while `context` holds: with a child span where there is a valid trace,
    without one where it is not valid."""
    if not context:
        return {}
    if KEY not in context:
        return context
    if parse(context[KEY]) is None:
        return {key: value for key, value in context.items() if key != KEY}
    return {**context, KEY: received(context[KEY])}


def carried(context: Mapping[str, Any]) -> dict[str, str]:
    """Only the traceparent of a context, if it has one."""
    return {KEY: context[KEY]} if context.get(KEY) else {}


def shown(text: object) -> str:
    """For log lines: "trace=ID/SPAN", or nothing."""
    known = parse(text)
    return f"trace={known[0]}/{known[1]}" if known else ""


def _fresh(size: int) -> str:
    """Random hexadecimal digits for `size` bytes, not all zeros."""
    made = os.urandom(size)
    return made.hex() if any(made) else _fresh(size)
