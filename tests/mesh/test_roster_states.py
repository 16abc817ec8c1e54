"""Greetings, hearsay, goodbyes, silence and restarts in any order: what the roster holds true all the while."""

from __future__ import annotations

import shutil

import msgspec
from fuzz_targets import House
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nova0.mesh import roster as rosters
from nova0.mesh.bus import Status
from nova0.mesh.certificate import Chain
from nova0.mesh.errors import Busy, JoinRefused, MeshError
from nova0.mesh.roster import Roster

HOSTS, PROCESSES = ("lab1", "lab2"), ("host", "controller")
MOST = 6
house = None

nodes = st.tuples(st.sampled_from(HOSTS), st.sampled_from(PROCESSES)).map("/".join)
boots = st.integers(0, 5)
roles = st.lists(st.sampled_from(["host", "controller", "operator"]), max_size=3, unique=True).map(tuple)


class RosterMachine(RuleBasedStateMachine):
    @initialize()
    def fresh(self):
        global house
        if house is None:
            house = House()
        shutil.rmtree(house.folder / "lab0" / "peers", ignore_errors=True)
        self.changes: list[tuple[str, Status, Status]] = []
        self.proved: dict[str, int] = {}  # node -> highest start number it proved
        self.left: dict[str, int] = {}  # node -> start that said goodbye, until a later one is heard
        self.saved: dict[str, int] = {}
        self.make()

    def make(self):
        self.roster = Roster(house.identity, house.node, MOST)
        self.roster.changed.append(lambda peer, old: self.changes.append((peer.node, old, peer.status)))
        house.roster = self.roster

    def card(self, node, boot, serial=0, said=("host",), key=None, port=1):
        host = node.partition("/")[0]
        return msgspec.structs.replace(
            house.card_of("lab1"), node=node, boot=boot, serial=serial, roles=said, rpc_port=port,
            key=key or house.pairs[host].public,
        )  # fmt: skip

    # what happens

    @rule(node=nodes, boot=boots, said=roles, port=st.integers(1, 3))
    def knocks(self, node, boot, said, port):
        """Shows its own certificate, at the door."""
        host = node.partition("/")[0]
        card = self.card(node, boot, said=said, port=port)
        lower = boot < self.proved.get(node, -1)
        try:
            peer = self.roster.prove(house.chains[host], card, house.pairs[host].public)
        except JoinRefused as error:
            assert lower and f"start {boot}" in error.message
            return
        except Busy:
            assert len(self.roster.peers) >= MOST
            return
        assert not lower
        self.proved[node] = boot
        assert peer.card.rpc_port == port and peer.card.boot == peer.boot == boot, "its own word about itself counts"

    @rule(node=nodes, boot=boots)
    def greets(self, node, boot):
        """At the RPC socket: only a key that was shown before."""
        host = node.partition("/")[0]
        key = house.pairs[host].public
        known = self.roster.chain_of(key) is not None
        try:
            peer = house.gatekeeper.met(key, "", self.card(node, boot))
        except MeshError:
            assert not known or boot < self.proved.get(node, -1) or len(self.roster.peers) >= MOST
            return
        assert known and boot >= self.proved.get(node, -1)
        self.proved[node] = boot
        self.roster.heard(peer, boot)
        if boot > self.left.get(node, -1):
            self.left.pop(node, None)

    @rule(node=nodes, boot=boots, thief=st.sampled_from(["lab1", "lab2", "stranger"]), said=roles)
    def poses(self, node, boot, thief, said):
        """Somebody else's key under this name, with any certificate there is."""
        host = node.partition("/")[0]
        key = house.pairs[thief].public
        if thief == host:
            return
        before = msgspec.msgpack.encode([(p.card, p.roles, str(p.status)) for p in self.roster.peers.values()])
        for chain in house.chains.values():
            try:
                self.roster.prove(chain, self.card(node, boot, said=said, key=key), key)
                raise AssertionError("let in under another's name")
            except JoinRefused:
                pass
        after = msgspec.msgpack.encode([(p.card, p.roles, str(p.status)) for p in self.roster.peers.values()])
        assert before == after

    @rule(node=nodes, boot=st.integers(0, 9), serial=st.integers(0, 2), said=roles, listed=st.booleans(),
          own=st.booleans())  # fmt: skip
    def hears_of(self, node, boot, serial, said, listed, own):
        """Hearsay: mDNS, or (listed) what a controller tells."""
        key = None if own else house.pairs["stranger"].public
        peer = self.roster.peers.get(node)
        before = None if peer is None else (peer.chain, peer.card.key, peer.boot, peer.status)
        told = self.roster.hint(self.card(node, boot, serial, said, key), listed=listed)
        if before is not None and before[0] is not None:
            assert told is peer and (peer.chain, peer.card.key, peer.boot, peer.status) == before

    @precondition(lambda self: self.roster.peers)
    @rule(data=st.data())
    def says_goodbye(self, data):
        node = data.draw(st.sampled_from(sorted(self.roster.peers)))
        peer = self.roster.peers[node]
        if peer.chain is not None:
            peer.left_boot = peer.boot
            self.roster.become(peer, Status.LEFT, "said goodbye")
            self.left[node] = peer.boot

    @precondition(lambda self: self.roster.peers)
    @rule(data=st.data(), late=st.booleans())
    def is_heard(self, data, late):
        """A beat; a late one is what was under way when it left."""
        node = data.draw(st.sampled_from(sorted(self.roster.peers)))
        peer = self.roster.peers[node]
        if peer.chain is None:
            return
        self.roster.heard(peer, self.left.get(node, peer.boot) if late else peer.boot)
        if node in self.left and peer.boot > self.left[node] and not late:
            del self.left[node]

    @precondition(lambda self: self.roster.peers)
    @rule(data=st.data(), status=st.sampled_from([Status.SUSPECT, Status.DOWN]))
    def is_silent(self, data, status):
        node = data.draw(st.sampled_from(sorted(self.roster.peers)))
        if node not in self.left:
            self.roster.become(self.roster.peers[node], status, "beats missed")

    @rule()
    def saves(self):
        self.roster.save()
        self.saved = dict(self.proved)

    @rule()
    def restarts(self):
        """After a kill: what was written is known again, at the start number it had then."""
        self.make()
        self.roster.load()
        self.changes.clear()
        self.left.clear()
        self.proved = {n: p.boot for n, p in self.roster.peers.items()}
        for node, boot in self.saved.items():
            assert self.proved.get(node, -1) >= boot, "a start number was forgotten: its copy could come back"

    # what holds

    @invariant()
    def nobody_is_in_without_a_certificate(self):
        if hasattr(self, "roster"):
            house.check()

    @invariant()
    def start_numbers_are_those_proved(self):
        for node, boot in getattr(self, "proved", {}).items():
            assert self.roster.peers[node].boot == boot

    @invariant()
    def who_left_stays_away_until_it_starts_again(self):
        for node in getattr(self, "left", {}):
            assert self.roster.peers[node].status is Status.LEFT

    @invariant()
    def every_change_of_status_is_said_once(self):
        last: dict[str, Status] = {}
        for node, old, new in getattr(self, "changes", ()):
            assert old is not new and last.get(node, old) is old
            last[node] = new
        for node, status in last.items():
            assert self.roster.peers[node].status is status

    @invariant()
    def it_is_bounded(self):
        if hasattr(self, "roster"):
            assert len(self.roster.peers) <= MOST and len(self.roster._keys) <= 1 + len(HOSTS)


TestRoster = RosterMachine.TestCase
TestRoster.settings = settings(
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a failure takes minutes
)


def test_hints_without_a_listing_are_bounded(tmp_path):
    target = House()
    for number in range(rosters.MAX_HINTS + 50):
        card = msgspec.structs.replace(target.card_of("lab1"), node=f"x{number}/host", key=b"k" * 32)
        target.roster._most = 5000
        target.roster.hint(card)
    assert sum(p.chain is None for p in target.roster.peers.values()) == rosters.MAX_HINTS
    assert isinstance(target.chains["lab1"], Chain)
