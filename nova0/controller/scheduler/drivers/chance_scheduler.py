"""Any host that is up, at random."""

from __future__ import annotations

import random
from typing import Any

from nova0.controller.scheduler.driver import Driver, forced, none_up
from nova0.controller.scheduler.request import Request


class ChanceScheduler(Driver):
    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        if isinstance(request, Request) and (named := forced(request, self.world.book.views())):
            return named
        tried = getattr(request, "tried", ())
        names = [host.host for host in self.hosts_up(topic) if host.host not in tried]
        if not names:
            raise none_up(topic)
        return random.sample(names, min(count, len(names)))
