"""Whom a node finds by itself: its machine's other processes by the cards they leave in the state folder, and a
member it remembers at an address that it was told (`--join`). What mDNS hears is in discovery.py.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Protocol

import gevent
import msgspec
import zmq

from nova0.mesh import addresses, keys, wire
from nova0.mesh.certificate import Chain
from nova0.mesh.door import AskCert, Knock
from nova0.mesh.errors import MeshError
from nova0.mesh.keys import CurvePair
from nova0.mesh.link import Link
from nova0.mesh.members import Status
from nova0.mesh.peer import Peer
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings

LOG = logging.getLogger(__name__)


class Home(Protocol):
    """What finding needs of its node."""

    settings: MeshSettings
    host: str
    node: str
    pair: CurvePair
    roster: Roster

    @property
    def context(self) -> zmq.Context: ...

    def card(self) -> wire.Card: ...

    def chain(self, roots_known: int = 0) -> Chain: ...

    def link(self, peer: Peer) -> Link[Peer]: ...


class Finding:
    def __init__(self, node: Home) -> None:
        self._node = node
        self._cards: dict[Path, int] = {}  # of others here -> when they were written, as last read

    def look_again(self) -> None:
        """Cards of this machine's other processes that did not hold before may hold now."""
        self._cards.clear()

    def write_card(self) -> None:
        """For this machine's other processes."""
        node = self._node
        path = Path(node.settings.state_dir) / f"card.{node.settings.process}"
        keys.write_public(path, msgspec.msgpack.encode(node.card()))

    def siblings(self) -> None:
        """Other processes of this machine leave their card in the state folder."""
        node = self._node
        for path in Path(node.settings.state_dir).glob("card.*"):
            try:
                changed = path.stat().st_mtime_ns
                if path.name == f"card.{node.settings.process}" or self._cards.get(path) == changed:
                    continue
                self._cards[path] = changed
                card = msgspec.msgpack.decode(path.read_bytes(), type=wire.Card)
                if card.host == node.host and card.node != node.node:
                    node.roster.prove(node.chain(), card, node.pair.public)
            except (OSError, *wire.BROKEN, MeshError) as error:
                LOG.debug("%s: %s is not used: %s", node.node, path, error)

    def seeds(self) -> None:
        """`--join HOST[:PORT]`: a known member's door at another address."""
        node = self._node
        while node.settings.join:
            peers = list(node.roster.peers.values())
            if any(p.status is Status.UP and p.card.host != node.host for p in peers):
                gevent.sleep(10)
                continue
            for seed in node.settings.join:
                host, port = addresses.parse_seed(seed)
                try:
                    places = addresses.resolve(host)
                except OSError as error:
                    LOG.debug("%s: seed %s: %s", node.node, seed, error)
                    continue
                keys_known = list(dict.fromkeys(p.card.key for p in peers if p.card.host != node.host))[:8]
                for address, key in itertools.product(places[:4], keys_known):
                    try:
                        with Knock(node.context, node.pair, address, port, key, node.settings.handshake_s) as knock:
                            shown = knock.ask(AskCert())
                        card = msgspec.structs.replace(shown.card, address=address)
                        node.link(node.roster.prove(shown.chain, card, key)).hurry()
                        break
                    except MeshError as error:
                        LOG.debug("%s: seed %s: %s", node.node, seed, error)
            gevent.sleep(3)
