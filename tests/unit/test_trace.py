"""The traceparent of W3C Trace Context: what is taken, what is made, what is shown."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova0 import log, trace

EXAMPLE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


def hexadecimal(size):
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


VALID = st.tuples(
    hexadecimal(16).filter(lambda text: text.strip("0")),
    hexadecimal(8).filter(lambda text: text.strip("0")),
    hexadecimal(1),
)


@given(VALID)
def test_a_valid_one_is_read_and_continued_in_a_new_span(parts):
    trace_id, span_id, flags = parts
    text = f"00-{trace_id}-{span_id}-{flags}"
    assert trace.parse(text) == (trace_id, span_id, int(flags, 16))
    made = trace.parse(trace.received(text))
    assert made[0] == trace_id and made[1] != span_id and made[2] == int(flags, 16) & trace.SAMPLED


@given(st.one_of(st.text(), st.none(), st.integers(), st.text("0123456789abcdefABCDEF-", max_size=70)))
def test_whatever_is_sent_a_valid_one_comes_out(sent):
    made = trace.received(sent)
    assert FORM.fullmatch(made)
    known = trace.parse(sent)
    assert (known is not None) == (trace.parse(made)[0] == (known or ("",))[0])


@given(VALID, st.integers(0, 54), st.characters())
def test_one_wrong_character_makes_it_invalid_or_it_stays_within_the_form(parts, at, character):
    text = f"00-{parts[0]}-{parts[1]}-{parts[2]}"
    changed = text[:at] + character + text[at + 1 :]
    if trace.parse(changed) is not None:
        assert re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", changed, re.ASCII)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EXAMPLE.upper(),
        EXAMPLE + "-",
        EXAMPLE + "-more",
        EXAMPLE + "\n",
        EXAMPLE[:-1],
        EXAMPLE + "," + EXAMPLE,  # two headers, joined by the server
        "ff" + EXAMPLE[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "01" + EXAMPLE[2:] + "more",
        "\u0660\u0660" + EXAMPLE[2:],
    ],
)
def test_what_the_specification_calls_invalid_begins_a_new_trace(text):
    assert trace.parse(text) is None
    assert trace.parse(trace.received(text))[2] == 0 and trace.received(text) != trace.received(text)


def test_of_a_later_version_what_is_known_is_used():
    for text in ("01" + EXAMPLE[2:], "01" + EXAMPLE[2:] + "-what-comes"):
        made = trace.received(text)
        assert made.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-") and made.endswith("-01")


def test_a_call_bears_a_child_span_and_nothing_where_there_is_no_trace():
    context = {"request_id": "req-1", "traceparent": EXAMPLE}
    made = trace.onward(context)
    assert made["request_id"] == "req-1" and context["traceparent"] == EXAMPLE
    assert trace.parse(made["traceparent"])[0] == trace.parse(EXAMPLE)[0]
    assert trace.parse(made["traceparent"])[1] != trace.parse(EXAMPLE)[1]
    assert trace.onward(None) == {} and trace.onward({"a": 1}) == {"a": 1}
    assert trace.onward({"a": 1, "traceparent": "wrong"}) == {"a": 1}


def test_a_log_line_bears_trace_and_span_beside_the_request(capsys):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    token = log.request.set({"request_id": "req-1", "traceparent": EXAMPLE})
    try:
        log.setup("INFO")
        logging.getLogger("nova0.test").info("said")
        log.request.set({"request_id": "req-2", "traceparent": "forged]\nline"})
        logging.getLogger("nova0.test").info("said")
    finally:
        log.request.reset(token)
        root.handlers[:] = before
        root.setLevel(level)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("[req-1 trace=4bf92f3577b34da6a3ce929d0e0e4736/00f067aa0ba902b7] said")
    assert second.endswith("[req-2] said")
