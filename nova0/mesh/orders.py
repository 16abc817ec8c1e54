"""What this machine's administrator has its node do for the whole cluster: given at the local socket, by
root or the node's own user only.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from nova0.mesh.errors import BadArguments, MeshError
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.stores import StoreClaim, Stores

LOG = logging.getLogger(__name__)


class Home(Protocol):
    """What orders need of the node."""

    settings: MeshSettings
    node: str
    boot: int
    roster: Roster
    stores: Stores

    def ask(self, peer: Peer, method: str, **arguments: Any) -> Any: ...


class Orders:
    def __init__(self, node: Home) -> None:
        self._node = node

    def adopt(self) -> dict[str, Any]:
        """Sign that the store behind this controller is the right one, and have every node that can be
        reached take it; the others hear it at their next greeting. {"store_id", "epoch", "taken": [node],
        "missing": {node: why}}. Raises BadArguments on a node without a store, JoinRefused without a signer."""
        node = self._node
        if not node.settings.store_id:
            raise BadArguments(f"{node.node} has no store to adopt: run this on the controller")
        signed = node.stores.adopt(node.settings.store_id)
        answers = self._tell_adoption()
        highest = max((epoch for epoch in answers.values() if isinstance(epoch, int)), default=0)
        if highest > node.stores.epoch_of(signed):  # of an adoption this controller no longer knows of
            signed = node.stores.adopt(node.settings.store_id, at_least=highest)
            answers = self._tell_adoption()
        epoch = node.stores.epoch_of(signed)
        LOG.warning("%s: store %s is adopted (epoch %d)", node.node, node.settings.store_id[:8], epoch)
        return {
            "store_id": node.settings.store_id,
            "epoch": epoch,
            "taken": sorted(name for name, answer in answers.items() if answer == epoch),
            "missing": {name: str(answer) for name, answer in sorted(answers.items()) if answer != epoch},
        }

    def _tell_adoption(self) -> dict[str, int | str]:
        node, s = self._node, self._node.settings
        claim = StoreClaim(node.node, node.boot, s.store_id, s.commit_mark(), node.stores.adoption)
        answers: dict[str, int | str] = {}
        for peer in list(node.roster.peers.values()):
            if not peer.listed or peer.protocol < 2:
                continue
            try:
                answers[peer.node] = epoch = int(node.ask(peer, "adopt", claim=claim))
                if epoch == node.stores.epoch_of(claim.adoption):
                    peer.doubt = ""
            except MeshError as error:
                answers[peer.node] = error.message
        return answers
