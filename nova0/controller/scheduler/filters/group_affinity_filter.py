"""ServerGroupAffinityFilter under its older name."""

from nova0.controller.scheduler.filters.server_group_affinity_filter import ServerGroupAffinityFilter


class GroupAffinityFilter(ServerGroupAffinityFilter):
    """Named so by older configurations."""
