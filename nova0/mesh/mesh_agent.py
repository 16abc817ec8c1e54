"""What every node answers by itself on the topic `mesh`: who is there, what can be asked, ping, what it counted."""

from __future__ import annotations

import time
from typing import Any, Protocol

import msgspec

from nova0.mesh import leaving, operators, telemetry
from nova0.mesh.certificate import Certificate, Chain, Trust
from nova0.mesh.errors import BadArguments, NotAllowed
from nova0.mesh.evicting import Evicting
from nova0.mesh.identity import Identity
from nova0.mesh.members import Caller, Member
from nova0.mesh.mesh_api import LinkSeen, MeshAPI, Totals
from nova0.mesh.operators import Operators
from nova0.mesh.peer import Peer
from nova0.mesh.rekeying import Rekeying
from nova0.mesh.rotation import Rotation
from nova0.mesh.stores import StoreClaim, Stores
from nova0.mesh.wire import Card, Seen, Signed
from nova0.metrics import Family


class Home(telemetry.Measured, Protocol):
    """What is asked of the node here."""

    node: str
    identity: Identity
    operators: Operators
    evicting: Evicting
    stores: Stores
    rekeying: Rekeying
    rotation: Rotation

    def members(self) -> list[Member]: ...

    def seen(self) -> list[Seen]: ...

    def caller(self) -> Caller: ...


class MeshAgent(MeshAPI):
    def __init__(self, node: Home) -> None:
        self._node = node

    def ping(self) -> float:
        return time.time()

    def describe(self) -> list[dict[str, Any]]:
        return self._node.offers.describe()

    def members(self) -> list[Member]:
        return self._node.members()

    def cards(self) -> list[Seen]:
        return self._node.seen()

    def challenge(self) -> bytes:
        return self._node.operators.challenge(self._node.caller().node)

    def operator(self, key: bytes) -> Signed:
        return operators.certificate_of(self._node.identity, key)

    def totals(self) -> Totals:
        return telemetry.totals(self._node)

    def metrics(self) -> list[Family]:
        return telemetry.families(self._node)

    def links(self) -> list[LinkSeen]:
        return [
            LinkSeen(p.node, p.link.up, p.watched, len(p.link.pending), "" if p.link.up else p.link.trouble)
            for p in self._node.roster.peers.values()
            if p.link is not None and p.link.wanted
        ]

    def adopt(self, claim: StoreClaim) -> int:
        caller = self._node.caller().node
        self._node.stores.greeted(msgspec.structs.replace(claim, node=caller))
        return self._node.stores.epoch

    def recertify(self, key: bytes) -> Chain:
        return self._node.rekeying.certify(self._certificate(), key)

    def moved(self, chain: Chain, card: Card) -> None:
        self._node.rekeying.moved(self._caller(), chain, card)

    def retire(self, old: Signed) -> None:
        self._node.rekeying.retire(self._certificate(), old)

    def leave(self) -> None:
        leaving.let_go(self._node, self._certificate())

    def reissued(self, chain: Chain) -> None:
        self._node.rotation.reissued(chain)

    def signers(self, signed: Signed) -> None:
        self._node.rotation.take(Trust((), signed))

    def trust(self, known: Trust) -> Trust:
        self._node.rotation.take(known)
        return self._node.identity.trust

    def _caller(self) -> Peer:
        peer = self._node.roster.peers.get(self._node.caller().node)
        if peer is None:
            raise BadArguments("asked by this very node")
        return peer

    def _certificate(self) -> Certificate:
        certificate = self._caller().certificate
        if certificate is None or certificate.process:
            raise NotAllowed("only a machine's own node may ask this")
        return certificate
