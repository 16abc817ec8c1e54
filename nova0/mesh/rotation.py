"""Other signers for the cluster, and another root, while it works. The root says which signers count, in sets
that only grow newer; certificates of an earlier signer are made anew over live sessions before that signer is
dropped. Another root is a record that both roots have signed, and the signers by the new one's word.

The root's key is used here, by the command, and by no node: it belongs in a safe place off the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gevent.pool
import msgspec

from nova0.mesh import identity, keys, operators
from nova0.mesh.answering import Answering
from nova0.mesh.casting import Casting
from nova0.mesh.certificate import (
    FORMAT,
    Chain,
    Handover,
    Signed,
    SignerSet,
    Trust,
    hand_over,
    issue,
    renewed_topics,
    sign,
)
from nova0.mesh.errors import JoinRefused, MeshError
from nova0.mesh.identity import Identity
from nova0.mesh.keys import key_text
from nova0.mesh.members import Status
from nova0.mesh.peer import Peer
from nova0.mesh.rekeying import Rekeying
from nova0.mesh.roster import Roster
from nova0.mesh.stores import Stores
from nova0.mesh.streams.links import Links

LOG = logging.getLogger(__name__)
NEXT_SIGNER, SIGNER_BEFORE = "signer.key.next", "signer.before"
AT_ONCE = 32  # members asked at the same time

Give = Callable[[bytes], dict[str, Any]]


def rotate(folder: Path, root_key: Path, give: Give, *, drop: str = "when all have") -> dict[str, Any]:
    """Replace this controller's signer; `give(signed set)` is `Rotation.order` of its running node.

    `drop`: "when all have" a certificate of the new one, or "now", which leaves those that could not be
    reached behind: they must join again. Asked again while an earlier one is not dropped yet, it goes on with
    that. {"signer", "before", "dropped": bool, "reissued": [host], "missing": {host: why}, "operators": [name
    with a new certificate]}. Raises JoinRefused without the root's key, or where this machine is no signer."""
    me = identity.load(folder)
    root = _root(folder, root_key, me)
    me.signer()
    record = folder / SIGNER_BEFORE
    if not record.exists():
        fresh = keys.new_signing_key(folder / NEXT_SIGNER)
        keys.write_public(record, keys.public_of(me.signer()))
        signers = [*me.signers.signers, keys.public_of(fresh)]
    else:
        signers = me.signers.signers
    before = record.read_bytes()
    told = give(_signed(root, me, signers))
    dropped = drop == "now" or not told["missing"]
    if dropped:
        me = identity.load(folder)
        give(_signed(root, me, [signer for signer in me.signers.signers if signer != before]))
        record.unlink()
    signer = keys.public_of(keys.signing_key(folder / "signer.key"))
    return {"signer": signer.hex(), "before": before.hex(), "dropped": dropped, **told}


def rotate_root(folder: Path, root_key: Path, new_root_key: Path, give: Give) -> dict[str, Any]:
    """Replace the cluster's root; `give(trust)` is `Rotation.order_root` of this controller's running node. The
    new key is made in `new_root_key` (0600) where there is none. The new root vouches for this controller's
    signers and no others. With the new key a root's already, everybody is only told again.

    {"root", "version", "changed": bool, "key_file", "dropped": [signer], "told": [node], "missing": {node: why}}.
    Raises JoinRefused without the root's key, or where this machine is no signer."""
    me = identity.load(folder)
    own = keys.public_of(me.signer())
    new = _new_root(new_root_key)
    changed = new is None or keys.public_of(new) != me.roots.key
    dropped: list[bytes] = []
    if changed:
        root = _root(folder, root_key, me)
        if new is not None and keys.public_of(new) in me.roots.keys:
            raise JoinRefused(f"{new_root_key} was the root's key before, and cannot be again: name a file that is not")
        new = new or _make_root(new_root_key)
        mine = {own, *_in_change(folder)}
        signers = [signer for signer in me.signers.signers if signer in mine]
        dropped = [signer for signer in me.signers.signers if signer not in mine]
        signers = signers if own in signers else [*signers, own]
        made = SignerSet(FORMAT, me.cluster, me.signers.generation + 1, signers, me.roots.version + 1)
        records: tuple[Handover, ...] = (*me.roots.records, hand_over(root, new, me.roots))
        trust = Trust(records, sign(new, "signers", made))
    else:
        trust = me.trust
    told = give(msgspec.msgpack.encode(trust))
    return {
        "root": identity.roots_of(folder).key.hex(),
        "version": identity.roots_of(folder).version,
        "changed": changed,
        "key_file": str(new_root_key),
        "dropped": [signer.hex() for signer in dropped],
        **told,
    }


def _in_change(folder: Path) -> list[bytes]:
    """Of a change of signer under way: the one before, and the one to come."""
    found = [(folder / SIGNER_BEFORE).read_bytes()] if (folder / SIGNER_BEFORE).exists() else []
    ready = folder / NEXT_SIGNER
    return [*found, keys.public_of(keys.signing_key(ready))] if ready.exists() else found


def _new_root(path: Path) -> Any:
    try:
        return keys.signing_key(path)
    except FileNotFoundError:
        return None
    except ValueError:
        raise JoinRefused(f"{path} is no signing key: name a file that is not there yet") from None
    except OSError as error:
        raise JoinRefused(f"{path}: {error.strerror}") from None


def _make_root(path: Path) -> Any:
    try:
        return keys.new_signing_key(path)
    except OSError as error:
        raise JoinRefused(f"{path}: the new root's key cannot be written there: {error.strerror}") from None


def _root(folder: Path, path: Path, me: identity.Identity) -> Any:
    try:
        root = keys.signing_key(path)
    except FileNotFoundError:
        raise JoinRefused(
            f"{path}: the root's key is not here (as it should be): bring it for this command with --root-key FILE"
        ) from None
    except ValueError:
        raise JoinRefused(f"{path} is no signing key") from None
    except OSError as error:
        raise JoinRefused(f"{path}: {error.strerror}") from None
    public = keys.public_of(root)
    if public in me.roots.keys[:-1]:
        raise JoinRefused(f"{path} is the key of an earlier root: version {me.roots.version} counts now")
    if public != me.roots.key:
        raise JoinRefused(f"{path} is not the root's key of this cluster")
    return root


def _signed(root: Any, me: identity.Identity, signers: list[bytes]) -> bytes:
    made = SignerSet(FORMAT, me.cluster, me.signers.generation + 1, signers, me.roots.version)
    return msgspec.msgpack.encode(sign(root, "signers", made))


class Home(Protocol):
    """What a rotation needs of the node."""

    host: str
    node: str
    identity: Identity
    roster: Roster
    answering: Answering
    casting: Casting
    streams: Links
    stores: Stores
    rekeying: Rekeying

    def chain(self, roots_known: int = 0) -> Chain: ...

    def ask(self, peer: Peer, method: str, **arguments: Any) -> Any: ...


class Rotation:
    """What a node does with a signer set."""

    def __init__(self, node: Home) -> None:
        self._node = node

    def order(self, signed: bytes) -> dict[str, Any]:
        """On the controller: take the set up, sign with the next signer if it has it, make the certificates
        of the earlier one anew, tell everybody. {"reissued": [host], "missing": {host: why}, "operators": [name]}."""
        node = self._node
        folder = node.identity.state_dir
        made = msgspec.msgpack.decode(signed, type=Signed)
        self.take(Trust((), made))
        ready = folder / NEXT_SIGNER
        if ready.exists() and keys.public_of(keys.signing_key(ready)) in node.identity.signers.signers:
            ready.rename(folder / "signer.key")
        record = folder / SIGNER_BEFORE
        before = record.read_bytes() if record.exists() else b""
        told = self._reissue(before)
        told["operators"] = operators.reissue(node.identity, node.roster.tombstones)
        if node.identity.roots.version > 1:
            self._everybody("trust", known=node.identity.trust)
        else:  # a node that knows of no other root is told in its terms
            self._everybody("signers", signed=made)
        self._by_our_word()
        return told

    def order_root(self, trust: bytes) -> dict[str, Any]:
        """On the controller: take up another root and its signers, tell everybody. {"told": [node],
        "missing": {node: why}}; those hear it at their next greeting."""
        node = self._node
        self.take(msgspec.msgpack.decode(trust, type=Trust))
        told, missing = self._everybody("trust", known=node.identity.trust)
        self._by_our_word()
        LOG.warning("%s: root %d counts, %d nodes were told", node.node, node.identity.roots.version, len(told))
        return {"told": told, "missing": missing}

    def compare(self, peer: Peer) -> None:
        """The peer knows another root or set of signers than this node: the newer one is for both."""
        node = self._node
        try:
            self.take(node.ask(peer, "trust", known=node.identity.trust))
        except (MeshError, OSError) as error:
            LOG.warning("%s: which root counts is not agreed with %s: %s", node.node, peer.node, error)

    def _by_our_word(self) -> None:
        """What a dropped signer had said besides certificates."""
        node = self._node
        signer = node.identity.signer()
        node.roster.tombstones.renew(signer)
        node.stores.renew(signer)

    def take(self, trust: Trust) -> None:
        """A newer root or set, if it is. Raises JoinRefused, OSError."""
        node = self._node
        if node.identity.adopt(trust):
            node.rekeying.noticed()
            self.settle()

    def settle(self) -> None:
        """Certificates of signers that count no more: their links are cut, and who has another certificate by
        now shows it at the door."""
        node = self._node
        dropped = {key_text(key) for key in node.roster.doubt_signers()}
        if dropped:
            LOG.warning("%s: %d members' signer was dropped; they prove themselves anew", node.node, len(dropped))
            node.answering.put_out([], dropped)
            node.casting.put_out([], dropped)
            node.streams.put_out([], dropped)
            for peer in list(node.roster.peers.values()):
                if peer.link is not None and key_text(peer.card.key) in dropped:
                    peer.link.renew()  # ours to it as well: nothing is asked over the old proof

    def reissued(self, chain: Chain) -> None:
        """This machine's certificate, made anew by another signer. Raises JoinRefused."""
        node = self._node
        now = node.identity.certificate
        made = node.identity.check_own(chain, now.key)
        lost = set(now.topics) - set(made.topics) - {"*"}  # which earlier certificates say
        if (made.serial, made.roles) != (now.serial, now.roles) or lost:
            raise JoinRefused(f"{now.host}: that certificate says something else than the one it replaces")
        if chain.certificate != node.chain().certificate:
            identity.switch(node.identity.state_dir, chain)
            node.rekeying.follow()

    def _reissue(self, before: bytes) -> dict[str, Any]:
        node = self._node
        missing: dict[str, str] = {}
        done: set[str] = set()
        if node.identity.certificate.signer == before:
            self.reissued(self._again(node.identity.certificate))
            done.add(node.host)
        hosts: dict[str, list[Peer]] = {}
        for peer in node.roster.peers.values():
            certificate = peer.certificate
            if certificate is not None and certificate.signer == before and not certificate.process:
                hosts.setdefault(certificate.host, []).append(peer)
        hosts.pop(node.host, None)  # its other processes follow what is on disk

        def reach(host: str, peers: list[Peer]) -> None:
            certificate = peers[0].certificate
            assert certificate is not None
            chain = self._again(certificate)
            # Each process that is up takes it by itself: one that only followed the disk would still show the
            # old certificate when its signer is dropped.
            why = "" if any(p.status is Status.UP for p in peers) else f"{peers[0].node} is {peers[0].status}"
            for peer in [p for p in peers if p.status is Status.UP] or peers[:1]:
                try:
                    node.ask(peer, "reissued", chain=chain)
                    node.roster.prove(chain, peer.card, certificate.key, peer.card.address)
                except MeshError as error:
                    why = error.message
            if why:
                missing[host] = why
            else:
                done.add(host)
                for other in peers:
                    node.roster.prove(chain, other.card, certificate.key, other.card.address)

        pool = gevent.pool.Pool(AT_ONCE)
        for host, peers in hosts.items():
            pool.spawn(reach, host, peers)
        pool.join()
        return {"reissued": sorted(done), "missing": dict(sorted(missing.items()))}

    def _again(self, old: Any) -> Chain:
        node = self._node
        signed = issue(
            node.identity.signer(), old.cluster, old.host, old.roles, old.key, topics=renewed_topics(old),
            serial=old.serial, node_id=old.node_id, vouch=old.vouch,
        )  # fmt: skip
        return node.identity.chain_for(signed)

    def _everybody(self, method: str, **arguments: Any) -> tuple[list[str], dict[str, str]]:
        """Who took it, and of the members not out of the cluster who did not, and why."""
        node = self._node
        told: list[str] = []
        missing = {
            p.node: f"it is {p.status}" if p.status is not Status.UP else "it runs an older nova0: upgrade it"
            for p in node.roster.peers.values()
            if p.listed and (p.status is not Status.UP or p.protocol < 2)
        }

        def tell(peer: Peer) -> None:
            try:
                node.ask(peer, method, **arguments)
                told.append(peer.node)
            except MeshError as error:
                LOG.info("%s: %s hears it at its next greeting: %s", node.node, peer.node, error.message)
                missing[peer.node] = error.message

        up = [p for p in node.roster.peers.values() if p.protocol >= 2 and p.status is Status.UP]
        pool = gevent.pool.Pool(AT_ONCE)
        for peer in up:
            pool.spawn(tell, peer)
        pool.join()
        return sorted(told), dict(sorted(missing.items()))
