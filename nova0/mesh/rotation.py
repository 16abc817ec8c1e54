"""Other signers for the cluster while it works. The root says which signers count, in sets that only grow
newer; certificates of an earlier signer are made anew over live sessions before that signer is dropped.

The root's key is used here, by the command, and by no node: it belongs in a safe place off the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent.pool
import msgspec

from nova0.mesh import identity, keys
from nova0.mesh.bus import Status
from nova0.mesh.certificate import FORMAT, Chain, Signed, SignerSet, issue, sign
from nova0.mesh.errors import JoinRefused, MeshError
from nova0.mesh.keys import key_text

if TYPE_CHECKING:
    from nova0.mesh.node import Node
    from nova0.mesh.roster import Peer

LOG = logging.getLogger(__name__)
NEXT_SIGNER, SIGNER_BEFORE = "signer.key.next", "signer.before"
AT_ONCE = 32  # members asked at the same time

Give = Callable[[bytes], dict[str, Any]]


def rotate(folder: Path, root_key: Path, give: Give, *, drop: str = "when all have") -> dict[str, Any]:
    """Replace this controller's signer; `give(signed set)` is `Rotation.order` of its running node.

    `drop`: "when all have" a certificate of the new one, or "now", which leaves those that could not be
    reached behind: they must join again. Asked again while an earlier one is not dropped yet, it goes on with
    that. {"signer", "before", "dropped": bool, "reissued": [host], "missing": {host: why}}. Raises
    JoinRefused without the root's key, or where this machine is no signer."""
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


def _root(folder: Path, path: Path, me: identity.Identity) -> Any:
    try:
        root = keys.signing_key(path)
    except FileNotFoundError:
        raise JoinRefused(
            f"{path}: the root's key is not here (as it should be): bring it for this command with --root-key FILE"
        ) from None
    except ValueError:
        raise JoinRefused(f"{path} is no signing key") from None
    if keys.public_of(root) != me.cluster:
        raise JoinRefused(f"{path} is not the root's key of this cluster")
    return root


def _signed(root: Any, me: identity.Identity, signers: list[bytes]) -> bytes:
    made = SignerSet(FORMAT, me.cluster, me.signers.generation + 1, signers)
    return msgspec.msgpack.encode(sign(root, "signers", made))


class Rotation:
    """What a node does with a signer set."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def order(self, signed: bytes) -> dict[str, Any]:
        """On the controller: take the set up, sign with the next signer if it has it, make the certificates
        of the earlier one anew, tell everybody. {"reissued": [host], "missing": {host: why}}."""
        node = self._node
        folder = node.identity.state_dir
        made = msgspec.msgpack.decode(signed, type=Signed)
        self.take(made)
        ready = folder / NEXT_SIGNER
        if ready.exists() and keys.public_of(keys.signing_key(ready)) in node.identity.signers.signers:
            ready.rename(folder / "signer.key")
        record = folder / SIGNER_BEFORE
        before = record.read_bytes() if record.exists() else b""
        told = self._reissue(before)
        self._everybody("signers", signed=made)
        signer = node.identity.signer()
        node.roster.tombstones.renew(signer)
        node.stores.renew(signer)
        return told

    def take(self, signed: Signed) -> None:
        """A newer set: certificates of signers it lacks do not count any more; their links are cut, and who
        has another certificate by now shows it at the door."""
        node = self._node
        if node.identity.adopt_signers(signed):
            node.rekeying.noticed()
            dropped = {key_text(key) for key in node.roster.doubt_signers()}
            if dropped:
                LOG.warning("%s: %d members' signer was dropped; they prove themselves anew", node.node, len(dropped))
                node.answering.put_out([], dropped)
                node.casting.put_out([], dropped)
                node.streams.put_out([], dropped)

    def reissued(self, chain: Chain) -> None:
        """This machine's certificate, made anew by another signer. Raises JoinRefused."""
        node = self._node
        now = node.identity.certificate
        made = node.identity.check_own(chain, now.key)
        if (made.serial, made.roles, made.topics) != (now.serial, now.roles, now.topics):
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
            why = f"{peers[0].node} is {peers[0].status}"
            for peer in sorted(peers, key=lambda p: p.status is not Status.UP):
                try:
                    node.ask(peer, "reissued", chain=chain)
                    for other in peers:
                        node.roster.prove(chain, other.card, certificate.key, other.card.address)
                    done.add(host)
                    return
                except MeshError as error:
                    why = error.message
            missing[host] = why

        pool = gevent.pool.Pool(AT_ONCE)
        for host, peers in hosts.items():
            pool.spawn(reach, host, peers)
        pool.join()
        return {"reissued": sorted(done), "missing": dict(sorted(missing.items()))}

    def _again(self, old: Any) -> Chain:
        node = self._node
        signed = issue(
            node.identity.signer(), old.cluster, old.host, old.roles, old.key, topics=old.topics, serial=old.serial,
            node_id=old.node_id, vouch=old.vouch,
        )  # fmt: skip
        return Chain(signed, node.identity.chain.signers)

    def _everybody(self, method: str, **arguments: Any) -> None:
        node = self._node

        def tell(peer: Peer) -> None:
            try:
                node.ask(peer, method, **arguments)
            except MeshError as error:
                LOG.info("%s: %s hears it at its next knock: %s", node.node, peer.node, error.message)

        up = [p for p in node.roster.peers.values() if p.protocol >= 2 and p.status is Status.UP]
        pool = gevent.pool.Pool(AT_ONCE)
        for peer in up:
            pool.spawn(tell, peer)
        pool.join()
