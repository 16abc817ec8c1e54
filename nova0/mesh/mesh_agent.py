"""What every node answers by itself on the topic `mesh`: who is there, what can be asked, ping."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nova0.mesh.bus import Member
from nova0.mesh.surface import MEMBER, SHORT, Surface, call
from nova0.mesh.wire import Seen

if TYPE_CHECKING:
    from nova0.mesh.node import Node


class MeshAPI(Surface):
    topic = "mesh"

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def ping(self) -> float:  # type: ignore[empty-body]
        """Wall clock there, in seconds: a round trip that went through the node's loop."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def describe(self) -> list[dict[str, Any]]:  # type: ignore[empty-body]
        """Every method offered there: agent, method, kind, allow, timeout, arguments, doc."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def members(self) -> list[Member]:  # type: ignore[empty-body]
        """The members as that node sees them, itself included."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def cards(self) -> list[Seen]:  # type: ignore[empty-body]
        """The same in the form nodes tell each other."""
        ...


class MeshAgent(MeshAPI):
    def __init__(self, node: Node) -> None:
        self._node = node

    def ping(self) -> float:
        return time.time()

    def describe(self) -> list[dict[str, Any]]:
        return self._node.offers.describe()

    def members(self) -> list[Member]:
        return self._node.members()

    def cards(self) -> list[Seen]:
        return self._node.seen()
