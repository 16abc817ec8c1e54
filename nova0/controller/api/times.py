"""Times as the field's APIs write them: always UTC; each API has its own form."""

from __future__ import annotations

import datetime


def iso_z(seconds: float) -> str:
    """2026-11-20T12:00:00Z"""
    return _utc(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_micro_z(seconds: float) -> str:
    """2026-11-20T12:00:00.000000Z"""
    return _utc(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str) -> float:
    """ISO 8601 to seconds since the epoch, UTC where no zone is named; ValueError when it is none."""
    read = datetime.datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=datetime.UTC)).timestamp()


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
