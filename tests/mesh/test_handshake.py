"""Two versions of the protocol: one behind works, too far apart is refused and says which side to upgrade."""

from __future__ import annotations

import gevent
import pytest
from cluster import Cluster
from contract import PaintAPI, until

from nova0.mesh.bus import Status
from nova0.mesh.errors import Incompatible
from nova0.mesh.joining import join
from nova0.mesh.wire import HIGHEST, LOWEST, common_protocol


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.start()
    yield cluster
    cluster.close()


def member(node, of):
    return next((m for m in node.members() if m.node == of), None)


@pytest.mark.covers("S212")
@pytest.mark.design("V2")
def test_a_node_of_the_protocol_before_works_and_is_sent_nothing_it_cannot_read(lab):
    old = lab.process(lab.member("lab1", speaks=(1, 1))).ready()
    new = lab.process(lab.member("lab2")).ready()
    until(lambda: all((m := member(lab.main, p.node)) and m.status is Status.UP for p in (old, new)), 20)
    until(lambda: lab.main.roster.peers["lab2/host"].protocol == HIGHEST, 20, "agreed at the greeting")
    assert lab.main.roster.peers["lab1/host"].protocol == 1
    assert (member(lab.main, "lab1/host").protocol, member(lab.main, "lab2/host").protocol) == (1, HIGHEST)
    paint = lab.main.stub(PaintAPI, "lab1")
    assert paint.add(2, 3) == 5 and paint.count("once") == 1
    # a caller that gives up, and one that is killed: what newer nodes would be told of it stays unsent
    giving_up = gevent.spawn(lab.main.stub(PaintAPI, "lab1", timeout_s=0.5).count, "1")
    giving_up.join()
    killed = gevent.spawn(lab.main.stub(PaintAPI, "lab1").count, "1")
    until(lambda: old.lines.count("count begins") >= 3, 20, "both were started there")
    killed.kill()
    until(lambda: old.lines.count("count ends") >= 3, 20, "both ran to their end")
    assert paint.where() == "lab1"
    assert "garbage" not in old.log() and "not a frame" not in old.log()


@pytest.mark.design("V3")
@pytest.mark.parametrize("speaks, older", [((HIGHEST + 1, HIGHEST + 1), "lab0/controller"), ((0, 0), "lab1/host")])
def test_an_incompatible_node_is_refused_and_both_sides_say_which_to_upgrade(lab, speaks, older):
    settings = lab.member("lab1")
    settings.speaks = speaks
    other = lab.process(settings).ready()
    told = f"upgrade nova0 on {older}"
    until(lambda: (m := member(lab.main, other.node)) and told in m.detail, 20, "`nova0 agents` says so")
    until(lambda: told in other.log(), 20, "so does the other's log")
    with pytest.raises(Incompatible, match=told):
        lab.main.stub(PaintAPI, "lab1").where()


@pytest.mark.design("V4")
def test_a_newcomer_too_far_apart_does_not_use_up_its_token(lab):
    token = lab.token()
    with pytest.raises(Incompatible, match="upgrade nova0 on lab0/controller"):
        join(lab.settings("lab1", speaks=(HIGHEST + 1, HIGHEST + 1)), token)
    join(lab.settings("lab1"), token)


@pytest.mark.design("V1")
def test_the_highest_protocol_that_both_speak_is_taken():
    assert common_protocol((LOWEST, HIGHEST), (1, 1)) == 1
    assert common_protocol((1, 2), (2, 3)) == 2
    assert common_protocol((1, 1), (2, 3)) == 0 == common_protocol((2, 3), (1, 1))
