"""Hosts of an aggregate with image properties in its metadata take only images that agree with them."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.config import CONF
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class AggregateImagePropertiesIsolation(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        options = CONF.scheduler
        space = options.aggregate_image_properties_isolation_namespace
        start = space + options.aggregate_image_properties_isolation_separator if space else ""
        properties = request.image_properties
        return all(
            properties[name] in values
            for name, values in host.metadata.items()
            if name.startswith(start) and name in properties
        )

    def key(self, request: Request) -> Hashable:
        return tuple(sorted(request.image_properties.items()))
