"""A copy of what another node publishes: a snapshot by call, then its casts in order, and a new snapshot
whenever one may have been lost.

`Order` decides and knows no greenlets; `Follower` feeds it and runs what it decides.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import gevent
import msgspec
from gevent.event import Event

from nova0.mesh.codec import codecs_of
from nova0.mesh.errors import BadArguments, MeshError, RemoteError
from nova0.mesh.surface import Surface

LOG = logging.getLogger(__name__)
T = TypeVar("T")
MOST_WAITING = 1000  # updates that came before they could be applied; more mean a new snapshot
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # between two snapshots, randomised


class Snapshot(msgspec.Struct, Generic[T], kw_only=True, frozen=True):
    """A publisher's state, and the number of its last cast that is in it. Made by `Bus.snapshot`."""

    publisher: str
    boot: int
    number: int
    value: T

    def check(self, said_by: str) -> None:
        """Raises RemoteError where node `said_by` answered with a snapshot in another's name."""
        if self.publisher != said_by:
            raise RemoteError(f"{said_by} answers with a snapshot of {self.publisher!r:.80}: not taken")


class Update(NamedTuple):
    publisher: str
    boot: int
    number: int
    method: str
    arguments: Any


class Order:
    """What comes, put in order. While `behind`, a snapshot is due and nothing is applied."""

    def __init__(
        self, on_snapshot: Callable[[Any], None], on_update: Callable[[Update], None], most: int = MOST_WAITING
    ) -> None:
        self._on_snapshot, self._on_update, self._most = on_snapshot, on_update, most
        self._waiting: deque[Update] = deque()
        self._tops: dict[str, tuple[int, int]] = {}  # publisher -> (boot, number) of the last that came
        self.mark: tuple[str, int, int] | None = None  # what is applied: publisher, its boot, number
        self.behind = True

    def heard(self, update: Update) -> None:
        """Casts of one publisher come in order, some may be missing."""
        self._tops[update.publisher] = (update.boot, update.number)
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self.behind = True
        else:
            self._waiting.append(update)

    def published(self, publisher: str, boot: int, number: int) -> None:
        """The publisher says how far it is, after the casts it sent before on the same way."""
        if self.mark is not None and publisher == self.mark[0]:
            known = max(self.mark[1:], self._tops.get(publisher, (0, 0)))
            if (boot, number) > known:
                self.behind = True

    def renewed(self, publisher: str) -> None:
        """The way here was cut and is new: what was sent meanwhile is unknown."""
        if self.mark is None or publisher == self.mark[0]:
            self.behind = True

    def take(self, snapshot: Snapshot[Any]) -> None:
        """One asked for after `behind` was last seen, and after it was set to False."""
        here = (snapshot.publisher, snapshot.boot, snapshot.number)
        if self.mark is not None and here[0] == self.mark[0] and here < self.mark:
            self.behind = True  # older than what is applied
            return
        self.mark = here
        self._on_snapshot(snapshot.value)

    def step(self) -> bool:
        """Apply the next update, if there is one that follows."""
        while self._waiting and self.mark is not None and not self.behind:
            update, (publisher, boot, number) = self._waiting[0], self.mark
            at = (update.boot, update.number)
            if update.publisher != publisher or at <= (boot, number):
                self._waiting.popleft()  # another's, or in the snapshot already
            elif at == (boot, number + 1):
                self._waiting.popleft()
                self.mark = (publisher, *at)
                self._on_update(update)
                return True
            else:
                self.behind = True
        return False


class Follower:
    """What `Bus.follow` gives: `ready` is set with the first snapshot; `stop` ends it."""

    def __init__(
        self,
        surface: type[Surface],
        topic: str,
        fetch: Callable[[], Snapshot[Any]],
        on_snapshot: Callable[[Any], None],
        on_update: Callable[[str, dict[str, Any]], None],
        forget: Callable[[Follower], None],
    ) -> None:
        self.topic, self._codecs = topic, codecs_of(surface)
        self._fetch, self._on_snapshot, self._on_update, self._forget = fetch, on_snapshot, on_update, forget
        self.ready = Event()
        self._order = Order(self._snapshot, self._update)
        self._bell = Event()
        self._greenlet: gevent.Greenlet | None = None
        self._stopped = False

    def start(self) -> None:
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """For good. Not from inside its own functions."""
        if not self._stopped:
            self._stopped = True
            self._forget(self)
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    # in the hub

    def heard(self, publisher: str, boot: int, number: int, roles: tuple[str, ...], method: str, body: bytes) -> None:
        codec = self._codecs.get(method)
        if codec is None or codec.row.kind != "cast" or not any(role in codec.row.allow for role in roles):
            method = ""  # counts, and says nothing
        self._order.heard(Update(publisher, boot, number, method, body))
        self._bell.set()

    def published(self, publisher: str, boot: int, number: int) -> None:
        self._order.published(publisher, boot, number)
        if self._order.behind:
            self._bell.set()

    def renewed(self, publisher: str) -> None:
        self._order.renewed(publisher)
        self._bell.set()

    # in its own greenlet

    def _run(self) -> None:
        order, pause = self._order, PAUSE_S
        while True:
            try:
                if order.behind:
                    order.behind = False
                    order.take(self._fetch())
                    self.ready.set()
                while order.step():
                    pause = PAUSE_S
            except MeshError as error:
                LOG.info("%s: no snapshot yet: %s", self.topic, error)
                order.behind = True
            except Exception:  # the follower's own function: what it made of it is not known
                LOG.exception("%s: an update or a snapshot could not be taken; a new snapshot is", self.topic)
                order.behind = True
            if order.behind:
                gevent.sleep(random.uniform(pause / 2, pause))  # noqa: S311  (spread, not secrecy)
                pause = min(LONGEST_PAUSE_S, pause * 2)
            else:
                self._bell.wait()
                self._bell.clear()

    def _snapshot(self, value: Any) -> None:
        self._on_snapshot(value)

    def _update(self, update: Update) -> None:
        if update.method:
            try:
                arguments = self._codecs[update.method].unpack_arguments(update.arguments)
            except BadArguments as error:
                LOG.warning("%s: %s from %s: %s", self.topic, update.method, update.publisher, error.message)
                return
            self._on_update(update.method, arguments)
