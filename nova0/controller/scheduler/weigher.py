"""A weigher gives a host a raw number; over all hosts left they are scaled to 0..1, times the multiplier,
and summed. The largest sum wins. One class, one file, under the field's name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from nova0.controller.scheduler.host_view import HostView
from nova0.controller.scheduler.request import Request


class Weigher(ABC):
    multiplier_option: ClassVar[str] = ""

    @abstractmethod
    def weigh(self, host: HostView, request: Request) -> float:
        """More is better (with a positive multiplier)."""
