"""Log-ins that fail: who waits, for how long, and whose secret is looked at next.

An account that has failed five times from an address waits one second before its next attempt from there, then two,
four, up to sixty; a right secret ends that. Other accounts and other addresses don't wait. Hashing a secret is slow on
purpose, so few are hashed at once; who guesses much queues behind himself, not before others.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from gevent.event import Event
from gevent.lock import BoundedSemaphore

FREE_FAILURES = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
FORGOTTEN_AFTER_S = 15 * 60.0  # without another failure
PROVEN_FOR_S = 24 * 3600.0  # so long after a good log-in an account is known at that address
REMEMBERED_MOST = 20_000  # accounts at addresses
SLEEPING_OF_ACCOUNT, SLEEPING_AT_ADDRESS, SLEEPING_MOST = 4, 16, 256  # who comes beyond them is told to come later
REFUSED_AFTER_S = 1.0  # who is told so waits that long for it, or the next attempt would come at once
QUEUED_AT_ADDRESS, QUEUED_MOST = 256, 2000
QUEUED_S = 10.0

Pair = tuple[str, str]  # an account, and the address it is tried from
Wait = Callable[[Event | None, float], bool]  # until it is set, or so many seconds; raises when the client is gone


def _patient(event: Event | None, seconds: float) -> bool:
    return bool((event or Event()).wait(seconds))


class TooMany(Exception):
    """Come again after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many attempts to log in")
        self.retry_after_s = retry_after_s


@dataclass
class Attempt:
    """One look at a secret. `proven`: the account has logged in from that address lately."""

    pair: Pair
    proven: bool = False
    wait: Wait = _patient
    good: bool = False


@dataclass
class _Record:
    """What is known of one account at one address."""

    failures: int = 0
    failed_at: float = 0.0
    proved_at: float | None = None
    looking: int = 0  # attempts whose secret is being looked at
    waiting: int = 0  # those before that
    ended: Event = field(default_factory=Event)  # set when one of them has ended
    alone: BoundedSemaphore = field(default_factory=BoundedSemaphore)


class Attempts:
    """One process's memory of attempts."""

    def __init__(self) -> None:
        self._records: OrderedDict[Pair, _Record] = OrderedDict()
        self._sleeping: Counter[str] = Counter()  # by address
        self._queued: Counter[str] = Counter()

    @contextmanager
    def judged(self, account: str, address: str, wait: Wait = _patient) -> Iterator[Attempt]:
        """Around the look at a secret: first waits as earlier failures ask for. The body sets `good`; an error in it
        counts as nothing. Raises TooMany."""
        pair = account, address
        record = self._record(pair)
        record.waiting += 1
        held = False
        try:
            try:
                self._wait_for_a_place(record, address, wait)
                if record.failures >= FREE_FAILURES:
                    self._wait_alone(record, address, wait)
                    held = True
            except TooMany:
                wait(None, REFUSED_AFTER_S)
                raise
            record.looking += 1
        finally:
            record.waiting -= 1
        try:
            proven = record.proved_at is not None and time.monotonic() - record.proved_at < PROVEN_FOR_S
            attempt = Attempt(pair, proven, wait)
            yield attempt
            if attempt.good:
                record.failures, record.proved_at = 0, time.monotonic()
            else:
                record.failures, record.failed_at = record.failures + 1, time.monotonic()
        finally:
            record.looking -= 1
            if held:
                record.alone.release()
            record.ended.set()
            record.ended = Event()

    def _wait_for_a_place(self, record: _Record, address: str, wait: Wait) -> None:
        """Before the fifth failure: as many looks at once as may yet fail."""
        if not _crowded(record):
            return
        if self._queued[address] >= QUEUED_AT_ADDRESS or self._queued.total() >= QUEUED_MOST:
            raise TooMany(FIRST_WAIT_S)
        until = time.monotonic() + QUEUED_S
        with _counted(self._queued, address):
            while _crowded(record):
                if not wait(record.ended, max(0.0, until - time.monotonic())):
                    raise TooMany(FIRST_WAIT_S)

    def _wait_alone(self, record: _Record, address: str, wait: Wait) -> None:
        """After it: one at a time, each after its wait. Returns holding `record.alone`."""
        wait_s = _wait_s(record)
        crowd = record.waiting > SLEEPING_OF_ACCOUNT or self._sleeping[address] >= SLEEPING_AT_ADDRESS
        if crowd or self._sleeping.total() >= SLEEPING_MOST:
            raise TooMany(wait_s)
        with _counted(self._sleeping, address):
            if not record.alone.acquire(timeout=LONGEST_WAIT_S):
                raise TooMany(wait_s)
            try:
                wait(None, _wait_s(record))
            except BaseException:
                record.alone.release()
                raise

    def _record(self, pair: Pair) -> _Record:
        record = self._records.get(pair)
        if record is None:
            record = self._records[pair] = _Record()
            if len(self._records) > REMEMBERED_MOST:
                self._forget_one()
        elif record.failures and time.monotonic() - record.failed_at > FORGOTTEN_AFTER_S:
            record.failures = 0
        self._records.move_to_end(pair)
        return record

    def _forget_one(self) -> None:
        """The one not tried for longest and at rest, if it is among the oldest few."""
        for pair, record in islice(self._records.items(), SLEEPING_MOST):
            if not record.looking and not record.waiting:
                del self._records[pair]
                return


def _crowded(record: _Record) -> bool:
    return record.failures < FREE_FAILURES <= record.failures + record.looking


def _wait_s(record: _Record) -> float:
    over = record.failures - FREE_FAILURES
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(over, 10)) if over >= 0 else 0.0


@contextmanager
def _counted(counter: Counter[str], name: str) -> Iterator[None]:
    counter[name] += 1
    try:
        yield
    finally:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]


@dataclass(eq=False)
class _Waiting:
    attempt: Attempt
    number: int
    granted: Event = field(default_factory=Event)


class Turns:
    """Who is next to be hashed, `at_once` of them, and one less of accounts not known at their address. These and
    others take turns, so neither can keep the other out. Of each the address served longest ago is next, and there
    who came last: many guesses wait for each other, and a single log-in beside them for one or two."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._running = self._strangers = self._number = 0
        self._waiting: list[_Waiting] = []
        self._served: OrderedDict[str, int] = OrderedDict()  # address -> number of its last turn
        self._proven_next = True

    @contextmanager
    def taken(self, attempt: Attempt) -> Iterator[None]:
        """Raises TooMany when the turn does not come within QUEUED_S."""
        if self._free(attempt):
            self._grant(attempt)
        else:
            self._queue(attempt)
        try:
            yield
        finally:
            self._give_back(attempt)

    def _queue(self, attempt: Attempt) -> None:
        if len(self._waiting) >= QUEUED_MOST:
            raise TooMany(FIRST_WAIT_S)
        self._number += 1
        mine = _Waiting(attempt, self._number)
        self._waiting.append(mine)
        granted = False
        try:
            granted = attempt.wait(mine.granted, QUEUED_S)
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
            elif not granted:  # it came in the moment we were ended
                self._give_back(attempt)
        if not granted:
            raise TooMany(FIRST_WAIT_S)

    def _free(self, attempt: Attempt) -> bool:
        strangers_most = max(1, self._at_once - 1)
        return self._running < self._at_once and (attempt.proven or self._strangers < strangers_most)

    def _give_back(self, attempt: Attempt) -> None:
        self._running -= 1
        self._strangers -= not attempt.proven
        self._next()

    def _next(self) -> None:
        while able := [one for one in self._waiting if self._free(one.attempt)]:
            wanted = [one for one in able if one.attempt.proven is self._proven_next] or able
            chosen = min(wanted, key=self._order)
            self._proven_next = not chosen.attempt.proven
            self._waiting.remove(chosen)
            self._grant(chosen.attempt)
            chosen.granted.set()

    def _order(self, one: _Waiting) -> tuple[int, int]:
        return self._served.get(one.attempt.pair[1], 0), -one.number

    def _grant(self, attempt: Attempt) -> None:
        self._running += 1
        self._strangers += not attempt.proven
        self._number += 1
        self._served[attempt.pair[1]] = self._number
        self._served.move_to_end(attempt.pair[1])
        while len(self._served) > REMEMBERED_MOST:
            self._served.popitem(last=False)
