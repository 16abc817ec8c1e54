"""Times as the field's APIs write them: always UTC; each API has its own form."""

from __future__ import annotations

import datetime


def iso_z(seconds: float) -> str:
    """2026-11-20T12:00:00Z"""
    return _utc(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_micro_z(seconds: float) -> str:
    """2026-11-20T12:00:00.000000Z"""
    return _utc(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


LAST = 253402300799.0  # the end of the year 9999, UTC: after it no time can be written


def seconds_of(text: str) -> float:
    """ISO 8601 to seconds since the epoch, UTC where no zone is named; ValueError when it is none, or before 1970 or
    after 9999 in UTC (a zone can shift a time out of what can be written again)."""
    read = datetime.datetime.fromisoformat(text)
    found = (read if read.tzinfo else read.replace(tzinfo=datetime.UTC)).timestamp()
    if not 0 <= found <= LAST:
        raise ValueError("the time must be from 1970 to 9999")
    return found


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
