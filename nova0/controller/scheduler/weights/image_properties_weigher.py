"""Servers whose images have the same properties draw each other (a negative multiplier parts them)."""

from __future__ import annotations

from nova0.config import CONF
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request
from nova0.controller.scheduler.weigher import Weigher


class ImagePropertiesWeigher(Weigher):
    multiplier_option = "image_props_weight_multiplier"

    def weigh(self, host: HostView, request: Request) -> float:
        chosen = _setting()
        total = 0.0
        for name, value in request.image_properties.items():
            weight = chosen.get(name, 0.0) if chosen else 1.0
            if weight:
                total += weight * sum(taken.image.get(name) == value for taken in host.servers.values())
        return total

    def applies(self, request: Request) -> bool:
        return bool(request.image_properties)


def _setting() -> dict[str, float]:
    found = {}
    for entry in CONF.scheduler.image_props_weight_setting:
        name, _, number = entry.partition("=")
        found[name.strip()] = float(number or 1)
    return found
