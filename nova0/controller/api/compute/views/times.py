"""Times as the compute API writes them."""

from __future__ import annotations

import datetime

from nova0.controller.api.times import seconds_of


def seconds_z(at: float | None) -> str | None:
    """2026-08-01T10:00:00Z: `created` and `updated` of servers."""
    return None if at is None else _utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro(at: float | None) -> str | None:
    """2026-08-01T10:00:00.000000, no zone: everything else."""
    return None if at is None else _utc(at).strftime("%Y-%m-%dT%H:%M:%S.%f")


def parse(text: str) -> float:
    """Seconds since the epoch from ISO 8601; without a zone it is UTC. Raises ValueError."""
    return seconds_of(text.strip())


def _utc(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)
