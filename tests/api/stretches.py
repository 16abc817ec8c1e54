"""TEST ONLY: how long the loop's thread, and the store's, are kept at a stretch, in processor time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import greenlet

from nova0.controller.db.store import Store


@dataclass
class Stretches:
    """The longest stretch of this thread between two switches of greenlets, and of a store's thread in one batch.
    Seconds of processor time of that thread: what others take meanwhile, of this machine or this process, is not in."""

    loop_s: float = 0.0
    store_s: float = 0.0
    _since: float = field(default=0.0, repr=False)

    def _switched(self, event: str, args: Any) -> None:
        now = time.thread_time()
        self.loop_s = max(self.loop_s, now - self._since)
        self._since = now

    def __enter__(self) -> Stretches:
        self._since = time.thread_time()
        greenlet.settrace(self._switched)
        return self

    def __exit__(self, *exc: object) -> None:
        self._switched("", ())
        greenlet.settrace(None)

    def watch(self, store: Store) -> None:
        """Also the batches of this store: before the first is given to it, since they run on its own thread."""
        run = store._worker._run_batch

        def measured(jobs: list[Any]) -> None:
            since = time.thread_time()
            try:
                run(jobs)
            finally:
                self.store_s = max(self.store_s, time.thread_time() - since)

        store._worker._run_batch = measured

    def reset(self) -> None:
        self.loop_s = self.store_s = 0.0
        self._since = time.thread_time()
