"""Which policy decides: `scheduler_driver`, by name or by class path."""

from __future__ import annotations

from nova0.controller.scheduler.driver import Driver, World
from nova0.controller.scheduler.loading import load

_DRIVERS = "nova0.controller.scheduler.drivers"
SHORT = {
    "filter": "FilterScheduler",
    "filter_scheduler": "FilterScheduler",
    "caching": "CachingScheduler",
    "caching_scheduler": "CachingScheduler",
    "chance": "ChanceScheduler",
    "chance_scheduler": "ChanceScheduler",
    "simple": "SimpleScheduler",
    "multi": "MultiScheduler",
    "zone": "ZoneScheduler",
    "least_cost": "LeastCostScheduler",
    "vsa": "VsaScheduler",
}


def policy_class(name: str) -> type[Driver]:
    """Raises ValueError that says what there is."""
    return load(SHORT.get(name, name), _DRIVERS, Driver)


def policy(name: str, world: World) -> Driver:
    made: Driver = policy_class(name)(world)
    return made
