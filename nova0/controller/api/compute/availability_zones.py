"""Availability zones: names and whether anything in them is up; with hosts and services for admins."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.compute.views import times
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import service_book, zones
from nova0.controller.compute.service_book import COMPUTE, Service


@route("GET", "/os-availability-zone", needs="any")
def listed(request: Request) -> dict[str, Any]:
    by_zone = _by_zone(_services(request))
    by_zone.pop(zones.INTERNAL, None)
    return {"availabilityZoneInfo": [_zone(name, several, None) for name, several in by_zone.items()]}


@route("GET", "/os-availability-zone/detail", needs="admin")
def detailed(request: Request) -> dict[str, Any]:
    by_zone = _by_zone(_services(request))
    shown = [_zone(name, several, _hosts(several)) for name, several in by_zone.items()]
    return {"availabilityZoneInfo": sorted(shown, key=lambda one: one["zoneName"])}


def _services(request: Request) -> list[Service]:
    return request.store.read(lambda: service_book.listed(request.services.hosts))


def _by_zone(services: list[Service]) -> dict[str, list[Service]]:
    found: dict[str, list[Service]] = {}
    for one in sorted(services, key=lambda one: one.zone):
        found.setdefault(one.zone, []).append(one)
    return found


def _zone(name: str, several: list[Service], hosts: dict[str, Any] | None) -> dict[str, Any]:
    """Available while a host of it takes servers (one that is enabled)."""
    available = any(not one.disabled for one in several if one.binary == COMPUTE or one.zone == zones.INTERNAL)
    return {"zoneName": name, "zoneState": {"available": available}, "hosts": hosts}


def _hosts(several: list[Service]) -> dict[str, Any]:
    view: dict[str, Any] = {}
    for one in several:
        view.setdefault(one.host, {})[one.binary] = {
            "available": one.alive,
            "active": not one.disabled,
            "updated_at": times.micro(one.updated_at),
        }
    return view
