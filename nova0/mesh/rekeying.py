"""A machine changes its key while it works: its processes share one key and change together.

New key, a certificate for it (serial + 1) over the old session, both on disk, listeners for the new key
beside the old ones, peers told, old listeners closed, the old key put out. Calls in flight are asked
again under their ids. A crash leaves the old key or the new one, and what is left to do is done later.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, Protocol

import gevent
import msgspec

from nova0.mesh import identity, keys
from nova0.mesh.answering import Answering
from nova0.mesh.certificate import Certificate, Chain, Signed, issue, renewed_topics
from nova0.mesh.errors import Busy, JoinRefused, MeshError, Unreachable
from nova0.mesh.evicting import Evicting
from nova0.mesh.identity import Identity
from nova0.mesh.keys import CurvePair
from nova0.mesh.members import Status
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.mesh.tombstones import put_out
from nova0.mesh.wire import Card

LOG = logging.getLogger(__name__)
TELL_S = 5.0  # peers may take so long to answer before the old listeners go
SIBLINGS_S = 20.0  # and this machine's other processes to change
AGAIN_S = 2.0
AHEAD = 1 << 20  # starts; so that of two copies the one that is to have a new key is heard
RETIRING, WANTED = "retiring.cert", "rekey.wanted"


class Home(Protocol):
    """What a change of key needs of the node."""

    settings: MeshSettings
    host: str
    node: str
    pair: CurvePair
    identity: Identity
    roster: Roster
    answering: Answering
    evicting: Evicting

    @property
    def is_controller(self) -> bool: ...

    def card(self) -> Card: ...

    def chain(self, roots_known: int = 0) -> Chain: ...

    def ask(self, peer: Peer, method: str, **arguments: Any) -> Any: ...

    def listen_anew(self) -> list[int]: ...

    def close_listeners(self, before: list[int]) -> None: ...


class Rekeying:
    def __init__(self, node: Home) -> None:
        self._node = node
        self._folder = Path(node.settings.state_dir)
        self._certificate = str(self._folder / "node.cert")
        self._stamp = self._look()
        self._loop: gevent.Greenlet | None = None

    @property
    def wanted(self) -> bool:
        """A new key was ordered while this machine was off."""
        return (self._folder / WANTED).exists()

    def start(self) -> None:
        """Go on with what a crash, or an order to a node that was not running, left to do."""
        if (self._folder / WANTED).exists() or (self._folder / RETIRING).exists():
            self._loop = gevent.spawn(self._finish)

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.kill(block=False)

    # the order, in one process of the machine

    def order(self) -> dict[str, Any]:
        """Change this machine's key. {"key", "before", "serial", "retired": bool}. Raises Unreachable where
        no controller can certify the new key, Busy while a change is under way."""
        lock = keys.only_one(self._folder, "rekey", f"{self._node.host}: a change of key is under way; ask again later")
        try:
            if (self._folder / RETIRING).exists():
                raise Busy(f"{self._node.host}: the key before is not put out yet: no controller is up?")
            return self._change()
        finally:
            lock.close()

    def _change(self) -> dict[str, Any]:
        node = self._node
        before = node.identity.chain.certificate
        old = node.identity.certificate
        pair = keys.new_pair(self._folder / identity.NEXT_KEY)
        chain = self._certified(pair.public)
        if node.identity.check_own(chain, pair.public).serial <= old.serial:
            raise JoinRefused(f"{node.host}: the certificate handed out is no newer than the one it has")
        keys.write_public(self._folder / RETIRING, msgspec.msgpack.encode(before))
        identity.switch(self._folder, chain)
        self.follow()
        end = time.monotonic() + SIBLINGS_S
        while self._behind(pair.public) and time.monotonic() < end:
            gevent.sleep(0.05)
        retired = self._put_old_out()
        if not retired:
            self._loop = gevent.spawn(self._finish)
        LOG.warning("%s: key %s is now %s", node.node, keys.key_name(old.key), keys.key_name(pair.public))
        return {
            "key": pair.public.hex(),
            "before": old.key.hex(),
            "serial": node.identity.certificate.serial,
            "retired": retired,
        }

    def _certified(self, key: bytes) -> Chain:
        """A certificate for the new key: of our own signer, or of the first controller that has one."""
        node = self._node
        if node.is_controller and node.identity.can_sign:
            return self.certify(node.identity.certificate, key)
        return self._of_a_controller("recertify", key=key)

    def _of_a_controller(self, method: str, **arguments: Any) -> Any:
        problems = []
        for peer in list(self._node.roster.peers.values()):
            if peer.is_certified_controller and peer.status is Status.UP:
                try:
                    return self._node.ask(peer, method, **arguments)
                except MeshError as error:
                    problems.append(error.message)
        raise Unreachable("; ".join(problems) or f"{self._node.node}: no controller is up to certify a new key")

    # in every process of the machine

    def look(self) -> None:
        """Several times a second: has another process of this machine changed what is on disk?"""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self.follow()
            except (OSError, MeshError) as error:
                LOG.warning("%s: what is on disk is not taken up: %s", self._node.node, error)

    def noticed(self) -> None:
        """What is on disk now, this process wrote."""
        self._stamp = self._look()

    def follow(self) -> bool:
        """Take up key and certificate as they are on disk. True if the key is another."""
        node = self._node
        fresh = identity.load(self._folder)
        self._stamp = self._look()
        old, before = node.identity.certificate, node.identity.chain.certificate
        node.identity.take(fresh)
        if fresh.certificate.key == old.key:
            if node.identity.chain.certificate != before:  # another signer's: who is linked need not ask for it
                gevent.spawn(self._tell).join(TELL_S)
            return False
        node.pair = fresh.pair
        node.roster.own(fresh.certificate)
        listeners = node.listen_anew()
        told = gevent.spawn(self._tell)
        told.join(TELL_S)
        for peer in list(node.roster.peers.values()):
            if peer.link is not None:
                peer.link.renew()
        node.close_listeners(listeners)
        node.roster.disown(old.key)
        return True

    def _tell(self) -> None:
        """Everybody with a link to or from here hears of it over the old session; others at the door, later."""
        node = self._node
        card, chain = node.card(), node.chain()

        def tell(peer: Peer) -> None:
            try:
                node.ask(peer, "moved", chain=chain, card=card)
            except MeshError as error:
                LOG.info("%s: %s will hear of the new key at its door: %s", node.node, peer.node, error.message)

        here = node.answering.greeted
        concerned = [
            p
            for p in node.roster.peers.values()
            if p.protocol >= 2 and (p.node in here or (p.link is not None and p.link.up))
        ]
        gevent.joinall([gevent.spawn(tell, peer) for peer in concerned])

    def _behind(self, key: bytes) -> bool:
        """Does a process of this machine still use another key?"""
        node = self._node
        mine = [
            p
            for p in node.roster.peers.values()
            if p.card.host == node.host and not (p.certificate and p.certificate.process)
        ]
        return any(p.card.key != key and p.status in (Status.UP, Status.SUSPECT) for p in mine)

    def _put_old_out(self) -> bool:
        """Put the old key out. False: no controller could be asked; later, then."""
        path = self._folder / RETIRING
        if not path.exists():
            return True
        try:
            old = msgspec.msgpack.decode(path.read_bytes(), type=Signed)
            node = self._node
            if node.is_controller and node.identity.can_sign:
                self.retire(node.identity.certificate, old)
            else:
                self._of_a_controller("retire", old=old)
        except (MeshError, OSError) as error:
            LOG.info("%s: the old key is not put out yet: %s", self._node.node, error)
            return False
        path.unlink(missing_ok=True)
        return True

    def _finish(self) -> None:
        wanted = self._folder / WANTED
        while True:
            try:
                if not (self._folder / RETIRING).exists() and wanted.exists():
                    self.order()
                    wanted.unlink(missing_ok=True)
                if self._put_old_out() and not wanted.exists():
                    return
            except (OSError, MeshError) as error:
                LOG.info("%s: change of key: %s; tried again", self._node.node, error)
            gevent.sleep(AGAIN_S)

    def _look(self) -> int:
        try:
            return os.stat(self._certificate).st_mtime_ns
        except OSError:
            return 0

    # what other machines ask

    def certify(self, old: Certificate, key: bytes) -> Chain:
        """On a controller: a certificate of the same machine for another key. Raises JoinRefused."""
        node = self._node
        if len(key) != 32 or node.roster.admits(key) or node.roster.tombstones.is_out(key):
            raise JoinRefused(f"{old.host}: that key is in use, or was put out: make a new one")
        signed = issue(
            node.identity.signer(), old.cluster, old.host, old.roles, key, topics=renewed_topics(old),
            serial=old.serial + 1, node_id=old.node_id, vouch=old.vouch,
        )  # fmt: skip
        LOG.info("%s: %s gets a certificate for key %s", node.node, old.host, keys.key_name(key))
        return node.identity.chain_for(signed)

    def retire(self, now: Certificate, old: Signed) -> None:
        """On a controller: put out an earlier key of the machine whose certificate is `now`. Raises JoinRefused."""
        node = self._node
        before = node.identity.earlier(old, now)
        stone = put_out(
            node.identity.signer(), now.cluster, before.key, f"{now.host} (its key before)", "changed its key",
            now.host, node_id=before.node_id, serial=before.serial,
        )  # fmt: skip
        node.evicting.put_out([stone])

    def moved(self, peer: Peer, chain: Chain, card: Card) -> None:
        """A peer says over its old session under which key and at which ports it goes on. Raises JoinRefused."""
        node = self._node
        certificate, before = node.identity.verify(chain), peer.certificate
        if before is None or card.node != peer.node or certificate.node_id != before.node_id:
            raise JoinRefused(f"{peer.node}: that certificate is not for this machine")
        if certificate.serial < before.serial:
            raise JoinRefused(f"{peer.node}: certificate {certificate.serial} after {before.serial}")
        node.roster.prove(chain, card, card.key, peer.card.address)
        if peer.link is not None and certificate.key != before.key:
            peer.link.renew()
