"""Any host that is up, at random."""

from __future__ import annotations

import random
from typing import Any

from nova0.controller.scheduler.driver import Driver, claimable, forced, none_up
from nova0.controller.scheduler.request import Request


class ChanceScheduler(Driver):
    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        if isinstance(request, Request) and (named := forced(request, self.world.book.views())):
            return named
        tried = getattr(request, "tried", ())
        up = [host for host in self.hosts_up(topic) if host.host not in tried]
        if not up:
            raise none_up(topic)
        names = [host.host for host in claimable(up, request)]
        return random.sample(names, min(count, len(names)))
