"""What every node answers by itself on the topic `mesh`: who is there, what can be asked, ping, what it counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from nova0.mesh import counts, operators, rekeying
from nova0.mesh.bus import Member
from nova0.mesh.certificate import Certificate, Chain, Trust
from nova0.mesh.counts import Totals
from nova0.mesh.errors import BadArguments, NotAllowed
from nova0.mesh.rotation import Rotation
from nova0.mesh.stores import StoreClaim
from nova0.mesh.surface import CONTROLLER, HOST, MEMBER, SHORT, Surface, call
from nova0.mesh.wire import Card, Seen, Signed
from nova0.metrics import Family

if TYPE_CHECKING:
    from nova0.mesh.node import Node
    from nova0.mesh.peer import Peer


class LinkSeen(msgspec.Struct):
    """One link of a node: it dialled `node`, or would."""

    node: str
    up: bool
    listens: bool  # it also hears the beats and casts of `node`
    waiting: int = 0  # calls without an answer
    trouble: str = ""  # why it is not up


class MeshAPI(Surface):
    topic = "mesh"

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def ping(self) -> Annotated[float, "seconds"]:  # type: ignore[empty-body]
        """Wall clock there: a round trip that went through the node's loop."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def describe(self) -> list[dict[str, Any]]:  # type: ignore[empty-body]
        """Every method offered there: its signature, arguments with types and units, patience in seconds, who may
        call it (nova0.mesh.describing)."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def members(self) -> list[Member]:  # type: ignore[empty-body]
        """The members as that node sees them, itself included."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def cards(self) -> list[Seen]:  # type: ignore[empty-body]
        """The same in the form nodes tell each other."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def challenge(self) -> bytes:  # type: ignore[empty-body]
        """For one call with an operator's authority that the caller brings to this node within a minute."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def operator(self, key: bytes) -> Signed:  # type: ignore[empty-body]
        """Of the controller that made the operator with this key (Ed25519, 32 bytes): the newest certificate."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def totals(self) -> Totals:  # type: ignore[empty-body]
        """What the node has done since its start, in sums: calls, casts, bytes, latencies."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def metrics(self) -> list[Family]:  # type: ignore[empty-body]
        """Every counter, gauge and histogram of the node, as Prometheus would be told."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def links(self) -> list[LinkSeen]:  # type: ignore[empty-body]
        """The links that this node has dialled, or tries to."""
        ...

    @call(allow=CONTROLLER, timeout=SHORT, repeatable=True)
    def adopt(self, claim: StoreClaim) -> int:  # type: ignore[empty-body]
        """The operator says that the caller's store is the right one. Returns the epoch of the newest
        adoption taken there: higher than the one claimed where another was taken before."""
        ...

    @call(allow=(CONTROLLER, HOST), timeout=SHORT, repeatable=True)
    def recertify(self, key: bytes) -> Chain:  # type: ignore[empty-body]
        """Of a controller: a certificate for another key (CURVE, 32 bytes) of the caller's machine."""
        ...

    @call(allow=(CONTROLLER, HOST), timeout=SHORT, repeatable=True)
    def moved(self, chain: Chain, card: Card) -> None:
        """The caller goes on under this certificate, at the ports of this card."""
        ...

    @call(allow=(CONTROLLER, HOST), timeout=SHORT, repeatable=True)
    def retire(self, old: Signed) -> None:
        """Of a controller: put out the key of an earlier certificate of the caller's machine."""
        ...

    @call(allow=CONTROLLER, timeout=SHORT, repeatable=True)
    def reissued(self, chain: Chain) -> None:
        """The callee's own certificate, made anew by another signer."""
        ...

    @call(allow=CONTROLLER, timeout=SHORT, repeatable=True)
    def signers(self, signed: Signed) -> None:
        """Which signers count from now on, signed by the root."""
        ...

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def trust(self, known: Trust) -> Trust:  # type: ignore[empty-body]
        """Which root counts, by the records of each change of it, and which signers by its word: the caller's
        knowledge, taken if it is newer and its signatures hold; the answer is what is known there then."""
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

    def challenge(self) -> bytes:
        return self._node.operators.challenge(self._node.caller().node)

    def operator(self, key: bytes) -> Signed:
        return operators.certificate_of(self._node.identity, key)

    def totals(self) -> Totals:
        return counts.totals(self._node)

    def metrics(self) -> list[Family]:
        return counts.families(self._node)

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
        return rekeying.certify(self._node, self._certificate(), key)

    def moved(self, chain: Chain, card: Card) -> None:
        rekeying.moved(self._node, self._caller(), chain, card)

    def retire(self, old: Signed) -> None:
        rekeying.retire(self._node, self._certificate(), old)

    def reissued(self, chain: Chain) -> None:
        Rotation(self._node).reissued(chain)

    def signers(self, signed: Signed) -> None:
        Rotation(self._node).take(Trust((), signed))

    def trust(self, known: Trust) -> Trust:
        Rotation(self._node).take(known)
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
