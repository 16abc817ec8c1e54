"""A filter says of one host whether it may be chosen. One class, one file, under the field's name.

`host_passes` is all that one's own filter needs. The rest says how its answers may be kept, which only
makes it faster: the answer of a filter is what `host_passes` says, and a test holds the two together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class Filter(ABC):
    """Made once per scheduler, with no arguments; options are read from `nova0.config.CONF`."""

    @abstractmethod
    def host_passes(self, host: HostView, request: Request) -> bool:
        """True where the request may go to this host. No side effects; order of filters is the operator's."""

    def applies(self, request: Request) -> bool:
        """False where every host would pass: the filter is then not asked host by host."""
        return True

    def key(self, request: Request) -> Hashable | None:
        """What of the request the answer depends on, where for one key the answer changes only with what a
        host reports and its aggregates, never with its servers: such answers are kept. None: never kept."""
        return None

    def mask(self, hosts: HostColumns, request: Request) -> Any | None:
        """The answers for all hosts at once, as an array of booleans; None: ask host by host."""
        return None
