"""What arrives may be anything; the readers take it or say BadFrame, and nothing else happens."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova0.mesh import wire
from nova0.mesh.codec import codecs_of
from nova0.mesh.errors import BadArguments, JoinRefused
from nova0.mesh.tokens import parse

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
tagged = st.lists(st.tuples(st.integers(0, 30), plain, plain, plain, plain).map(list), max_size=3)


@given(st.binary(max_size=400) | plain.map(msgspec.msgpack.encode) | tagged.map(msgspec.msgpack.encode))
def test_garbage_never_does_more_than_badframe(body):
    with contextlib.suppress(wire.BadFrame):
        assert isinstance(wire.read_frame(body), list)
    for bytes_ in (body, b"compute\0" + body, b"\0" + body):
        with contextlib.suppress(wire.BadFrame):
            wire.read_signal(bytes_)


def test_deep_nesting_is_refused():
    with pytest.raises(wire.BadFrame):
        wire.read_frame(b"\x91" * 100_000)


@given(st.binary(max_size=200) | plain.map(msgspec.msgpack.encode))
def test_arguments_that_do_not_fit_are_bad_arguments(body):
    from contract import PaintAPI

    for name in ("add", "echo", "colour"):
        with contextlib.suppress(BadArguments):
            assert isinstance(codecs_of(PaintAPI)[name].unpack_arguments(body), dict)


@given(st.text(max_size=200))
def test_what_is_no_token_is_said_to_be_none(text):
    with pytest.raises(JoinRefused):
        parse(text)


def test_every_message_survives_its_own_encoding():
    card = wire.Card("lab1/host", ("host",), ("compute",), "10.0.0.1", 1, 2, 3, 0, b"k" * 32, "0.1", 7)
    messages = [
        wire.Hello(1, 1, b"c" * 32, card),
        wire.Welcome(1, card, members=[wire.Seen(card, "up", 0.5)]),
        wire.Refused({"kind": "Busy", "message": "m", "data": {}}),
        wire.Call(1, "req", "compute", "start", wire.Raw(b"\x80"), 1000, {"a": 1}),
        wire.Answer(1, wire.Raw(b"\xc0")),
        wire.Failure(1, {"kind": "Busy"}),
        wire.Working([1, 2]),
        wire.Progress(1, wire.Raw(b"\x01")),
        wire.Acknowledge(["req"]),
        wire.Ping(1, "lab2/host"),
        wire.Pong(1, "lab2/host", 0.5),
        wire.Goodbye("lab1/host", 7),
    ]
    assert wire.encode(wire.read_frame(wire.encode(messages))) == wire.encode(messages)


@pytest.mark.covers("S212")
def test_a_newer_peer_may_add_fields_at_the_end():
    body = msgspec.msgpack.decode(wire.encode([wire.Ping(5, "lab2/host")]))
    body[0].append("from the future")
    assert wire.read_frame(msgspec.msgpack.encode(body))[0].nonce == 5
    older = msgspec.msgpack.encode([[10, 5]])
    assert wire.read_frame(older)[0].node == ""


def test_a_subscription_to_one_host_does_not_hear_its_namesakes():
    """SUB matches prefixes; the NUL ends the topic."""
    lab1 = wire.write_signal("compute@lab1", wire.Left("a/b", 1))
    lab10 = wire.write_signal("compute@lab10", wire.Left("a/b", 1))
    assert lab1.startswith(b"compute@lab1\0") and not lab10.startswith(b"compute@lab1\0")
    assert wire.read_signal(lab10)[0] == "compute@lab10"


beats = st.builds(
    wire.Beat,
    st.text(max_size=40),
    st.integers(0, 2**32),
    st.integers(0, 2**64 - 1),
    st.integers(0, 300),
    st.integers(0, 300),
    st.dictionaries(st.text(max_size=8), st.integers(0, 2**32), max_size=3),
    st.builds(wire.Tombs, st.integers(0, 3), st.binary(max_size=8)),
)


@given(beats, beats, st.integers(0, 2**64 - 1))
def test_a_beat_is_like_another_if_only_its_number_differs(beat, other, number):
    body = wire.write_signal(wire.CHATTER, beat)
    head, tail = wire.around_number(wire.CHATTER, body, beat)
    later = wire.write_signal(wire.CHATTER, msgspec.structs.replace(beat, number=number))
    assert wire.number_if_alike(later, head, [b"", tail]) == number
    assert wire.number_if_alike(later, head, [b"another"]) == -1
    if msgspec.structs.replace(other, number=beat.number) != beat:
        assert wire.number_if_alike(wire.write_signal(wire.CHATTER, other), head, [tail]) == -1
    for end in range(len(body)):
        assert wire.number_if_alike(body[:end], head, [tail]) == -1


@pytest.mark.parametrize("instead", [b"\xc0", b"\xff", b"\xa0", b"\xd0\x01"])
def test_what_has_no_number_there_is_like_no_beat(instead):
    beat = wire.Beat("lab1/host", 1, 7, 0, 0)
    head, tail = wire.around_number(wire.CHATTER, wire.write_signal(wire.CHATTER, beat), beat)
    assert wire.number_if_alike(head + b"\x08" + tail, head, [tail]) == 8
    assert wire.number_if_alike(head + instead + tail, head, [tail]) == -1


def test_where_the_number_is_in_bytes_written_in_another_way_is_not_known():
    beat = wire.Beat("lab1/host", 1, 7, 0, 0)
    body = wire.write_signal(wire.CHATTER, beat)
    longer = body.replace(b"host\x01\x07", b"host\x01\xcd\x00\x07")
    assert wire.read_signal(longer) == (wire.CHATTER, beat)
    assert wire.around_number(wire.CHATTER, longer, beat) is None
