"""mDNS: nodes that remember nobody find each other; what a record says is only a hint."""

from __future__ import annotations

import shutil

import gevent
import ifaddr
import msgspec
import pytest
from cluster import Cluster
from contract import until
from hypothesis import given
from hypothesis import strategies as st

from nova0.mesh import discovery, wire
from nova0.mesh.addresses import addresses_of, networks
from nova0.mesh.bus import Status
from nova0.mesh.discovery import cluster_hash, read_record, record
from nova0.mesh.roster import MAX_HINTS

KEY = b"k" * 32
CARD = wire.Card("lab1/host", ("host",), (), "10.0.0.1", 1, 2, 3, 4, KEY, "0.1", 7)


@pytest.mark.slow
def test_nodes_that_forgot_everything_meet_within_three_seconds(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        nodes = [cluster.bus("lab0", "controller", ("controller",)), cluster.bus("lab1"), cluster.bus("lab2")]
        for node in nodes:
            node.stop()
            shutil.rmtree(tmp_path / node.host / "peers", ignore_errors=True)
            node.settings.mdns = True
        fresh = [type(node)(node.settings) for node in nodes]
        cluster.nodes += fresh
        for node in fresh:
            node.start()
        for node in fresh:
            until(lambda node=node: sum(m.status == Status.UP for m in node.members()) == 3, 6, "found")
    finally:
        cluster.close()


@pytest.mark.design("D4")
def test_ends_of_pairs_that_stay_on_the_machine_are_neither_told_nor_spoken_on(monkeypatch):
    """As the uplinks of guests' networks: other machines have the same, and nobody of the cluster is behind them."""

    def adapter(name: str, ip: str, prefix: int) -> ifaddr.Adapter:
        return ifaddr.Adapter(name, name, [ifaddr.IP(ip, prefix, name)], 1)

    own = [adapter("eth0", "10.1.2.3", 24), adapter("eth1", "169.254.7.7", 16), adapter("n0u1", "169.254.0.2", 31)]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: own)
    assert addresses_of() == discovery.interfaces((), "0.0.0.0") == ["10.1.2.3", "169.254.7.7"]
    assert "169.254.0.2/31" not in map(str, networks())
    assert addresses_of(("n0u1",)) == ["169.254.0.2"]


def test_a_record_of_another_cluster_is_ignored():
    there = {k.encode(): v.encode() for k, v in record(CARD, cluster_hash(b"a" * 32)).items()}
    assert read_record(there, ["10.0.0.1"], cluster_hash(b"b" * 32)) is None
    assert read_record(there, ["10.0.0.1"], cluster_hash(b"a" * 32)) == msgspec.structs.replace(CARD, serial=-1)


@given(
    st.dictionaries(st.sampled_from([b"c", b"n", b"p", b"k", b"b", b"r", b"x"]), st.none() | st.binary(max_size=60)),
    st.lists(st.text(max_size=20), max_size=3),
)
def test_any_record_at_all_is_a_card_or_nothing(properties, addresses):
    card = read_record({b"c": b"x", **properties}, addresses, "x")
    assert card is None or len(card.key) == 32


def test_forged_records_neither_enter_nor_displace_anybody(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        main = cluster.bus("lab0", "controller", ("controller",))
        main.start()
        host = cluster.bus("lab1")
        host.start()
        until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in main.members()), 3)
        for number in range(600):
            main.roster.hint(msgspec.structs.replace(CARD, node=f"evil{number}/host"))
        stolen = msgspec.structs.replace(host.card(), key=KEY, address="127.0.0.9", boot=10**6)
        main.roster.hint(stolen)
        moved = msgspec.structs.replace(host.card(), address="127.0.0.9", boot=10**6)
        main.roster.hint(moved)
        gevent.sleep(0.5)
        assert {m.host for m in main.members()} == {"lab0", "lab1"}
        assert main.roster.peers["lab1/host"].card.key == host.card().key
        assert len(main.roster.peers) <= 300
        from nova0.mesh.mesh_api import MeshAPI

        assert main.stub(MeshAPI, "lab1").ping() > 0
    finally:
        cluster.close()


@pytest.mark.design("D3")
def test_the_real_one_is_tried_whatever_was_forged_before(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        known = cluster.bus("lab0", "controller", ("controller",)).roster
        for number in range(MAX_HINTS + 44):
            known.hint(msgspec.structs.replace(CARD, node=f"evil{number}/host"))
        forged = msgspec.structs.replace(CARD, key=b"f" * 32, address="10.0.0.66")
        for first, second in ((forged, CARD), (CARD, forged)):
            if CARD.node in known.peers:
                del known.peers[CARD.node]
            known.hint(first)
            known.hint(second)
            peer = known.peers[CARD.node]
            assert (peer.card, peer.hint) == (first, second), "both are dialled, in turn"
        assert len(known.peers) <= MAX_HINTS
    finally:
        cluster.close()


@pytest.mark.parametrize("garbage", ["", "127.0.0.1:0", "a:b:c:d", ":70"])
def test_a_seed_that_is_no_address_is_named(garbage):
    from nova0.mesh.addresses import parse_seed

    with pytest.raises(ValueError, match="HOST"):
        parse_seed(garbage)
    assert parse_seed("lab0") == ("lab0", 7740) and parse_seed("[fd00::1]:80") == ("fd00::1", 80)
