"""What every node can be asked on the topic `mesh`, and the records of the answers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from nova0.mesh.certificate import Chain, Trust
from nova0.mesh.members import Member
from nova0.mesh.stores import StoreClaim
from nova0.mesh.surface import CONTROLLER, HOST, MEMBER, SHORT, Surface, call
from nova0.mesh.wire import Card, Seen, Signed
from nova0.metrics import BOUNDS_S, Family

Total = Annotated[int, Meta(ge=0, le=1 << 62)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]  # bounds refuse NaN too
Buckets = Annotated[list[Total], Meta(max_length=len(BOUNDS_S) + 1)]


class LinkSeen(msgspec.Struct):
    """One link of a node: it dialled `node`, or would."""

    node: Annotated[str, Meta(max_length=256)]
    up: bool
    listens: bool  # it also hears the beats and casts of `node`
    waiting: Total = 0  # calls without an answer
    trouble: str = ""  # why it is not up


class Totals(msgspec.Struct, kw_only=True):
    """One node's work since its start, its own bookkeeping (topic `mesh`) left out. Differences of two make rates."""

    node: str
    at_s: Seconds  # the node's monotonic clock
    up_s: Seconds  # since its start
    load: Total  # calls it is working on
    answered: Total  # calls
    asked: Total
    failed: Total  # calls answered with an error, or refused
    buckets: Buckets  # answered calls by bucket of metrics.BOUNDS_S
    asked_buckets: Buckets
    casts_sent: Total
    casts_heard: Total
    bytes_in: Total
    bytes_out: Total
    gaps: Total
    reconnects: Total
    stalls: Total


class MeshAPI(Surface):
    topic = "mesh"
    served_by = MEMBER

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

    @call(allow=MEMBER, timeout=SHORT, repeatable=True)
    def leave(self) -> None:
        """Of a controller: the caller's machine leaves the cluster. Its key is put out for good, which frees its
        name. Raises NotAllowed for a controller's machine, JoinRefused where it cannot sign."""
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
