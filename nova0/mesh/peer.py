"""What this node keeps of one other node, and how a person is told of it. `Roster` has all of them and decides."""

from __future__ import annotations

import time

from nova0.mesh import entitlement
from nova0.mesh.certificate import Certificate, Chain
from nova0.mesh.flapping import Flaps
from nova0.mesh.link import Link
from nova0.mesh.members import Member, Status
from nova0.mesh.surface import declared
from nova0.mesh.wire import LOWEST, Card


class Peer:
    """One other node."""

    __slots__ = (
        "beat",
        "boot",
        "boot_at",
        "card",
        "casts",
        "certificate",
        "chain",
        "claimed_by",
        "connected",
        "cut_at",
        "detail",
        "doubt",
        "flaps",
        "heard_at",
        "hint",
        "left_boot",
        "link",
        "listed",
        "load",
        "numbers",
        "probed_at",
        "protocol",
        "roles",
        "status",
        "suspect_at",
        "told",
        "watched",
        "wrong",
    )

    def __init__(self, card: Card) -> None:
        self.card = card
        self.hint: Card | None = None  # another address it may be at
        self.chain: Chain | None = None
        self.certificate: Certificate | None = None
        self.roles: tuple[str, ...] = ()
        self.status = self.told = Status.UNKNOWN  # as it is, and as applications and others were told
        self.flaps: Flaps | None = None  # none until it first goes
        self.heard_at: float | None = None  # monotonic
        self.suspect_at = self.probed_at = 0.0
        self.connected = False  # it holds a connection to our RPC socket
        self.cut_at: float | None = None  # since when that is cut and nothing was heard of it
        self.watched = False  # its beats come here; else its status is what controllers say
        self.listed = False  # a hint from mDNS is not shown
        self.claimed_by = ""
        self.detail = ""
        self.doubt = ""  # why it does nothing destructive for us
        self.wrong: tuple[str, ...] = ()  # topics its card claims and its certificate does not allow: not asked
        self.casts: dict[str, bool] = {}  # topic -> whether its casts on it are heard, as found so far
        self.load = 0
        self.protocol = LOWEST  # what both speak, as agreed at the last greeting: new messages need >= 2
        self.boot = card.boot
        self.boot_at = time.monotonic()  # when that start was first heard of
        self.left_boot = -1
        self.beat = -1  # number of the last one
        self.numbers: dict[str, int] = {}  # topic -> last cast number heard or accounted for
        self.link: Link[Peer] | None = None

    @property
    def node(self) -> str:
        return self.card.node

    @property
    def is_controller(self) -> bool:
        """As certified; of an unproven node as it claims, which only makes it worth dialling."""
        return "controller" in (self.card.roles if self.chain is None else self.roles)

    @property
    def is_certified_controller(self) -> bool:
        return self.chain is not None and "controller" in self.roles

    @property
    def is_users(self) -> bool:
        """A user's agent: a member with topics of users, never `self` to its neighbours."""
        return self.certificate is not None and bool(self.certificate.process)

    @property
    def near(self) -> str:
        """Host whose processes take it for `self`; none of a user's agent."""
        return "" if self.is_users else self.card.host

    def age_s(self) -> float | None:
        return None if self.heard_at is None else max(0.0, time.monotonic() - self.heard_at)


def member_of(peer: Peer) -> Member:
    detail = peer.detail
    if not detail and peer.status is not Status.UP and peer.link is not None:
        detail = peer.link.trouble
    if peer.flaps is not None and peer.flaps.damped:
        held = peer.flaps.held_s(time.monotonic())
        often = f"flapping: went {peer.flaps.times} times"
        detail = f"{often}; its changes are held back for {held:.0f} s. {detail}".strip()
    if not peer.watched and peer.claimed_by and peer.status is not Status.UNKNOWN:
        detail = f"{detail} (says {peer.claimed_by})".strip()
    if peer.wrong:
        detail = f"{wrong_text(peer)}. {detail}".strip()
    if peer.doubt:
        detail = f"{detail} destroys nothing for us: {peer.doubt}".strip()
    return Member(
        node=peer.node,
        host=peer.card.host,
        roles=peer.card.roles if peer.chain is None else peer.roles,
        topics=peer.card.topics,
        address=f"{peer.card.address}:{peer.card.rpc_port}",
        version=peer.card.version,
        status=peer.status,
        beat_age_s=peer.age_s(),
        load=peer.load,
        detail=detail,
        protocol=peer.card.speaks[1],
        wrong_topics=peer.wrong,
    )


def wrong_text(peer: Peer) -> str:
    """What it offers though it may not, what its certificate says, and the remedy. A topic unknown here may be one of
    a newer nova0."""
    if peer.certificate is None:
        return ""
    name = peer.node if peer.is_users else peer.card.host
    unknown = not peer.is_users and not any(declared(topic) for topic in peer.wrong)
    other = "upgrade nova0 here if it is of a newer one, join with `nova0 token --topic` if it is yours, else "
    return (
        f"offers {entitlement.named(peer.wrong)}, which its certificate ({entitlement.says(peer.certificate)}) "
        f"does not let it answer: it is not asked; {other if unknown else ''}put it out with `nova0 evict {name}`"
    )


class Peers(dict[str, Peer]):
    """Nodes by name, and those of one host without a look at all the others: every call to a host asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self._by_host: dict[str, dict[str, Peer]] = {}

    def of_host(self, host: str) -> list[Peer]:
        return list(self._by_host.get(host, {}).values())

    def __setitem__(self, node: str, peer: Peer) -> None:
        super().__setitem__(node, peer)
        self._by_host.setdefault(peer.card.host, {})[node] = peer

    def __delitem__(self, node: str) -> None:
        host = self[node].card.host
        super().__delitem__(node)
        del self._by_host[host][node]
        if not self._by_host[host]:
            del self._by_host[host]
