"""A link comes up: what each side tells of itself, and what the two must agree on before anything is served -
cluster, protocol, tombstones, one store.
"""

from __future__ import annotations

from typing import Protocol

import gevent

from nova0.mesh import wire
from nova0.mesh.casting import Casting
from nova0.mesh.errors import Incompatible, PutOut
from nova0.mesh.evicting import Evicting
from nova0.mesh.gatekeeper import Gatekeeper
from nova0.mesh.identity import Identity
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.rotation import Rotation
from nova0.mesh.settings import MeshSettings
from nova0.mesh.stores import StoreClaim, Stores
from nova0.mesh.watching import MOST_INTRODUCED, SOME, Watching


class Home(Protocol):
    """What a greeting needs of the node."""

    settings: MeshSettings
    node: str
    out: str
    identity: Identity
    roster: Roster
    stores: Stores
    gatekeeper: Gatekeeper
    casting: Casting
    watching: Watching
    evicting: Evicting
    rotation: Rotation

    @property
    def is_controller(self) -> bool: ...

    def card(self) -> wire.Card: ...


class Greeting:
    def __init__(self, home: Home) -> None:
        self._home = home
        self.conflict = ""  # why another controller and this one refuse each other, if one does

    def hello(self, met: bytes | None = None) -> wire.Hello:
        """`met`: the peer asked to see our tombstones before it serves us."""
        home = self._home
        s = home.settings
        return wire.Hello(
            *s.speaks,
            home.identity.cluster,
            home.card(),
            home.roster.tombs,
            s.store_id,
            s.commit_mark(),
            home.stores.adoption if home.is_controller else None,
            [] if met is None else home.roster.tombstones.stones(),
            met or b"",
            home.casting.sent(),
        )

    def greet(self, key: bytes, address: str, hello: wire.Hello) -> tuple[Peer, wire.Welcome | wire.Stones]:
        """A known key greets at the RPC socket. Raises MeshError to refuse it. Stones in place of Welcome:
        it must show its tombstones and see ours first."""
        home = self._home
        if hello.cluster != home.identity.cluster:
            raise Incompatible(f"{home.node}: {hello.card.node} belongs to another cluster")
        self._same_store(hello.card, hello.store_id)
        peer = home.gatekeeper.met(key, address, hello.card)
        self._agree(peer, (hello.lowest, hello.highest))
        first = home.evicting.compare(peer, hello)
        if home.out or not home.roster.admits(key):
            raise PutOut(home.out or f"{hello.card.node} was put out of the cluster")
        if first is not None:
            return peer, first
        home.roster.heard(peer, hello.card.boot)
        if home.is_controller:  # what it casts comes to the ear, over a way it makes anew with each greeting
            home.casting.greeted(peer, hello.marks)
        doubt = self._look_at_store(peer, hello)
        home.watching.greeted(peer)
        s = home.settings
        adoption = home.stores.adoption if home.is_controller else None
        members = home.watching.introduction()
        welcome = wire.Welcome(
            peer.protocol, home.card(), home.roster.tombs, s.store_id, s.commit_mark(), members, adoption, doubt,
            home.casting.sent(), home.identity.signers.age,
        )  # fmt: skip
        return peer, welcome

    def welcomed(self, peer: Peer, welcome: wire.Welcome) -> None:
        """Our Hello was answered: the link is up."""
        home = self._home
        self._agree(peer, (welcome.protocol, welcome.protocol))
        self._same_store(welcome.card, welcome.store_id)
        assert peer.chain is not None
        home.roster.prove(peer.chain, welcome.card, peer.card.key, peer.card.address)
        home.roster.heard(peer, welcome.card.boot)
        self._look_at_store(peer, welcome)
        peer.doubt = welcome.doubt if home.is_controller else ""
        if peer.watched:
            home.casting.join(peer)
            if not home.is_controller:
                home.casting.greeted(peer, welcome.marks)
        home.watching.told(peer, welcome.members, whole=len(welcome.members) not in (SOME, MOST_INTRODUCED))
        home.watching.beat_soon()
        if welcome.trust not in ((0, 0), home.identity.signers.age):
            gevent.spawn(home.rotation.compare, peer)

    def _agree(self, peer: Peer, theirs: tuple[int, int]) -> None:
        """The protocol both speak. Raises Incompatible, which `nova0 agents` then shows."""
        home = self._home
        mine = home.settings.speaks
        protocol = wire.common_protocol(mine, theirs)
        if not protocol:
            peer.detail = wire.apart(home.node, mine, peer.node, theirs)
            raise Incompatible(peer.detail)
        peer.protocol = protocol

    def _look_at_store(self, peer: Peer, said: wire.Hello | wire.Welcome) -> str:
        """A controller's greeting says which store is behind it. Returns what speaks against it."""
        home = self._home
        if not peer.is_controller:
            return ""
        return home.stores.greeted(
            StoreClaim(peer.node, said.card.boot, said.store_id, said.commit_mark, said.adoption)
        )

    def _same_store(self, card: wire.Card, store_id: str) -> None:
        home = self._home
        mine = home.settings.store_id
        if mine and store_id and mine != store_id:
            self.conflict = (
                f"{home.node} and {card.node} are controllers of one cluster with different stores ({mine[:8]} here, "
                f"{store_id[:8]} there): stop one, point both at one database, or `nova0 adopt` the right store"
            )
            raise Incompatible(self.conflict)
