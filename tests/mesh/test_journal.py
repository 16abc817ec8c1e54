"""What the journal remembers through crashes, torn writes, full disks and long lives."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from pathlib import Path

import gevent
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nova0.mesh import journal as journals
from nova0.mesh import wire
from nova0.mesh.codec import decode
from nova0.mesh.errors import BadArguments, Busy, Cancelled
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


@pytest.mark.design("B3")
def test_nothing_that_may_still_be_asked_for_makes_room(open_journal, monkeypatch):
    """However old it is, short of a day: then nobody asks any more."""
    monkeypatch.setattr(journals, "MOST", 2)
    monkeypatch.setattr(journals, "SWEEP_S", 0)
    journal = open_journal()
    for name in ("a", "b"):
        journal.finish(journal.begin("ctl", name, b"1", "m")[0], True, b"\x01")
        journal._records["ctl", name].since -= 80_000
    with pytest.raises(Busy, match="acknowledge"):
        journal.begin("ctl", "c", b"1", "m")
    journal._records["ctl", "a"].since -= 10_000
    assert journal.begin("ctl", "c", b"1", "m")[1]
    assert not journal.begin("ctl", "b", b"1", "m")[1]


@pytest.mark.design("B9")
def test_answers_together_are_bounded_and_each_is_kept_whatever_its_size(open_journal, monkeypatch):
    monkeypatch.setattr(journals, "MOST_BYTES", 3 << 20)
    journal = open_journal()
    body = b"x" * (2 << 20)
    for name in ("a", "b"):
        journal.finish(journal.begin("ctl", name, b"1", "m")[0], True, body)
    with pytest.raises(Busy, match="4 MiB"):
        journal.begin("ctl", "c", b"1", "m")
    again = open_journal()
    assert again.begin("ctl", "a", b"1", "m")[0].done.get() == (True, body)
    again.drop("ctl", ["a"])
    assert again.begin("ctl", "c", b"1", "m")[1]


@pytest.mark.design("C31")
def test_an_answer_the_disk_refused_is_written_as_soon_as_it_takes_it(open_journal, monkeypatch):
    journal = open_journal()
    record = journal.begin("ctl", "a", b"1", "m")[0]
    with monkeypatch.context() as full:
        full.setattr(journals.os, "write", lambda fd, body: 0)
        journal.finish(record, True, b"\x01")
        with pytest.raises(Busy):  # and again it takes nothing
            journal.begin("ctl", "b", b"1", "m")
    assert record.done.get() == (True, b"\x01"), "it is true all the same"
    journal.begin("ctl", "b", b"1", "m")
    assert open_journal().begin("ctl", "a", b"1", "m")[0].done.get() == (True, b"\x01")


def test_records_that_name_no_caller_are_still_known(open_journal, tmp_path):
    old = [journals.Intent("a", b"1", "m", time.time()), journals.Done("a", True, b"\x05")]
    (tmp_path / "old").write_bytes(b"".join(map(journals._framed, old)))
    assert open_journal("old").begin("ctl", "a", b"1", "m")[0].done.get() == (True, b"\x05")


CALLERS, IDS, HASHES = ["ctl", "lab9"], ["x", "y", "~1f.1", "~1f.2", "~2e.1"], [b"1", b"2"]
callers, ids, hashes = st.sampled_from(CALLERS), st.sampled_from(IDS), st.sampled_from(HASHES)


class AtMostOnce(RuleBasedStateMachine):
    """The journal beside a plain mapping. `sure` is what it must know; `loose` what it may have forgotten or
    not: acknowledged, and the word of it perhaps not on disk at the last crash."""

    MOST = 4

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "journal"
        self.most, journals.MOST = journals.MOST, self.MOST
        self.sweep, journals.SWEEP_S = journals.SWEEP_S, -1
        self.journal = Journal(self.file, "lab1/host")
        self.sure, self.loose, self.running = {}, {}, {}  # (caller, id) -> [hash, answer]; ... -> Record
        self.marks = {}
        self.runs = 0

    def settled(self, key):
        """Below its caller's mark: may be dropped for room, and is not run."""
        start, number = wire.made_by(key[1])
        marked, below = self.marks.get(key[0], ("", 0))
        return bool(start and marked) and (start != marked or number < below)

    @rule(caller=callers, id_=ids, hash_=hashes)
    def begin(self, caller, id_, hash_):
        key = (caller, id_)
        known = self.sure.get(key) or (self.loose.get(key) if key in self.journal._records else None)
        try:
            record, fresh = self.journal.begin(caller, id_, hash_, "m")
        except BadArguments:
            assert known and known[0] != hash_
        except Cancelled:
            assert key not in self.journal._records and self.settled(key)
        except Busy:
            assert not known or self.settled(key)
            still = [k for k, r in self.journal._records.items() if not (r.done.ready() and self.settled(k))]
            assert len(still) >= self.MOST, "room was to be had"
        else:
            if fresh:
                assert key not in self.sure or self.settled(key), "run a second time"
                self.loose.pop(key, None)
                self.runs += 1
                self.sure[key], self.running[key] = [hash_, None], record
            else:
                assert known[0] == hash_
                assert record.done.ready() == (key not in self.running)
                if record.done.ready():
                    good, body = record.done.get()
                    assert good == (known[1] != "unknown")
                    assert not good or body == known[1]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), refused=st.booleans())
    def finish(self, data, refused):
        key = data.draw(st.sampled_from(sorted(self.running)))
        record, body = self.running.pop(key), f"answer {self.runs}".encode()
        if refused:  # by the disk; it is written with the next commit, or unknown after a crash
            self.journal._write = refuse
        self.journal.finish(record, True, body)
        self.__dict__.setdefault("late", set())
        self.journal.__dict__.pop("_write", None)
        if record.unwanted:
            self.loose[key] = [self.sure.pop(key)[0], "unknown"]
        else:
            self.sure[key][1] = body
            if refused:
                self.late.add(key)

    @rule(caller=callers, id_=ids)
    def acknowledge(self, caller, id_):
        key = (caller, id_)
        self.journal.drop(caller, [id_])
        if key in self.sure and key not in self.running:
            self.loose[key] = self.sure.pop(key)
            assert key not in self.journal._records

    @rule(caller=callers, start=st.sampled_from(["1f", "2e"]), below=st.integers(1, 3))
    def mark(self, caller, start, below):
        self.journal.mark(caller, start, below)
        self.marks[caller] = (start, below)

    @rule()
    def disk_full(self):
        self.journal._write = refuse
        try:
            self.journal.begin("ctl", "never", b"1", "m")
            raise AssertionError("begun on a disk that takes nothing")
        except Busy:
            assert ("ctl", "never") not in self.journal._records
        finally:
            self.journal.__dict__.pop("_write", None)

    @rule()
    def crash(self):
        late = self.__dict__.pop("late", set())
        unwritten = {k for k in late if any(e for e in self.journal._later if named(e) == k)}
        self.journal.close()  # nothing is written at a close that a commit has not written
        self.journal = Journal(self.file, "lab1/host")
        self.marks.clear()
        for key in self.running:
            self.sure[key][1] = "unknown"
        for known in (self.sure, self.loose):
            for key in unwritten & set(known):
                known[key][1] = "unknown"
        self.running.clear()

    @invariant()
    def what_must_be_known_is_known(self):
        records = self.journal._records
        assert all(key in records or self.settled(key) for key in self.sure)
        assert len(records) <= self.MOST + len(self.running) + len(self.loose)
        assert self.journal._bytes == sum(len(r.outcome.body) for r in records.values() if r.outcome)
        for key in [k for k in self.sure if k not in records]:  # dropped for room, as settled
            self.loose[key] = self.sure.pop(key)

    def teardown(self):
        journals.MOST, journals.SWEEP_S = self.most, self.sweep
        self.journal.close()
        self.folder.cleanup()


def refuse(body):
    raise OSError(errno.ENOSPC, "no space left")


def named(entry):
    return (entry.caller, entry.request_id) if isinstance(entry, journals.Done) else None


TestAtMostOnce = pytest.mark.slow(pytest.mark.design("C32")(AtMostOnce.TestCase))
TestAtMostOnce.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
