"""As RamFilter: a ratio in an aggregate's metadata (ram_allocation_ratio) is honoured by both."""

from nova0.controller.scheduler.filters.ram_filter import RamFilter


class AggregateRamFilter(RamFilter):
    """Named so by older configurations."""
