"""Who is known: cards, proofs and status of every other node. The one place a status changes.

A *proven* peer has shown a certificate for its key; a hint (mDNS, a list of members) is only dialled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from nova0.mesh import addresses, entitlement, keys
from nova0.mesh.certificate import Certificate, Chain, machine_of
from nova0.mesh.errors import Busy, JoinRefused, MeshError, PutOut
from nova0.mesh.flapping import Flaps
from nova0.mesh.identity import Identity
from nova0.mesh.members import Member, Status
from nova0.mesh.peer import Peer, Peers, member_of, wrong_text
from nova0.mesh.tombstones import Tombstones, put_out_text
from nova0.mesh.wire import BROKEN, Card, Seen, Tombs

LOG = logging.getLogger(__name__)
MAX_PROCESSES = 16  # nodes of one machine
MAX_HINTS = 256  # unproven nodes kept at once
MAX_QUARANTINED = 256  # keys
LATE_S = 5.0  # beats of a start before the present one may still come in for so long
MAX_GONE = 256  # put-out nodes still shown
MOST_WRONG = 64  # topics kept of those that one node may not answer; a longer list is cut
MOST_SAID = 16  # topics of one machine that are logged as wrong, each once
LONGEST_TOPIC = 256
# of one card, whoever shows it
MOST_NUMBER = 1 << 53
MOST_ADDRESS, MOST_VERSION, MOST_ROLES, MOST_TOPICS, MOST_TOPICS_TEXT = 64, 64, 16, 1024, 65_536
GONE_S = 7 * 86400  # shown so long after it, when this node starts again


class Roster:
    """All peers of one node; `changed(peer, old_status)` hears every change of status."""

    def __init__(self, identity: Identity, node: str, most: int) -> None:
        self._identity, self._node, self._most = identity, node, most
        self.peers = Peers()
        self._keys: dict[bytes, Certificate] = {identity.certificate.key: identity.certificate}
        self._chains: dict[bytes, Chain] = {}
        self._of_host = {identity.certificate.host: {identity.certificate.key}}  # also keys that count no more
        self.changed: list[Callable[[Peer, Status], None]] = []
        self.told: list[Callable[[Peer, Status], None]] = []  # the same, but held back of peers that flap
        self._flapping: set[str] = set()
        self._said_wrong: dict[str, set[str]] = {}  # host -> topics it may not answer that are in the log
        self.learned: list[Callable[[Peer], None]] = []
        self._dirty: set[str] = set()
        self._folder = identity.state_dir / "peers"
        self.tombstones = Tombstones(identity)
        self.gone: dict[str, Peer] = {}  # nodes put out, to be shown; by name
        self._quarantine_folder = identity.state_dir / "quarantine"
        self.quarantined: dict[bytes, str] = {}  # key -> why
        self.version = 0  # grows with every change that others should hear of

    @property
    def tombs(self) -> Tombs:
        return self.tombstones.summary

    @property
    def own_roles(self) -> tuple[str, ...]:
        return self._identity.certificate.roles

    def admits(self, key: bytes) -> bool:
        """May this key speak at the RPC sockets? The machine's own (another process) may."""
        return key in self._keys

    def certificate_of(self, user_id: str) -> Certificate | None:
        """By ZAP's User-Id."""
        return self._keys.get(keys.key_bytes(user_id))

    def chain_of(self, key: bytes) -> Chain | None:
        """As some process of that machine has shown it."""
        return self._chains.get(key)

    def admit(self, chain: Chain) -> None:
        """A machine just signed in here; its card comes with its greeting. Raises PutOut."""
        certificate = self._identity.verify(chain)
        self.not_put_out(chain)
        self._keep(certificate, chain)

    def _keep(self, certificate: Certificate, chain: Chain) -> None:
        self._chains[certificate.key] = chain
        self.own(certificate)

    def is_of(self, host: str, key: bytes) -> bool:
        certificate = self._keys.get(key)
        return certificate is not None and certificate.host == host

    def key_of(self, name: str) -> tuple[bytes, bytes, bool] | None:
        """(key, node id, is a machine) of a host, or of one user's agent by its node's name; None: not known.
        Of a host that controllers told of, but that was never met here, the node id is b""."""
        for key, certificate in self._keys.items():
            if not certificate.process and certificate.host == name:
                return key, certificate.node_id, True
            if certificate.process and f"{certificate.host}/{certificate.process}" == name:
                return key, certificate.node_id, False
        told = next((p for p in self.peers.values() if p.listed and p.chain is None and p.card.host == name), None)
        return (told.card.key, b"", True) if told is not None else None

    def hosts_put_out(self) -> dict[str, tuple[str, float]]:
        """host -> why, and when by the clock there: those of which no machine is back. From any thread."""
        return {
            name: (put_out_text(stone), stone.at)
            for name, stone in list(self.tombstones.for_good.items())
            if self._keys.keys().isdisjoint(tuple(self._of_host.get(name, ())))
        }

    def hosts(self) -> set[str]:
        return {c.host for c in self._keys.values()} | {p.card.host for p in self.peers.values()}

    def hint(self, card: Card, *, listed: bool = False) -> Peer | None:
        """Somebody says this node exists. Never replaces what is proven; at most another address to try."""
        if card.node == self._node or not _is_name(card.node) or unsound(card):
            return None
        if self.tombstones.is_out(card.key):
            return None
        peer = self.peers.get(card.node)
        if peer is None:
            if not listed and self._unproven() >= MAX_HINTS:
                self._drop_oldest_hint()  # a flood of forged ones must not keep the real one out
            if len(self.peers) >= self._most:
                return None
            peer = self.peers[card.node] = Peer(card)
            self._new(peer)
        elif peer.chain is None and (peer.card.key != card.key or not peer.listed):
            if listed:
                peer.card = card
                self.version += 1
            elif not peer.listed:
                peer.hint = card  # which of the two is real shows when they are dialled, in turn
        elif peer.card.key == card.key and _newer(card, peer.card):
            if listed:  # a member said so; `boot` stays what the peer itself proved
                self._describe(peer, card)
                self._new(peer)
            else:
                peer.hint = card
        elif card.key == peer.card.key and _where(card) != _where(peer.card):
            peer.hint = card
        if listed and not peer.listed:
            peer.listed = True
            self.version += 1
        return peer

    def _unproven(self) -> int:
        """Those that no member told of."""
        return sum(p.chain is None and not p.listed for p in self.peers.values())

    def _drop_oldest_hint(self) -> None:
        for node, peer in self.peers.items():
            if peer.chain is None and not peer.listed:
                del self.peers[node]
                if peer.link is not None:
                    peer.link.close()
                return

    def prove(self, chain: Chain, card: Card, key: bytes, address: str = "") -> Peer:
        """A node that holds `key` shows its certificate and card. Raises JoinRefused, naming what is wrong,
        and PutOut.

        `address`: where its connection came from, believed over what it says of itself."""
        certificate = self._identity.verify(chain)
        if certificate.key != key or card.key != key:
            raise JoinRefused(f"{card.node}: its certificate is for another key than the one it speaks with")
        if certificate.host != card.host:
            raise JoinRefused(f"{card.node}: its certificate is for host {certificate.host}")
        if not _is_name(card.node):  # it becomes a file's name here
            raise JoinRefused(f"{card.host}: calls its process {card.process!r}, which is no name")
        if certificate.process and certificate.process != card.process:
            raise JoinRefused(f"{card.node}: its certificate is for {certificate.host}/{certificate.process}")
        if address and not addresses.is_one(card.address):  # it advertises a name: where it came from, then
            card = msgspec.structs.replace(card, address=address)
        left_here = not address and card.host == self._identity.certificate.host  # by a process of this machine
        if not left_here and (why := unsound(card)):
            raise JoinRefused(f"{card.host}: its card cannot be used: {why}")
        self.not_put_out(chain)
        self._holds_its_name(certificate)
        if certificate.process:
            self._holds_its_name(machine_of(chain))
        if address and card.host != self._identity.certificate.host and not address.startswith("127."):
            card = msgspec.structs.replace(card, address=address)
        peer = self.peers.get(card.node)
        if peer is None:
            if len(self.peers) >= self._most:
                raise Busy(f"{self._node}: {self._most} nodes are known here, no more are taken")
            alike = [p for p in self.peers.of_host(card.host) if p.is_users == bool(certificate.process)]
            if len(alike) >= MAX_PROCESSES:
                raise Busy(f"{self._node}: {card.host} has {MAX_PROCESSES} processes here already")
            peer = self.peers[card.node] = Peer(card)
        elif peer.chain is not None and peer.card.key == key:
            twin = _twin(card, peer)
            if twin and address:  # it speaks now, this is no old record of it
                self.quarantine(key, twin)
            if twin:
                raise JoinRefused(f"{twin}, with nova0 stopped there, and start it again")
        known = peer.chain == chain
        other_key = peer.chain is not None and peer.card.key != key
        if other_key and peer.is_users:  # its user lost the old one; the newer certificate counts
            self._keys.pop(peer.card.key, None)
            self._chains.pop(peer.card.key, None)
            peer.boot = peer.left_boot = -1
        if certificate != peer.certificate:
            peer.casts = {}
        before = peer.card
        peer.chain, peer.certificate, peer.listed, peer.hint = chain, certificate, True, None
        self._keep(certificate, chain)
        self._describe(peer, card)
        if peer.card != before or card.boot != peer.boot or other_key:
            self._renew(peer, card)  # whatever hearsay said: of itself it knows best
        if not known:
            self._new(peer)
        if other_key:
            self._say(peer)
        return peer

    def quarantine(self, key: bytes, why: str) -> None:
        """Two machines use this key: neither is given new work until one of them has another."""
        if key in self.quarantined or len(self.quarantined) >= MAX_QUARANTINED:
            return
        self.quarantined[key] = why
        LOG.error("%s: in quarantine, it is given no new work: %s", self._node, why)
        try:
            keys.write_public(self._quarantine_folder / key.hex(), why.encode())
        except OSError as error:  # it counts, and is noticed again after a restart
            LOG.warning("%s: the quarantine is not on disk: %s", self._node, error)
        for peer in self.peers.values():
            if peer.card.key == key:
                self._new(peer)
                self._say(peer)

    def _say(self, peer: Peer) -> None:
        """Something else than its status is another."""
        for heard in (*self.changed, *self.told):
            heard(peer, peer.status)

    def twin_beats(self, peer: Peer, boot: int) -> None:
        """A beat of an earlier start, of that very key, though a later one was greeted a while ago."""
        if boot < peer.boot and time.monotonic() - peer.boot_at > LATE_S:
            self.quarantine(peer.card.key, _twin(msgspec.structs.replace(peer.card, boot=boot), peer))

    def own(self, certificate: Certificate) -> None:
        """A machine's key counts; of this machine's own two count until the earlier is disowned."""
        self._keys[certificate.key] = certificate
        self._of_host.setdefault(certificate.host, set()).add(certificate.key)

    def disown(self, key: bytes) -> None:
        self._keys.pop(key, None)
        self._chains.pop(key, None)

    def _holds_its_name(self, certificate: Certificate) -> None:
        """One key for a machine, one for each of its users' agents: the one with the newest certificate."""
        name = (certificate.host, certificate.process)
        held = (self._keys.get(key) for key in self._of_host.get(certificate.host, ()))
        for other in (other for other in held if other is not None):
            same = (other.host, other.process) == name and other.key != certificate.key
            if same and other.serial >= certificate.serial:
                raise JoinRefused(f"{certificate.host}: another key holds that name; put the old one out first")

    def doubt_signers(self) -> list[bytes]:
        """Forget the proofs that a dropped signer made. The keys that must be proved anew."""
        signers = self._identity.signers.signers
        own = self._identity.certificate.key
        found = [k for k, c in self._chains.items() if k != own and machine_of(c).signer not in signers]
        for key in found:
            del self._keys[key], self._chains[key]
        for peer in self.peers.values():
            if peer.card.key in found:
                peer.chain = None
        return found

    def not_put_out(self, chain: Chain) -> None:
        """Raises PutOut, with the tombstone, for a chain that one covers."""
        tombstone = self.tombstones.of(chain)
        if tombstone is not None:
            raise PutOut(put_out_text(tombstone), stone=self.tombstones.stone(tombstone.key))

    def put_out(self) -> list[Peer]:
        """Forget every key that a tombstone covers. The peers that went; their links are still to be cut."""
        for key, chain in list(self._chains.items()):
            if self.tombstones.of(chain) is not None:
                del self._chains[key], self._keys[key]
        went = []
        for peer in list(self.peers.values()):
            covered = peer.card.key not in self._keys if peer.chain else self.tombstones.is_out(peer.card.key)
            if covered:
                went.append(peer)
                self.version += 1
                del self.peers[peer.node]
                peer.claimed_by = ""
                tombstone = self.tombstones.of(peer.chain) if peer.chain else self.tombstones.of_key(peer.card.key)
                self.become(peer, Status.LEFT, put_out_text(tombstone) if tombstone else "put out")
                self._gone(peer)
        return went

    def _gone(self, peer: Peer) -> None:
        if peer.listed:
            if len(self.gone) >= MAX_GONE:
                self.gone.pop(next(iter(self.gone)))
            self.gone[peer.node] = peer

    def recard(self, peer: Peer, card: Card) -> None:
        """A proven peer describes itself anew over its own link."""
        if card.node == peer.node and card.key == peer.card.key and _newer(card, peer.card):
            card = msgspec.structs.replace(card, address=peer.card.address)
            if not unsound(card):
                self._renew(peer, card)

    def heard(self, peer: Peer, boot: int | None = None) -> None:
        """A sign of life that bears the peer's own key."""
        peer.heard_at = time.monotonic()
        if peer.status is not Status.UP:
            if peer.status is Status.LEFT and (boot is None or boot <= peer.left_boot):
                return  # what was still under way when it said goodbye
            self.become(peer, Status.UP)

    def become(self, peer: Peer, status: Status, detail: str = "") -> None:
        old, peer.status, peer.detail = peer.status, status, detail
        if old is status:
            return
        if status is not Status.UP:
            peer.load = 0
        self.version += 1
        level = logging.WARNING if status is Status.DOWN else logging.INFO
        LOG.log(level, "%s: %s is %s%s", self._node, peer.node, status, f": {detail}" if detail else "")
        damped = self._damped(peer)
        for heard in self.changed:
            heard(peer, old)
        if not damped:
            self._tell(peer)

    def _damped(self, peer: Peer) -> bool:
        """Count this change; True where it is to be held back. Never of a controller: all wait for its return."""
        if peer.is_controller or (peer.flaps is None and peer.status in (Status.UP, Status.UNKNOWN)):
            return False
        flaps = peer.flaps = peer.flaps or Flaps()
        before = flaps.damped
        flaps.went(peer.status, time.monotonic())
        if flaps.damped and not before:
            self._flapping.add(peer.node)
            LOG.warning("%s: %s is flapping: its changes are held back until it is steady", self._node, peer.node)
        return before

    def _tell(self, peer: Peer) -> None:
        old, peer.told = peer.told, peer.status
        if old is not peer.told:
            for heard in self.told:
                heard(peer, old)

    def calm_down(self) -> None:
        """Now and then: what was held back of peers that are steady again is told."""
        now = time.monotonic()
        for node in list(self._flapping):
            peer = self.peers.get(node)
            if peer is None or peer.flaps is None or peer.flaps.calm(now):
                self._flapping.discard(node)
                if peer is not None:
                    self.version += 1
                    self._tell(peer)

    def member(self, peer: Peer) -> Member:
        found = member_of(peer)
        found.quarantine = self.quarantined.get(peer.card.key, "")
        if found.quarantine:
            found.detail = f"in quarantine: {found.quarantine}"
        return found

    def members(self) -> list[Member]:
        """Those put out included, as LEFT, until a machine of that name is back."""
        known = [self.member(peer) for peer in self.peers.values() if peer.listed]
        return known + [member_of(gone) for node, gone in self.gone.items() if node not in self.peers]

    def seen(self) -> list[Seen]:
        """What this node tells others; its own claims only where its own eyes saw."""
        return [self.seen_of(peer) for peer in self.peers.values() if peer.listed]

    def seen_of(self, peer: Peer) -> Seen:
        return Seen(peer.card, str(peer.told), peer.age_s(), self.quarantined.get(peer.card.key, ""))

    # on disk: so that after a restart of everything the remembered are enough

    def load(self) -> None:
        for path in sorted(self._quarantine_folder.glob("[0-9a-f]*"))[:MAX_QUARANTINED]:
            key = bytes.fromhex(path.name)
            if self.tombstones.is_out(key):
                path.unlink()
            else:
                self.quarantined[key] = path.read_text()
        for path in sorted(self._folder.glob("*~*"))[: self._most]:
            try:
                chain, card = msgspec.msgpack.decode(path.read_bytes(), type=tuple[Chain, Card])
                if card.node != self._node:
                    self._recall(path, chain, card)
            except (*BROKEN, MeshError, OSError) as error:
                LOG.warning("%s: %s is left out: %s", self._node, path, error)
        self._dirty.clear()

    def _recall(self, path: Path, chain: Chain, card: Card) -> None:
        try:
            self.prove(chain, card, card.key).boot = card.boot
        except PutOut as error:
            tombstone = self.tombstones.of(chain)
            if tombstone is not None and time.time() - tombstone.at > GONE_S:
                path.unlink()
                return
            peer = Peer(card)
            peer.chain, peer.listed, peer.roles = chain, True, card.roles
            peer.status, peer.detail = Status.LEFT, error.message
            self._gone(peer)

    def save(self) -> None:
        """Write what changed. Blocks on the disk: run on a real thread. What raises OSError is kept for later."""
        for node in list(self._dirty):
            self._dirty.discard(node)
            peer = self.peers.get(node) or self.gone.get(node)
            if peer is not None and peer.chain is not None:
                path = self._folder / node.replace("/", "~")
                try:
                    keys.write_public(Path(path), msgspec.msgpack.encode((peer.chain, peer.card)))
                except OSError:
                    self._dirty.add(node)
                    raise

    @property
    def dirty(self) -> bool:
        return bool(self._dirty)

    def _renew(self, peer: Peer, card: Card) -> None:
        if card.boot != peer.boot:
            peer.boot, peer.beat, peer.boot_at = card.boot, -1, time.monotonic()
            peer.numbers.clear()
        self._describe(peer, card)
        self._new(peer)

    def _describe(self, peer: Peer, card: Card) -> None:
        """What it says of itself, with the roles its certificate has and the topics that lets it answer."""
        certificate = peer.certificate
        topics = tuple(t for t in card.topics if t.isprintable() and len(t) <= LONGEST_TOPIC)
        wrong: tuple[str, ...] = ()
        roles = card.roles
        if certificate is not None:
            topics, wrong = entitlement.split(certificate, topics)
            roles = tuple(r for r in card.roles if r in certificate.roles)
            peer.roles = roles
        if topics != card.topics or roles != card.roles:
            card = msgspec.structs.replace(card, topics=topics, roles=roles)
        peer.card = card
        before, peer.wrong = peer.wrong, wrong[:MOST_WRONG]
        if wrong:
            said = self._said_wrong.setdefault(card.host, set())
            if not said.issuperset(peer.wrong) and len(said) < MOST_SAID:
                said.update(peer.wrong)
                LOG.error("%s: %s %s", self._node, peer.node, wrong_text(peer))
        if before != peer.wrong:
            self.version += 1

    def not_asked(self, peer: Peer, topic: str) -> str:
        """Why a peer is not asked for `topic`, by its certificate; "" when it is, or has shown none yet."""
        certificate = peer.certificate
        if certificate is None or topic in peer.card.topics or entitlement.may_answer(certificate, topic):
            return ""
        name = peer.node if peer.is_users else peer.card.host
        return (
            f"{peer.node}: its certificate ({entitlement.says(certificate)}) does not let it answer "
            f"{entitlement.named([topic])}: not asked; if it says it does, put it out with `nova0 evict {name}`"
        )

    def hears(self, peer: Peer, topic: str) -> bool:
        """Are that peer's casts on `topic` (or topic@host) believed? Asked of topics wanted here only."""
        known = peer.casts.get(topic)
        if known is None:
            certificate = peer.certificate
            near = peer.near == self._identity.certificate.host
            name = topic.partition("@")[0]
            known = certificate is not None and entitlement.may_cast(certificate, name, neighbour=near)
            peer.casts[topic] = known
        return known

    def _new(self, peer: Peer) -> None:
        self.version += 1
        self._dirty.add(peer.node)
        for heard in self.learned:
            heard(peer)


def _twin(card: Card, peer: Peer) -> str:
    """Why this card shows that two machines use one key; "": it does not."""
    if card.boot < peer.boot:
        found = f"start {card.boot} after start {peer.boot} was seen"
    elif card.boot == peer.boot and card.birth and peer.card.birth and card.birth != peer.card.birth:
        found = f"start {card.boot} was seen of two machines"
    else:
        return ""
    return (
        f"{card.node}: {found}: a copy of this machine runs (a clone, a restored disk). Stop the copy and "
        "empty it; or, to keep this one, `nova0 node rekey`"
    )


def _is_name(node: str) -> bool:
    """host/process, each short (in bytes: together they name a file) and without anything that means something in a
    path."""
    host, slash, process = node.partition("/")
    return bool(slash) and all(
        0 < len(part.encode()) <= 64 and part.isprintable() and not set(part) & set("/~ ") for part in (host, process)
    )


def unsound(card: Card) -> str:
    """Why nothing is done with a card, whoever showed it; "" for one that is used. An address that is a name would be
    looked up by the thread that serves all sockets."""
    if len(card.key) != 32:
        return "its key is none"
    if card.address and not addresses.is_one(card.address):
        return f"its address {card.address[:MOST_ADDRESS]!r} is none"
    ports = (card.rpc_port, card.door_port, card.pub_port, card.ear_port, card.stream_port)
    if not all(0 <= port <= 65535 for port in ports):
        return f"its ports {ports} are none"
    if not 0 <= card.boot <= MOST_NUMBER or not -1 <= card.serial <= MOST_NUMBER:
        return f"start {card.boot}, change {card.serial}: numbers no node comes to"
    if len(card.version) > MOST_VERSION or len(card.roles) > MOST_ROLES:
        return "its version or roles are longer than any"
    if len(card.topics) > MOST_TOPICS or sum(map(len, (*card.roles, *card.topics))) > MOST_TOPICS_TEXT:
        return "its topics are more than any node offers"
    return ""


def _newer(card: Card, than: Card) -> bool:
    return (card.boot, card.serial) > (than.boot, than.serial)


def _where(card: Card) -> tuple[str, int, int]:
    return card.address, card.rpc_port, card.door_port
