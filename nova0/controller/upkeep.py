"""What a controller does for its store each hour: rows of what was deleted long ago go, and the file shrinks."""

from __future__ import annotations

import logging

import gevent
from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.controller.db import ageing
from nova0.controller.db.slow_clock import SlowClock
from nova0.controller.db.store import Store

log = logging.getLogger(__name__)
DAY_S = 86_400.0
EVERY_S = 3600.0
FIRST_S = 60.0  # after a start there is other work
PAUSE_S = 0.05  # between two pieces, for others to be served

declare(
    [
        cfg.IntOpt(
            "deleted_rows_days",
            default=90,
            min=0,
            help="Days after which rows of deleted servers (with their actions and faults), images and flavors leave "
            "the store; what usage reports and hosts that were away need stays. 0: never. See `nova0 manage db purge`.",
        )
    ]
)


class Upkeep:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._clock = SlowClock()
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn_later(FIRST_S, self._keep)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()

    def once(self) -> None:
        """Purge what is old enough, then give the file's free pages back."""
        believed = self._store.write(self._clock.now)
        if CONF.deleted_rows_days:
            purge = ageing.Purge(believed - CONF.deleted_rows_days * DAY_S)
            removed = purge.run(self._store, lambda: gevent.sleep(PAUSE_S))
            if removed.total():
                told = ", ".join(f"{number} {name}" for name, number in removed.items() if number)
                log.info("rows deleted over %s days ago have gone: %s", CONF.deleted_rows_days, told)
        ageing.give_back(self._store, lambda: gevent.sleep(PAUSE_S))

    def _keep(self) -> None:
        while True:
            try:
                self.once()
            except Exception:
                log.exception("upkeep of the store failed; tried again in an hour")
            gevent.sleep(EVERY_S)
