"""Numbers that aggregates set for their hosts."""

from __future__ import annotations

from nova0.controller.scheduler.host_view import HostView


def smallest(host: HostView, key: str, default: float) -> float:
    """The smallest number any of the host's aggregates gives `key`; `default` where none does."""
    numbers = [number for value in host.metadata.get(key, ()) if (number := _number(value)) is not None]
    return min(numbers, default=default)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
