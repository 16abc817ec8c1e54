"""The API's way onto the mesh: what an administrator's program asks of agents by HTTP.

It asks as `member` and `operator`, lent by this controller, and never as the controller itself: what only a
controller may ask (boot, delete, claims) stays behind the conductor and its books.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nova0.mesh.errors import Busy
from nova0.mesh.node import Node

LENT = ("member", "operator")
MOST_AT_ONCE = 64  # calls of HTTP clients without an answer
LOOK_S = 5.0  # patience with those who are asked what they offer


class Bridge:
    """See services.Mesh for what is promised."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._at_work = 0

    def call(
        self,
        agent: str,
        method: str,
        arguments: dict[str, Any],
        *,
        timeout_s: float,
        request_id: str | None,
        context: dict[str, Any],
    ) -> Any:
        if self._at_work >= MOST_AT_ONCE:
            raise Busy(f"{self._node.node}: {MOST_AT_ONCE} calls by HTTP are under way; ask again later")
        self._at_work += 1
        try:
            return self._node.asking.call(
                agent, method, arguments, timeout_s=timeout_s, request_id=request_id, context=context, lent=LENT
            )
        finally:
            self._at_work -= 1

    def members(self) -> list[dict[str, Any]]:
        return msgspec.to_builtins(self._node.members())

    def surfaces(self, agent: str | None) -> list[dict[str, Any]]:
        if agent:
            return self._node.asking.describe(agent)
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for told in self._node.asking.everyone("describe", LOOK_S):
            for row in told["answer"] or []:
                rows.setdefault((row["agent"], row["method"]), row)
        return [rows[key] for key in sorted(rows)]

    def metrics(self, agent: str | None) -> list[dict[str, Any]]:
        return self._node.asking.metrics(agent, LOOK_S)
