"""One policy for servers and another for volumes."""

from __future__ import annotations

from typing import Any

from nova0.config import CONF
from nova0.controller.scheduler.driver import Driver, World, dispatch
from nova0.controller.scheduler.policies import policy
from nova0.objects.errors import NotSupported


class MultiScheduler(Driver):
    """compute_scheduler_driver and volume_scheduler_driver name them."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        options = CONF.scheduler
        self.drivers = {
            "compute": policy(options.compute_scheduler_driver, world),
            "volume": policy(options.volume_scheduler_driver, world),
        }

    def schedule(self, request: Any, *, topic: str, method: str, count: int) -> list[str]:
        return dispatch(self.drivers.get(topic, self.drivers["compute"]), method, request, topic=topic, count=count)

    def schedule_create_volume(self, request: Any, *, count: int) -> list[str]:
        return dispatch(self.drivers["volume"], "create_volume", request, topic="volume", count=count)

    def explain(self, request: Any) -> Any:
        explain = getattr(self.drivers["compute"], "explain", None)
        if explain is None:
            raise NotSupported(f"{type(self.drivers['compute']).__name__} has no filters and weights to explain")
        return explain(request)
