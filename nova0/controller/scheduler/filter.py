"""A filter says of one host whether it may be chosen. One class, one file, under the field's name."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class Filter(ABC):
    @abstractmethod
    def host_passes(self, host: HostView, request: Request) -> bool:
        """True where the request may go to this host. No side effects; order of filters is the operator's."""
