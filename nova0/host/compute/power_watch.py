"""Tell the controller what guests do by themselves: shut down inside, crash. Lost tales are caught by `compare`."""

from __future__ import annotations

import logging

import gevent
from gevent.queue import Queue

from nova0.host.compute.guests import Guests
from nova0.host.virt.driver import GuestEvent
from nova0.mesh.errors import MeshError
from nova0.rpcapi.conductor import ConductorAPI

LOG = logging.getLogger(__name__)
MOST = 1000  # events waiting; beyond it the minute's comparison tells instead


class PowerWatch:
    """Listens to the driver of `guests`. An event during an operation only wakes that operation: its
    answer carries the state."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self._waiting: Queue = Queue()
        self._greenlet: gevent.Greenlet | None = None

    def open(self) -> None:
        self._greenlet = gevent.spawn(self._tell)
        self._guests.driver.listener.heard = self.heard

    def close(self) -> None:
        self._guests.driver.listener.heard = lambda event: None
        if self._greenlet is not None:
            self._greenlet.kill()

    def heard(self, event: GuestEvent) -> None:
        """In the loop; does not block."""
        self._guests.ring(event.uuid)
        if not self._guests.locks.held(event.uuid) and self._waiting.qsize() < MOST:
            self._waiting.put(event.uuid)

    def _tell(self) -> None:
        while True:
            uuid = self._waiting.get()
            try:
                now = self._guests.info(uuid)
                conductor: ConductorAPI = self._guests.conductor()
                conductor.power_changed(uuid, now.generation, now.power_state)
            except MeshError as error:
                LOG.info(
                    "%s: power state of %s not told (%s): the next comparison will", self._guests.host, uuid, error
                )
            except Exception:
                LOG.exception("%s: power state of %s not told", self._guests.host, uuid)
