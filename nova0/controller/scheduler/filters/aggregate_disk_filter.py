"""As DiskFilter: a ratio in an aggregate's metadata (disk_allocation_ratio) is honoured by both."""

from nova0.controller.scheduler.filters.disk_filter import DiskFilter


class AggregateDiskFilter(DiskFilter):
    """Named so by older configurations."""
