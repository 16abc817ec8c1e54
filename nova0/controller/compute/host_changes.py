"""Who wants to know that a host's row or aggregates changed: whoever keeps a picture of hosts in memory.

`changed` is called inside transactions, on the store's thread; what hears it may only take a note. A read
that is asked for afterwards sees the change, for the store does one thing after the other.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet


class Hearer(Protocol):
    def stale(self, host: str | None = None) -> None: ...


_hearers: WeakSet[Hearer] = WeakSet()


def listen(hearer: Hearer) -> None:
    """For as long as it lives."""
    _hearers.add(hearer)


def changed(host: str | None = None) -> None:
    """None: more than one, or which ones there are."""
    for hearer in list(_hearers):
        hearer.stale(host)
