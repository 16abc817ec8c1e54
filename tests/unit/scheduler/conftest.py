"""Options of [scheduler], set for one test."""

from __future__ import annotations

import pytest

from nova0 import config
from nova0.config import CONF
from nova0.controller.scheduler import options as declared  # noqa: F401


@pytest.fixture
def option():
    if not CONF._namespace:
        config.load([])
    set_ = []

    def override(**chosen):
        for name, value in chosen.items():
            CONF.set_override(name, value, "scheduler")
            set_.append(name)

    yield override
    for name in set_:
        CONF.clear_override(name, "scheduler")


@pytest.fixture(autouse=True)
def loaded():
    if not CONF._namespace:
        config.load([])
