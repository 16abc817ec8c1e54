"""A lab of hosts without sockets, and options set for one test."""

from __future__ import annotations

from typing import Any

import pytest

from nova0.config import CONF
from tests.unit.host.lab import Lab


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def option():
    """Set options for one test."""
    changed: list[tuple[str, str | None]] = []

    def set_option(name: str, value: Any, group: str | None = None) -> None:
        CONF.set_override(name, value, group=group)
        changed.append((name, group))

    yield set_option
    for name, group in changed:
        CONF.clear_override(name, group=group)
