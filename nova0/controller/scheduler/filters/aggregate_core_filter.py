"""As CoreFilter: a ratio in an aggregate's metadata (cpu_allocation_ratio) is honoured by both."""

from nova0.controller.scheduler.filters.core_filter import CoreFilter


class AggregateCoreFilter(CoreFilter):
    """Named so by older configurations."""
