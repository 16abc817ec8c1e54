"""What hosts said of themselves, read back from the store: a record that cannot be read takes out its host alone."""

from __future__ import annotations

import logging
import threading

import msgspec

from nova0.controller.db.compute_tables import HostRow
from nova0.objects.host import HostState

LOG = logging.getLogger(__name__)
_told: dict[str, str] = {}  # host -> what is wrong with its record, said in the log already
_hand = threading.Lock()


def state_of(row: HostRow) -> HostState | None:
    """None where it cannot be read: told once, with the remedy; forgotten when the host reports well again."""
    try:
        state = msgspec.convert(row.state, HostState)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        unreadable(row.host, str(error))
        return None
    if _told:
        _told.pop(row.host, None)
    return state


def unreadable(host: str, why: str) -> None:
    with _hand:
        if _told.get(host) == why:
            return
        _told[host] = why
    LOG.error(
        "host %s: what it said of itself cannot be read (%s): nothing is placed there until it reports again; "
        "mend that host, or `nova0 evict %s` and fence it",
        *(host, why, host),
    )
