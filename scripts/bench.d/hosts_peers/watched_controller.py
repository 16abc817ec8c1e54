"""The controller's own process, with a clock at what its scheduler reads; otherwise as `nova0 agent run controller`.

    watched_controller.py HOST FILE

On SIGUSR1 it forgets what it noted; on SIGUSR2 it writes it to FILE as JSON: `report_lags`, seconds from a host's
word about itself to the first choice that could see it; `life_ages`, at each look, seconds since the oldest sign of
life of a host taken for alive; `reads`, how often the store was read for the scheduler.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from nova0.cli.commands import agent_run  # noqa: E402
from nova0.controller.scheduler.host_book import HostBook  # noqa: E402
from nova0.controller.scheduler.host_view import HostView  # noqa: E402
from nova0.controller.scheduler.scheduler import Scheduler  # noqa: E402
from nova0.mesh.bus import Status  # noqa: E402

LOOK_S = 0.25


class Notes:
    def __init__(self) -> None:
        self.said: dict[str, float] = {}
        self.book: HostBook | None = None
        self.clear()

    def clear(self) -> None:
        self.report_lags: list[float] = []
        self.life_ages: list[float] = []
        self.reads = self.book.reads if self.book is not None else 0

    def took(self, view: HostView) -> None:
        said = view.state.metrics.get("said", 0.0)
        if said > self.said.get(view.host, 0.0):
            self.said[view.host] = said
            self.report_lags.append(time.time() - said)


NOTES = Notes()


def watch() -> None:
    take, make = HostBook._take, Scheduler.__init__

    def taken(book: HostBook, view: HostView) -> None:
        take(book, view)
        NOTES.took(view)

    def made(scheduler: Scheduler, *args: Any) -> None:
        make(scheduler, *args)
        NOTES.book = scheduler.book
        gevent.spawn(lives, scheduler)

    HostBook._take, Scheduler.__init__ = taken, made  # type: ignore[method-assign]


def lives(scheduler: Scheduler) -> None:
    """The roster is read past `members`, which would cost as much as what is measured."""
    bus = scheduler._lives._bus
    while True:
        gevent.sleep(LOOK_S)
        peers = [p for p in bus.roster.peers.values() if p.status is Status.UP]  # type: ignore[attr-defined]
        ages = [age for p in peers if (age := p.age_s()) is not None]
        if ages:
            NOTES.life_ages.append(max(ages))


def write(file: Path) -> None:
    assert NOTES.book is not None
    reads = NOTES.book.reads - NOTES.reads
    found = {"report_lags": NOTES.report_lags, "life_ages": NOTES.life_ages, "reads": reads}
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(found))
    beside.replace(file)


def main() -> int:
    host, file = sys.argv[1], Path(sys.argv[2])
    watch()
    gevent.signal_handler(signal.SIGUSR1, NOTES.clear)
    gevent.signal_handler(signal.SIGUSR2, write, file)
    return agent_run.run(argparse.Namespace(config_file=None, host=host, what="controller"))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
