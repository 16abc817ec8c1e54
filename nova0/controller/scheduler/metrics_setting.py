"""Which metrics count, and how much: `metrics_weight_setting = name1=1.0, name2=-0.5`."""

from __future__ import annotations

from nova0.config import CONF


def weights() -> dict[str, float]:
    """Name -> weight. Raises ValueError naming the entry that can't be read."""
    found = {}
    for entry in CONF.scheduler.metrics_weight_setting:
        name, equals, number = entry.partition("=")
        try:
            found[name.strip()] = float(number) if equals else 1.0
        except ValueError:
            raise ValueError(f"metrics_weight_setting: {entry!r} is not NAME=NUMBER") from None
    return found


def names() -> list[str]:
    return list(weights())
