"""Who is let in: the decisions behind the door (meet, sign in) and at a greeting."""

from __future__ import annotations

import logging
from typing import Protocol

from nova0.mesh import wire
from nova0.mesh.certificate import role_topics
from nova0.mesh.door import AskHello, AskJoin, Shown
from nova0.mesh.entitlement import check_grant
from nova0.mesh.errors import BadArguments, JoinRefused, PutOut
from nova0.mesh.identity import Identity
from nova0.mesh.keys import key_bytes, key_text
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.tokens import TokenBook
from nova0.native import offload

LOG = logging.getLogger(__name__)
MOST_CARDS_AT_DOOR = 50


class House(Protocol):
    """What the gatekeeper needs of its node."""

    identity: Identity
    roster: Roster
    tokens: TokenBook
    node: str

    @property
    def is_controller(self) -> bool: ...

    def card(self) -> wire.Card: ...

    def seen(self) -> list[wire.Seen]: ...


class Gatekeeper:
    def __init__(self, house: House) -> None:
        self._house = house

    def show(self) -> Shown:
        """Nothing secret: what every member can be asked for."""
        return Shown(self._house.identity.chain, self._house.card())

    def meet(self, user_id: str, address: str, ask: AskHello) -> Shown:
        """A certified node this one does not know yet."""
        self._house.roster.prove(ask.chain, ask.card, key_bytes(user_id), address)
        return self.show()

    def met(self, key: bytes, address: str, card: wire.Card) -> Peer:
        """A greeting over RPC: its certificate is known (maybe from another process of that machine)."""
        roster = self._house.roster
        chain = self._house.identity.chain if key == self._house.identity.pair.public else roster.chain_of(key)
        if chain is None:
            raise JoinRefused(f"{card.node}: its certificate is not known here; knock at the door first")
        return roster.prove(chain, card, key, address)

    def sign_in(self, user_id: str, address: str, ask: AskJoin) -> Shown:
        """A newcomer with a token; its roles and, where given, its name come from the token."""
        house = self._house
        if not house.is_controller:
            raise JoinRefused(f"{house.node} is no controller: join at one that is")
        if not ask.host or len(ask.host) > 64 or not all(c.isascii() and (c.isalnum() or c in "-._") for c in ask.host):
            raise JoinRefused(f"host name {ask.host!r}: letters, digits, '-', '.' and '_' only, at most 64")
        key = key_bytes(user_id)
        if house.roster.tombstones.is_out(key):
            raise PutOut(f"{ask.host}: its key was put out: join with a new one (move node.key out of its mesh folder)")
        known = {h for h in house.roster.hosts() if not house.roster.is_of(h, key)}
        grant = offload(house.tokens.redeem, ask.token_id, ask.secret, ask.host, key, known)
        vouch = ask.vouch if len(ask.vouch) == 32 else b""
        try:
            check_grant(grant.roles, grant.topics)
        except BadArguments as error:  # minted by an earlier nova0, or the topic is declared since
            raise JoinRefused(f"this token is good for nothing now: {error.message}: mint another") from None
        certificate = house.identity.sign_in(ask.host, grant.roles, role_topics(grant.roles, grant.topics), key, vouch)
        LOG.info("%s: %s joined from %s as %s (key %s)", house.node, ask.host, address, grant.roles, key_text(key)[:8])
        chain = house.identity.chain_for(certificate)
        house.roster.admit(chain)
        return Shown(house.identity.chain, house.card(), chain, house.seen()[:MOST_CARDS_AT_DOOR])
