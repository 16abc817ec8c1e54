"""Aggregates with `filter_tenant_id` (or filter_tenant_id2 ...) are for those projects only."""

from __future__ import annotations

from collections.abc import Hashable

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class AggregateMultiTenancyIsolation(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        allowed: set[str] = set()
        for name, values in host.metadata.items():
            if name.startswith("filter_tenant_id"):
                for value in values:
                    allowed.update(part.strip() for part in value.split(","))
        return not allowed or request.project_id in allowed

    def key(self, request: Request) -> Hashable:
        return request.project_id
