"""One lock per instance, made on demand and forgotten with its last holder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gevent.lock import RLock


class Locks:
    def __init__(self) -> None:
        self._wanted: dict[str, tuple[RLock, int]] = {}

    @contextmanager
    def hold(self, uuid: str) -> Iterator[None]:
        """Wait for the instance's lock and hold it; the same greenlet may hold it twice."""
        lock, count = self._wanted.get(uuid, (None, 0))
        lock = lock or RLock()
        self._wanted[uuid] = (lock, count + 1)
        try:
            with lock:
                yield
        finally:
            lock, count = self._wanted[uuid]
            if count == 1:
                del self._wanted[uuid]
            else:
                self._wanted[uuid] = (lock, count - 1)

    def held(self, uuid: str) -> bool:
        """Whether somebody works on the instance, or waits to."""
        return uuid in self._wanted
