"""Which address of several is dialled, and how one travels between machines."""

from __future__ import annotations

import ipaddress
import shutil
import socket

import msgspec
import pytest
from cluster import Cluster
from contract import until

from nova0.mesh import keys, wire
from nova0.mesh.addresses import parse_seed, resolve, seen_from_here, with_scope
from nova0.mesh.bus import Status
from nova0.mesh.discovery import interfaces, nearest, packed
from nova0.mesh.peer import Peer
from nova0.mesh.ring import interest
from nova0.mesh.surface import Role


def test_the_nearest_of_several_addresses_comes_first():
    own = [ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00:1::/64")]
    found = ["127.0.0.1", "garbage", "192.0.2.7", "fe80::7%eth0", "fd00:1::7", "10.0.0.7"]
    expected = ["fd00:1::7", "10.0.0.7", "fe80::7%eth0", "192.0.2.7", "127.0.0.1", "garbage"]
    assert nearest(found, own) == expected


def test_a_scope_holds_on_one_machine_only():
    assert seen_from_here("fe80::7%eth3", by="fe80::1%lan0") == "fe80::7%lan0"
    assert seen_from_here("fe80::7%eth3", by="10.0.0.1") == "fe80::7%eth3"
    assert seen_from_here("10.0.0.7", by="fe80::1%lan0") == "10.0.0.7"
    assert with_scope(("fe80::7", 1, 0, socket.if_nametoindex("lo"))) == "fe80::7%lo"
    assert with_scope(("fd00::7", 1, 0, 0)) == "fd00::7" and with_scope(("10.0.0.7", 1)) == "10.0.0.7"
    assert resolve("fe80::7%lo") == ["fe80::7%lo"] and resolve("fd00::7") == ["fd00::7"]
    assert parse_seed("[fe80::7%lo]:80") == ("fe80::7%lo", 80)
    with pytest.raises(ValueError, match="HOST"):
        parse_seed("[fe80::7%]:80")
    assert packed(["fe80::7%lo", "fe80::7", "10.0.0.7"]) == [
        socket.inet_pton(socket.AF_INET6, "fe80::7"),
        socket.inet_aton("10.0.0.7"),
    ]


def test_who_listens_on_ipv4_speaks_mdns_there_only():
    assert not any(":" in address for address in interfaces((), "0.0.0.0"))
    assert interfaces(("lo",), "0.0.0.0") == ["127.0.0.1"]
    assert interfaces((), "127.0.0.5") == ["127.0.0.5"]


@pytest.mark.design("D5")
@pytest.mark.parametrize("hears", [{Role.CONTROLLER}, {Role.HOST}])
def test_a_controller_that_only_mdns_told_of_is_dialled(hears):
    main = Peer(wire.Card("lab0/host", ("controller",), (), "10.0.0.1", 1, 2, 3, 4, b"k" * 32, "0", 1))
    assert interest("lab1/host", False, hears, [main], 2) == {"lab0/host"}


@pytest.mark.design("D1")
def test_a_seed_may_be_a_name(tmp_path):
    """What the host remembers of the controller is an address that nobody has."""
    cluster = Cluster(tmp_path)
    try:
        main = cluster.bus("lab0", "controller", ("controller",))
        lab1 = cluster.bus("lab1")
        lab1.start()
        until(lambda: main.node in {m.node for m in lab1.members() if m.status is Status.UP}, 20, "met")
        until(lambda: not lab1.roster.dirty, 20, "remembered")
        lab1.stop()
        port = main.card().door_port
        main.stop()
        for known in (tmp_path / "lab0" / "peers", tmp_path / "lab1" / "card.host"):
            shutil.rmtree(known) if known.is_dir() else known.unlink()
        remembered = list((tmp_path / "lab1" / "peers").iterdir())
        assert len(remembered) == 1
        for path in remembered:
            chain, card = msgspec.msgpack.decode(path.read_bytes())
            card[3] = "127.99.0.1"
            keys.write_public(path, msgspec.msgpack.encode((chain, card)))
        again = type(main)(main.settings)
        cluster.nodes.append(again)
        again.start()
        assert again.card().door_port == port
        lab1.settings.join = (f"localhost:{port}",)
        back = type(lab1)(lab1.settings)
        cluster.nodes.append(back)
        back.start()
        until(lambda: sum(m.status is Status.UP for m in back.members()) == 2, 20, "met again")
    finally:
        cluster.close()
