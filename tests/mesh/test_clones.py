"""A copied disk: it does not start on another machine, and two machines with one key are found out."""

from __future__ import annotations

import shutil

import pytest
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until
from test_rekeying import all_up, host

from nova0.controller.compute.host_life import HostLives
from nova0.mesh.bus import Status
from nova0.mesh.errors import JoinRefused
from nova0.mesh.node import Node
from nova0.mesh.rekeying import WANTED


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.start()
    yield cluster
    cluster.close()


def copied(lab, settings, name="copy"):
    shutil.copytree(settings.state_dir, lab.folder / name)
    copy = lab.settings(settings.host)
    copy.state_dir = str(lab.folder / name)
    return copy


def of(node, name="lab1/host"):
    return next((m for m in node.members() if m.node == name), None)


def is_up(node, name="lab1/host"):
    return (m := of(node, name)) is not None and m.status is Status.UP


def is_held(node, name="lab1/host"):
    return (m := of(node, name)) is not None and m.quarantine and "rekey" in m.detail


@pytest.mark.design("W1")
@pytest.mark.parametrize("file", ["dmi_file", pytest.param("machine_id_file", marks=pytest.mark.slow)])
def test_a_folder_of_another_machine_does_not_start_until_it_is_said_to_have_moved(lab, file):
    """threat: a cloned machine speaks with the key of another."""
    says = lab.folder / "says"
    says.write_text("one\n")
    made = lab.member("lab1", **{file: str(says)})

    def started():
        node = Node(made)
        lab.nodes.append(node)
        node.start()
        all_up(lab.main, node)
        return node

    started().stop()
    says.write_text("two\n")
    with pytest.raises(JoinRefused, match=r"one before, two now.*nova0 node rekey"):
        Node(made).start()
    says.unlink()  # a machine that does not say is none that says something else
    started().stop()
    says.write_text("two\n")
    (lab.folder / "lab1" / WANTED).touch()
    old = lab.main.roster.peers["lab1/host"].card.key
    moved = started()
    until(lambda: lab.main.roster.tombstones.is_out(old), what="it has a key of its own now")
    moved.stop()
    started().stop()


@pytest.mark.slow
@pytest.mark.design("W2", "W3")
def test_two_copies_at_the_same_time_are_both_in_quarantine_until_one_has_another_key(lab):
    """threat: a cloned machine runs beside the first."""
    made = lab.member("lab1")
    copy = copied(lab, made)
    watcher = host(lab, "lab2")
    first = lab.process(made).ready()
    until(lambda: is_up(lab.main), what="the first is there")
    second = lab.process(copy).ready()
    for node in (lab.main, watcher):
        until(lambda n=node: is_held(n), what=f"{node.node} says so")
    until(lambda: "start 1 was seen of two machines" in second.log(), what="the second is told")
    assert {lab.main.stub(PaintAPI).where() for _ in range(20)} == {"lab2"}, "no new work goes to it"
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1", "what is asked of it by name is still answered"
    second.kill()
    (lab.folder / "copy" / WANTED).touch()
    again = lab.process(copy).ready()
    until(lambda: is_up(lab.main) and not of(lab.main).quarantine, what="the one with another key is free")
    until(lambda: "changed its key" in first.log(), what="the other is out")
    assert again.process.poll() is None
    assert lab.main.stub(PaintAPI).where() in ("lab1", "lab2")


@pytest.mark.slow
@pytest.mark.design("W2")
def test_an_old_copy_started_after_the_first_is_refused_and_the_machine_is_in_quarantine(lab):
    """threat: a restored disk comes back after a newer start was seen."""
    made = lab.member("lab1")
    copy = copied(lab, made)
    for _ in range(2):
        process = lab.process(made).ready()
        until(lambda: is_up(lab.main))
        process.kill()
        until(lambda: not is_up(lab.main))
    late = lab.process(copy).ready()
    until(lambda: is_held(lab.main), what="it is noticed")
    assert not is_up(lab.main)
    until(lambda: "start 1 after start 2" in late.log(), what="it is told")
    lab.main.stop()
    lab.nodes.remove(lab.main)
    lab.main = Node(lab.main.settings)
    lab.nodes.append(lab.main)
    lab.main.start()
    assert lab.main.roster.quarantined, "kept through a restart"


@pytest.mark.design("W2", "W3")
def test_beats_of_an_earlier_start_count_only_a_while_after_the_later_one(lab):
    one = host(lab, topics=("compute",))
    all_up(lab.main, one)
    lives = HostLives(lab.main)
    peer = lab.main.roster.peers["lab1/host"]
    peer.boot += 1  # as if a later start had greeted
    lab.main.roster.twin_beats(peer, one.boot)
    assert not is_held(lab.main) and lives.life("lab1").alive, "one of its last was under way"
    peer.boot_at -= 60
    lab.main.roster.twin_beats(peer, one.boot)
    assert is_held(lab.main) and is_up(lab.main)
    assert not lives.life("lab1").alive and not lives.is_down("lab1"), "no server is placed there, none is moved away"


def test_one_restart_after_another_is_no_copy(lab):
    made = lab.member("lab1")
    for _ in range(3):
        node = Node(made)
        node.offer(PaintAgent(node))
        node.start()
        all_up(lab.main, node)
        node.stop()
        until(lambda: not is_up(lab.main))
    assert not lab.main.roster.quarantined
