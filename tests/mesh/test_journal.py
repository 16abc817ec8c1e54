"""What the journal remembers through crashes, torn writes, full disks and long lives."""

from __future__ import annotations

import os
import time

import gevent
import pytest

from nova0.mesh import journal as journals
from nova0.mesh.codec import decode
from nova0.mesh.errors import BadArguments, Busy
from nova0.mesh.journal import Journal


@pytest.fixture
def open_journal(tmp_path):
    opened = []

    def open_(name="journal"):
        opened.append(Journal(tmp_path / name, "lab1/host"))
        return opened[-1]

    yield open_
    for journal in opened:
        journal._worker.stop()
        journal._file.close()


def test_answers_and_intents_survive(open_journal):
    first = open_journal()
    done, fresh = first.begin("ctl", "a", b"1", "compute.start")
    assert fresh
    first.finish(done, True, b"\x01")
    first.begin("ctl", "b", b"2", "compute.start")
    second = open_journal()
    record, fresh = second.begin("ctl", "a", b"1", "compute.start")
    assert not fresh and record.done.get() == (True, b"\x01")
    record, fresh = second.begin("ctl", "b", b"2", "compute.start")
    good, body = record.done.get()
    assert not fresh and not good and decode(body)["kind"] == "OutcomeUnknown"
    third = open_journal()  # and it stays unknown
    assert decode(third.begin("ctl", "b", b"2", "compute.start")[0].done.get()[1])["kind"] == "OutcomeUnknown"


def test_one_id_is_for_one_request(open_journal):
    journal = open_journal()
    journal.begin("ctl", "a", b"1", "m")
    with pytest.raises(BadArguments):
        journal.begin("ctl", "a", b"2", "m")


def test_a_dropped_record_stays_dropped(open_journal):
    first = open_journal()
    first.finish(first.begin("ctl", "a", b"1", "m")[0], True, b"\x01")
    first.drop("ctl", ["a", "never heard of"])
    first.begin("ctl", "b", b"1", "m")  # the drop is written with the next commit
    assert open_journal().begin("ctl", "a", b"1", "m")[1]


@pytest.mark.parametrize("cut", [1, 5, 9, 20])
def test_a_torn_end_costs_only_what_was_never_promised(open_journal, tmp_path, cut):
    first = open_journal()
    first.finish(first.begin("ctl", "a", b"1", "m")[0], True, b"\x01")
    whole = (tmp_path / "journal").read_bytes()
    first.finish(first.begin("ctl", "b", b"1", "m")[0], True, b"\x02")
    torn = (tmp_path / "journal").read_bytes()[: len(whole) + cut]
    (tmp_path / "torn").write_bytes(torn)
    second = open_journal("torn")
    assert second.begin("ctl", "a", b"1", "m")[0].done.get() == (True, b"\x01")
    assert second.begin("ctl", "c", b"1", "m")[1]
    assert not open_journal("torn").begin("ctl", "c", b"1", "m")[1]


def test_a_full_disk_starts_nothing_and_loses_nothing(open_journal, monkeypatch):
    journal = open_journal()
    journal.finish(journal.begin("ctl", "a", b"1", "m")[0], True, b"\x01")
    real = os.write
    monkeypatch.setattr(journals.os, "write", lambda fd, body: real(fd, body[:3]))
    with pytest.raises(Busy, match=r"m was not started.*no space left"):
        journal.begin("ctl", "b", b"1", "m")
    monkeypatch.setattr(journals.os, "write", real)
    assert journal.begin("ctl", "b", b"1", "m")[1]
    again = open_journal()
    assert again.begin("ctl", "a", b"1", "m")[0].done.get() == (True, b"\x01")
    assert not again.begin("ctl", "b", b"1", "m")[1]


@pytest.mark.design("B3")
def test_it_is_bounded_and_says_busy(open_journal, monkeypatch):
    monkeypatch.setattr(journals, "MOST", 3)
    journal = open_journal()
    records = [journal.begin("ctl", str(n), b"1", "m")[0] for n in range(3)]
    with pytest.raises(Busy):
        journal.begin("ctl", "more", b"1", "m")
    journal.finish(records[0], True, b"\x01")
    journal.drop("ctl", ["0"])
    assert journal.begin("ctl", "more", b"1", "m")[1]


@pytest.mark.design("B4")
def test_it_does_not_grow_for_ever(open_journal, tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "REWRITE_BYTES", 20_000)
    journal = open_journal()
    kept = journal.begin("ctl", "kept", b"1", "m")[0]
    for n in range(100):
        journal.finish(journal.begin("ctl", str(n), b"1", "m")[0], True, b"x" * 500)
        journal.drop("ctl", [str(n)])
    journal.finish(kept, True, b"\x07")
    assert (tmp_path / "journal").stat().st_size < 30_000
    assert open_journal().begin("ctl", "kept", b"1", "m")[0].done.get() == (True, b"\x07")


def test_many_commits_share_their_fsyncs(open_journal, monkeypatch):
    journal = open_journal()
    count = [0]
    real = os.fsync

    def slow(fd):
        count[0] += 1
        time.sleep(0.005)
        real(fd)

    monkeypatch.setattr(journals.os, "fsync", slow)
    gevent.joinall([gevent.spawn(journal.begin, "ctl", str(n), b"1", "m") for n in range(100)], raise_error=True)
    assert count[0] < 20
