"""The flavor's `aggregate_instance_extra_specs:` hold for the metadata of the host's aggregates."""

from __future__ import annotations

from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.operators import matches
from nova0.controller.scheduler.request import Request

SPACE = "aggregate_instance_extra_specs:"


class AggregateInstanceExtraSpecsFilter(Filter):
    def host_passes(self, host: HostView, request: Request) -> bool:
        return all(
            any(matches(value, wanted) for value in host.metadata.get(name, ())) for name, wanted in self.key(request)
        )

    def applies(self, request: Request) -> bool:
        return bool(self.key(request))

    def key(self, request: Request) -> tuple[tuple[str, str], ...]:
        specs = request.flavor.extra_specs.items()
        return tuple(sorted((name.removeprefix(SPACE), want) for name, want in specs if name.startswith(SPACE)))
