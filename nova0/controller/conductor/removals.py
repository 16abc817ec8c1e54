"""What a host still holds of servers that were deleted or moved while it was away: it is asked to delete each.

The comparison only tells a host what the store disowns; a host removes many guests on no such list (it
might be a mistaken store's), but obeys a delete, which names one server and its generation.
"""

from __future__ import annotations

import logging

from gevent.pool import Pool

from nova0.controller.conductor.operation import World
from nova0.controller.conductor.reports import disowned_still
from nova0.controller.db.base_table import new_id
from nova0.mesh.errors import Busy, CallTimeout, MeshError, Unreachable
from nova0.objects.host import Disowned
from nova0.rpcapi.compute import ComputeAPI

log = logging.getLogger(__name__)
AT_ONCE = 50  # hosts asked at once; the others are asked after their next comparison


class Removals:
    """Nothing is kept: what a host still holds after a failure, it tells again a minute later."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hosts: set[str] = set()  # being asked
        self._pool = Pool(AT_ONCE)

    def ask(self, host: str, disowned: list[Disowned]) -> None:
        """In the background, one after the other; not while that host is being asked already."""
        if disowned and host not in self._hosts and self._pool.free_count():
            self._hosts.add(host)
            self._pool.spawn(self._ask, host, [one.uuid for one in disowned])

    def stop(self) -> None:
        self._pool.kill()

    def _ask(self, host: str, uuids: list[str]) -> None:
        removed = 0
        try:
            for uuid in uuids:
                removed += self._remove(host, uuid)
        except (Unreachable, CallTimeout, Busy) as error:
            log.info("%s: asked to remove what is no longer placed there: %s; asked again", host, error.message)
        finally:
            self._hosts.discard(host)
            if removed:
                log.info("%s removed %d guests of servers that were deleted or moved while it was away", host, removed)

    def _remove(self, host: str, uuid: str) -> bool:
        """Raises what a host raises that does not answer."""
        now = self._world.store.read(lambda: disowned_still(host, uuid))
        if now is None:
            return False
        asked = new_id()
        try:
            self._world.bus.stub(ComputeAPI, host, request_id=asked).delete(uuid, now.generation)
        except (Unreachable, CallTimeout, Busy):
            raise
        except MeshError as error:
            log.warning("%s keeps what it has of server %s, which was %s: %s", host, uuid, now.reason, error.message)
            return False
        self._world.bus.acknowledge([asked])
        return True
