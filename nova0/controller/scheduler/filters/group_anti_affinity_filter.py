"""ServerGroupAntiAffinityFilter under its older name."""

from nova0.controller.scheduler.filters.server_group_anti_affinity_filter import ServerGroupAntiAffinityFilter


class GroupAntiAffinityFilter(ServerGroupAntiAffinityFilter):
    """Named so by older configurations."""
