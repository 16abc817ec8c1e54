"""FilterScheduler that reads hosts from the store only once a period; its own placements count at once."""

from nova0.controller.scheduler.drivers.filter_scheduler import FilterScheduler


class CachingScheduler(FilterScheduler):
    """The period is `caching_period_s` in [scheduler]. With several controllers each has its own picture:
    the store's claims keep them right, at the price of more tries."""

    caches = True
