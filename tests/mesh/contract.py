"""A small surface and agent that the contract suite calls, and the two nets it runs on."""

from __future__ import annotations

import datetime

import gevent
import msgspec
from gevent.event import Event

from nova0.mesh.bus import Status
from nova0.mesh.errors import MeshError, wire_error
from nova0.mesh.surface import CONTROLLER, HOST, LONG, MEMBER, SELF, SHORT, Surface, call, cast


class Box(msgspec.Struct):
    name: str
    size_mb: int = 1
    made_at: datetime.datetime | None = None


@wire_error
class OutOfPaint(MeshError):
    """An application's own error."""


class PaintAPI(Surface):
    topic = "paint"
    served_by = MEMBER

    @call(allow=(CONTROLLER, HOST))
    def add(self, a: int, b: int = 10) -> int:
        """Sum of a and b."""
        ...

    @call(allow=MEMBER, repeatable=True, timeout=SHORT)
    def echo(self, box: Box) -> Box: ...

    @call(allow=CONTROLLER)
    def count(self, label: str) -> int: ...

    @call(allow=CONTROLLER, repeatable=True)
    def who(self) -> dict: ...

    @call(allow=CONTROLLER)
    def fail(self, how: str) -> None: ...

    @call(allow=CONTROLLER, timeout=LONG)
    def slow(self, seconds: float) -> str: ...

    @call(allow=SELF, repeatable=True)
    def near(self) -> str: ...

    @call(allow=MEMBER, repeatable=True)
    def where(self) -> str: ...

    @cast(allow=(CONTROLLER, HOST))
    def colour(self, name: str) -> None: ...


class PaintAgent(PaintAPI):
    def __init__(self, bus):
        self.bus = bus
        self.counts: dict[str, int] = {}
        self.colours: list[str] = []
        self.painted = Event()
        self.started = Event()

    def add(self, a, b=10):
        return a + b

    def echo(self, box):
        assert isinstance(box, Box)
        return box

    def count(self, label):
        self.counts[label] = self.counts.get(label, 0) + 1
        return self.counts[label]

    def who(self):
        caller = self.bus.caller()
        return {
            "node": caller.node,
            "host": caller.host,
            "roles": list(caller.roles),
            "request_id": caller.request_id,
            "context": caller.context,
        }

    def fail(self, how):
        if how == "own":
            raise OutOfPaint("no red left", colour="red", litres=0.5)
        raise ZeroDivisionError(how)

    def slow(self, seconds):
        self.started.set()
        steps = 4
        for step in range(steps):
            gevent.sleep(seconds / steps)
            self.bus.progress({"step": step + 1, "of": steps})
        return "done"

    def near(self):
        return self.bus.node

    def where(self):
        return self.bus.host

    def colour(self, name):
        self.colours.append(name)
        self.painted.set()


GONE = (Status.LEFT, Status.DOWN)  # on a busy machine a goodbye may be lost
PATIENCE_S = 30.0  # a busy machine is no fault of the mesh: what it promises in seconds, the benchmarks hold


def until(seen, timeout_s=PATIENCE_S, what=""):
    """Wait for a condition that some greenlet or process makes true; fails with `what` after `timeout_s`,
    or PATIENCE_S where that is longer."""
    timeout_s = max(timeout_s, PATIENCE_S)
    with gevent.Timeout(timeout_s, AssertionError(f"not within {timeout_s} s: {what or seen}")):
        while True:
            value = seen()
            if value:
                return value
            gevent.sleep(0.02)
