"""Any host that is up in the zone asked for, at random."""

from __future__ import annotations

import random
from typing import Any

from nova0.controller.scheduler.driver import Driver, claimable, forced, none_up
from nova0.controller.scheduler.request import Request
from nova0.objects.errors import NoValidHost


class ZoneScheduler(Driver):
    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        if isinstance(request, Request) and (named := forced(request, self.world.book.views())):
            return named
        tried = getattr(request, "tried", ())
        up = [host for host in self.hosts_up(topic) if host.host not in tried]
        if not up:
            raise none_up(topic)
        there = [host for host in up if request.zone in (None, host.zone)]
        if not there:
            raise NoValidHost(f"No valid host was found. No {topic} host is up in zone {request.zone}")
        names = [host.host for host in claimable(there, request)]
        return random.sample(names, min(count, len(names)))
