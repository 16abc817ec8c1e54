"""Who listens to whom: a host to its neighbours on a ring of names, to controllers and its own machine."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from nova0.mesh.members import Status
from nova0.mesh.peer import Peer
from nova0.mesh.surface import Role


def interest(me: str, controller: bool, hears: set[Role], peers: list[Peer], ring: int) -> set[str]:
    """Names of the nodes whose beats and casts come here directly."""
    if controller:
        return {p.node for p in peers}
    host = me.partition("/")[0]
    chosen = {p.node for p in peers if p.is_controller or p.card.host == host}
    if hears & {Role.HOST, Role.MEMBER, Role.OPERATOR}:
        chosen |= {p.node for p in peers if p.listed}
    if not any(p.is_controller for p in peers):  # nobody to ask yet
        chosen |= {p.node for p in peers}
    alive = [p.node for p in peers if not p.is_controller and p.status not in (Status.DOWN, Status.LEFT)]
    everyone = [p.node for p in peers if not p.is_controller]
    for names in (alive, everyone):
        order = sorted({me, *names}, key=place)
        at = order.index(me)
        for step in range(1, ring + 1):
            chosen |= {order[(at + step) % len(order)], order[(at - step) % len(order)]}
    return chosen - {me}


@lru_cache(maxsize=16_384)
def place(node: str) -> bytes:
    """On the ring."""
    return blake2b(node.encode(), digest_size=8).digest()
