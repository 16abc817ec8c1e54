"""A weigher gives a host a raw number; over all hosts left they are scaled to 0..1, times the multiplier,
and summed. The largest sum wins. One class, one file, under the field's name.

`weigh` is all that one's own weigher needs; `column` is the same for all hosts at once, and a test holds
the two together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request

if TYPE_CHECKING:
    from nova0.controller.scheduler.host_columns import HostColumns


class Weigher(ABC):
    """`multiplier_option` is read from [scheduler]; the same key in an aggregate's metadata overrides it
    for the aggregate's hosts (the smallest, where several do)."""

    multiplier_option: ClassVar[str] = ""

    @abstractmethod
    def weigh(self, host: HostView, request: Request) -> float:
        """More is better (with a positive multiplier)."""

    def applies(self, request: Request) -> bool:
        """False where all hosts would weigh the same."""
        return True

    def column(self, hosts: HostColumns, request: Request) -> Any | None:
        """Raw weights of all hosts, as an array of floats; None: ask host by host."""
        return None
