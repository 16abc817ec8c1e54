"""How a machine ends its own membership: a controller puts its key out for good at its own wish."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import gevent

from nova0.mesh.certificate import Certificate
from nova0.mesh.errors import MeshError, NotAllowed, PutOut, Unreachable
from nova0.mesh.evicting import Evicting
from nova0.mesh.identity import Identity
from nova0.mesh.members import Status
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.tombstones import LEFT, Tombstones, left_by_itself, put_out

LOG = logging.getLogger(__name__)
LAST_WORD_S = 0.3  # the answer is on its way before the caller's connections are cut
HEARD_WITHIN_S = 5.0


class Leaver(Protocol):
    """What leaving needs of the leaving machine's node."""

    node: str
    out: str
    roster: Roster

    def ask(self, peer: Peer, method: str, **arguments: Any) -> Any: ...


class Home(Protocol):
    """What it needs of the controller's."""

    node: str
    identity: Identity
    evicting: Evicting


def leave(node: Leaver) -> None:
    """Returns once this machine is out. Asks each controller that is up. Raises Unreachable where none did it."""
    problems = []
    for peer in list(node.roster.peers.values()):
        if peer.is_controller and peer.status is Status.UP:
            try:
                node.ask(peer, "leave")
            except PutOut:
                return
            except MeshError as error:
                problems.append(error.message)
                continue
            with gevent.Timeout(HEARD_WITHIN_S, False):
                while not node.out:
                    gevent.sleep(0.02)
            return
    raise Unreachable("; ".join(problems) or f"{node.node}: no controller is up")


def let_go(home: Home, theirs: Certificate) -> None:
    """On a controller, for the machine that asks. Raises NotAllowed, JoinRefused."""
    if "controller" in theirs.roles:
        raise NotAllowed(f"{theirs.host} holds a controller's certificate: put it out with `nova0 evict`")
    stone = put_out(
        *(home.identity.signer(), theirs.cluster, theirs.key, theirs.host, LEFT, theirs.host), node_id=theirs.node_id
    )
    LOG.warning("%s: %s leaves the cluster", home.node, theirs.host)
    gevent.spawn_later(LAST_WORD_S, home.evicting.put_out, [stone])


def has_left(identity: Identity) -> bool:
    """True where this machine ended its membership itself: what it heard says so."""
    stone = Tombstones(identity).of(identity.chain)
    return stone is not None and left_by_itself(stone)
