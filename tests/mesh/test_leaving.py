"""A machine ends its own membership: its key is put out at its own wish, and its name is free."""

from __future__ import annotations

import pytest
from cluster import Cluster
from contract import until
from test_eviction import all_up, host

from nova0.mesh import leaving
from nova0.mesh.bus import Status
from nova0.mesh.errors import NotAllowed, PutOut, Unreachable
from nova0.mesh.joining import join
from nova0.mesh.node import Node


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=10)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.start()
    yield cluster
    cluster.close()


def detail(node, of):
    return next((m.detail for m in node.members() if m.host == of and m.status is Status.LEFT), "")


def test_threat_a_machine_ends_its_own_membership_and_no_other(lab):
    one, two = host(lab, "lab1"), host(lab, "lab2")
    all_up(lab.main, one, two)
    leaving.leave(one)
    assert one.out == "lab1 left the cluster. " + one.out.partition(". ")[2]
    assert leaving.has_left(one.identity) and not leaving.has_left(two.identity)
    until(lambda: detail(lab.main, "lab1") == detail(two, "lab1") == "lab1 left the cluster", 15, "both heard of it")
    assert not two.out and next(m.status for m in two.members() if m.host == "lab0") is Status.UP
    with pytest.raises(PutOut):
        Node(one.settings)
    with pytest.raises(Unreachable):  # nobody is left who would listen to it
        leaving.leave(one)


def test_its_name_is_free_for_another_key(lab):
    one = host(lab, "lab1")
    all_up(lab.main, one)
    leaving.leave(one)
    one.stop()
    join(one.settings, lab.token())
    again = host(lab, "lab1")
    all_up(lab.main, again)


def test_a_controllers_machine_does_not_leave(lab):
    mine = lab.bus("lab0", "host", ("host",))
    mine.start()
    all_up(lab.main, mine)
    peer = mine.roster.peers["lab0/controller"]
    with pytest.raises(NotAllowed, match="controller's certificate"):
        mine.ask(peer, "leave")
    with pytest.raises(Unreachable, match="nova0 evict"):
        leaving.leave(mine)
    assert not mine.out and not list(lab.main.roster.tombstones)


def test_without_a_controller_nothing_is_said(lab):
    one = host(lab, "lab1")
    all_up(lab.main, one)
    lab.main.stop()
    until(lambda: one.roster.peers["lab0/controller"].status is not Status.UP, 15, "it is seen gone")
    with pytest.raises(Unreachable, match="no controller is up"):
        leaving.leave(one)
    assert not one.out
