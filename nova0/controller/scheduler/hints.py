"""Scheduler hints come as one value or as a list; filters want a list."""

from __future__ import annotations

from typing import Any


def as_list(value: Any) -> list[str]:
    """[] for nothing, [value] for one."""
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
