"""Availability zones: names that aggregates give to their hosts; hosts without one are in the default zone.

All functions run inside a transaction of the store.
"""

from __future__ import annotations

from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.controller.db.compute_tables import AggregateRow, HostRow

INTERNAL = "internal"  # where the field shows services that are no compute hosts
KEY = "availability_zone"

# The scheduler's own option, worded as there: declaring it twice is fine, wording it differently is an error.
declare(
    [cfg.StrOpt("default_availability_zone", default="nova", help="Zone of hosts that no aggregate places.")],
    group="scheduler",
)


def default_zone() -> str:
    return str(CONF.scheduler.default_availability_zone)


def zones_of_hosts() -> dict[str, str]:
    """Zone by host, only for hosts whose aggregates name one."""
    zones: dict[str, str] = {}
    for row in AggregateRow.select().order_by(AggregateRow.id):
        if KEY in row.metadata:
            for host in row.hosts:
                zones.setdefault(host, row.metadata[KEY])
    return zones


def zone_of(host: str | None) -> str:
    """The zone a host is in now."""
    return zones_of_hosts().get(host or "", default_zone())


def names() -> list[str]:
    """Zones with at least one host, sorted."""
    named = zones_of_hosts()
    return sorted({named.get(row.host, default_zone()) for row in HostRow.select(HostRow.host)})


def exists(zone: str) -> bool:
    """Whether a server may ask for it: the default zone always, others when an aggregate with a host names them."""
    return zone == default_zone() or zone in zones_of_hosts().values()
