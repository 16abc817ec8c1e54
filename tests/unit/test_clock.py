"""Time that passed is told right, whatever is done to the clock of the day; what ages by it keeps its word."""

from __future__ import annotations

import time

import pytest

from nova0 import clock
from nova0.mesh.errors import JoinRefused
from nova0.mesh.journal import Journal
from nova0.mesh.tokens import FileTokenBook, Seed, mint, parse

DAY = 86400.0


@pytest.fixture
def wall(monkeypatch):
    """Sets the clock of the day so many seconds off the right time."""
    real = time.time

    def set_(off):
        monkeypatch.setattr(time, "time", lambda: real() + off)

    return set_


@pytest.mark.parametrize("off", [2 * DAY, -2 * DAY])
def test_elapsed_time_and_jumps(wall, off):
    then = clock.moment()
    wall(off)
    assert clock.since(then) < 60
    assert clock.jumped_s(then) == pytest.approx(off, abs=60)
    assert clock.jumped_s(clock.moment()) == 0.0


def test_across_a_restart_of_the_machine_the_clock_of_the_day_is_asked_and_never_goes_back(wall, monkeypatch):
    then = clock.moment()
    monkeypatch.setattr(clock, "boot_id", lambda: "another run")
    wall(DAY)
    assert clock.since(then) == pytest.approx(DAY, abs=60) and clock.jumped_s(then) == 0.0
    wall(-DAY)
    assert clock.since(then) == 0.0 and clock.jumped_s(then) == pytest.approx(-DAY, abs=60)


def test_a_join_token_lives_its_time_whatever_the_clock_is_set_to(tmp_path, wall, monkeypatch):
    """threat: an expired join token is good again once the clock is set back."""
    book = FileTokenBook(tmp_path)
    texts = [_minted(book, 3600.0) for _ in range(2)]
    for off in (3 * DAY, -3 * DAY):
        wall(off)
        _minted(book, 60.0)  # forgets those long expired
        book.redeem(texts[0][0], texts[0][1], f"host{off}", b"k" * 32, set())
    real = clock.ticks
    monkeypatch.setattr(clock, "ticks", lambda: real() + 3700)
    wall(-DAY)
    with pytest.raises(JoinRefused, match="expired"):
        book.redeem(texts[1][0], texts[1][1], "late", b"k" * 32, set())


def _minted(book, lifetime_s):
    token = parse(mint(book, b"c" * 32, [Seed("127.0.0.1", 7740, b"k" * 32)], uses=5, lifetime_s=lifetime_s))
    return token.token_id, token.secret


@pytest.mark.parametrize("off", [3 * DAY, -3 * DAY])
def test_an_answer_is_kept_through_a_start_with_a_wrong_clock(tmp_path, wall, off):
    """threat: a request runs a second time for its answer was taken for old."""
    first = Journal(tmp_path / "journal", "lab1/host")
    record, fresh = first.begin("ctl", "a", b"1", "compute.start")
    assert fresh
    first.finish(record, True, b"\x01")
    first.close()
    wall(off)
    second = Journal(tmp_path / "journal", "lab1/host")
    try:
        assert second.begin("ctl", "a", b"1", "compute.start")[1] is False
    finally:
        second.close()
