"""A machine changes its key while calls run: none fails, none runs twice, and the old key is out."""

from __future__ import annotations

import gevent
import msgspec
import pytest
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until

from nova0.mesh import identity, keys
from nova0.mesh.bus import Status
from nova0.mesh.certificate import Chain, issue
from nova0.mesh.errors import JoinRefused, PutOut, Unreachable
from nova0.mesh.local_client import connect
from nova0.mesh.node import Node
from nova0.mesh.rekeying import RETIRING, WANTED


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.main.offer(PaintAgent(cluster.main))
    cluster.main.start()
    yield cluster
    cluster.close()


def host(lab, name="lab1", **more):
    node = lab.bus(name, **more)
    node.agent = PaintAgent(node)
    node.offer(node.agent)
    node.start()
    return node


def all_up(*nodes):
    def seen():
        return all({m.node for m in n.members() if m.status is Status.UP} >= {o.node for o in nodes} for n in nodes)

    until(seen, what="all see each other")


class Asking:
    """Asks again and again while it is open; each label once."""

    def __init__(self, node, at):
        self.node, self.at, self.answers, self.errors = node, at, [], []
        self.open = True
        self.workers = [gevent.spawn(self.ask, n) for n in range(4)]

    def ask(self, worker):
        turn = 0
        while self.open:
            turn += 1
            try:
                paint = self.node.stub(PaintAPI, self.at)
                if self.node.is_controller:
                    self.answers.append(paint.count(f"{worker}-{turn}"))
                else:
                    self.answers.append(paint.add(turn, 1 - turn))
            except Exception as error:
                self.errors.append(error)
            gevent.sleep(0.005)

    def end(self):
        before = len(self.answers)
        until(lambda: len(self.answers) > before + 10, what="calls go on")
        self.open = False
        gevent.joinall(self.workers)
        assert not self.errors, self.errors[:3]
        assert set(self.answers) == {1}, "no label ran twice"


def key_of(node, name):
    """None for a while where a slow machine hears that the old key is out before it hears of the new one."""
    peer = node.roster.peers.get(name)
    return peer and peer.card.key


@pytest.mark.design("Y1", "Y2")
def test_a_host_changes_its_key_and_no_call_to_it_or_from_it_fails_or_runs_twice(lab):
    one, two = host(lab), host(lab, "lab2")
    all_up(lab.main, one, two)
    before = one.identity.certificate
    to, across = Asking(lab.main, "lab1"), Asking(two, "lab2")
    done = one.rekeying.order()
    to.end()
    across.end()
    assert done["retired"] and done["serial"] == before.serial + 1 == one.identity.certificate.serial
    assert one.pair.public == one.card().key != before.key
    assert identity.load(lab.folder / "lab1").certificate == one.identity.certificate
    for node in (lab.main, two):
        until(lambda n=node: n.roster.tombstones.is_out(before.key), what="the old key is out everywhere")
        assert not node.roster.admits(before.key)
        until(lambda n=node: key_of(n, "lab1/host") == one.pair.public, what="the new one is known")
    all_up(lab.main, one, two)
    assert one.identity.certificate.node_id == before.node_id and one.identity.certificate.vouch == before.vouch
    assert not (lab.folder / "lab1" / RETIRING).exists() and not (lab.folder / "lab1" / identity.NEXT_KEY).exists()


@pytest.mark.design("Y1")
def test_a_controller_changes_its_key_and_certifies_it_itself(lab):
    one = host(lab)
    all_up(lab.main, one)
    before = lab.main.pair.public
    calls = Asking(lab.main, "lab1")
    assert lab.main.rekeying.order()["retired"]
    calls.end()
    until(lambda: one.roster.tombstones.is_out(before))
    all_up(lab.main, one)
    all_up(lab.main, host(lab, "lab3"))  # joins with a token minted after it
    assert lab.main.stub(PaintAPI, "lab3").where() == "lab3"


@pytest.mark.design("Y3")
def test_all_processes_of_the_machine_change_together(lab):
    one = host(lab)
    other = host(lab, process="second")
    away = lab.settings("lab1", "third")
    all_up(lab.main, one, other)
    calls = Asking(lab.main, "lab1")
    assert one.rekeying.order()["retired"]
    calls.end()
    assert other.pair.public == one.pair.public and other.identity.certificate == one.identity.certificate
    third = Node(away)  # was not running meanwhile
    lab.nodes.append(third)
    third.start()
    all_up(lab.main, one, other, third)
    assert not other.out and not one.out


@pytest.mark.slow
@pytest.mark.design("Y1", "Y3")
def test_the_order_reaches_a_real_process_by_its_local_socket(lab):
    settings = lab.member("lab1")
    settings.socket_path = str(lab.folder / "host.sock")
    beside = lab.settings("lab1", "beside")
    started = [lab.process(settings).ready(), lab.process(beside).ready()]
    until(lambda: sum(m.status is Status.UP for m in lab.main.members()) == 3)
    calls = Asking(lab.main, "lab1")
    with connect(settings.socket_path) as client:
        done = client.order("rekey")
        calls.end()
        assert client.members()[0]["status"] == "up"
    assert done["retired"], [process.log() for process in started]
    for name in ("lab1/host", "lab1/beside"):
        until(lambda n=name: lab.main.roster.peers[n].card.key.hex() == done["key"], what=f"{name} has changed")
        until(lambda n=name: lab.main.roster.peers[n].status is Status.UP, what=f"{name} is up")


@pytest.mark.design("Y4")
@pytest.mark.parametrize("step", ["before the certificate", "between the two files"])
def test_a_crash_leaves_the_old_key_or_the_new_one(lab, step, monkeypatch):
    one = host(lab)
    all_up(lab.main, one)
    old = one.pair.public

    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(identity, "switch" if step.startswith("before") else "_finish_switch", crash)
    with pytest.raises(KeyboardInterrupt):
        one.rekeying.order()
    one.stop()
    lab.nodes.remove(one)
    monkeypatch.undo()
    again = host(lab)
    all_up(lab.main, again)
    assert (again.pair.public == old) == step.startswith("before")
    if again.pair.public != old:
        until(lambda: lab.main.roster.tombstones.is_out(old), what="what was left to do is done")
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"


@pytest.mark.slow
@pytest.mark.design("Y4")
def test_an_order_to_a_machine_that_is_off_is_carried_out_at_its_start(lab):
    one = host(lab)
    all_up(lab.main, one)
    old = one.pair.public
    one.stop()
    lab.nodes.remove(one)
    (lab.folder / "lab1" / WANTED).touch()
    again = host(lab)
    until(lambda: lab.main.roster.tombstones.is_out(old))
    until(lambda: not (lab.folder / "lab1" / WANTED).exists())
    all_up(lab.main, again)


@pytest.mark.design("Y2")
def test_a_copy_that_still_has_the_old_key_is_cut_and_stays_out(lab):
    """threat: stolen certificate and key; a cloned machine."""
    import shutil

    one = host(lab)
    all_up(lab.main, one)
    shutil.copytree(lab.folder / "lab1", lab.folder / "copy", ignore=shutil.ignore_patterns("*.sock"))
    assert one.rekeying.order()["retired"]
    settings = lab.settings("lab1")
    settings.state_dir = str(lab.folder / "copy")
    copy = Node(settings)
    lab.nodes.append(copy)
    copy.start()
    until(lambda: copy.out, what="the copy hears that its key is out")
    assert "changed its key" in copy.out
    with pytest.raises((Unreachable, PutOut)):
        copy.stub(PaintAPI, "lab0").where()
    all_up(lab.main, one)


@pytest.mark.design("Y5")
def test_nobody_gets_or_puts_out_the_key_of_another(lab):
    """threat: a member has another's key certified for itself, or retires it."""
    one, two = host(lab), host(lab, "lab2")
    all_up(lab.main, one, two)
    main = two.roster.peers["lab0/controller"]
    with pytest.raises(JoinRefused, match="in use"):
        two.ask(main, "recertify", key=one.pair.public)
    with pytest.raises(JoinRefused, match="no earlier certificate"):
        two.ask(main, "retire", old=one.identity.chain.certificate)
    with pytest.raises(JoinRefused, match="no earlier certificate"):
        two.ask(main, "retire", old=two.identity.chain.certificate)
    mine = two.identity.certificate
    forger = keys.new_signing_key(lab.folder / "forger")
    forged = issue(forger, mine.cluster, mine.host, mine.roles, one.pair.public, serial=0, node_id=mine.node_id)
    with pytest.raises(JoinRefused):
        two.ask(main, "retire", old=forged)
    card = msgspec.structs.replace(two.card(), node="lab1/host", key=one.pair.public)
    with pytest.raises(JoinRefused):
        two.ask(main, "moved", chain=one.identity.chain, card=card)
    with pytest.raises(JoinRefused):
        two.ask(main, "moved", chain=Chain(forged, mine_signers(two)), card=two.card())
    assert not lab.main.roster.tombstones.is_out(one.pair.public)
    all_up(lab.main, one, two)


def mine_signers(node):
    return node.identity.chain.signers


@pytest.mark.design("Y1")
def test_without_a_controller_the_order_says_so_and_changes_nothing(lab):
    one = host(lab)
    all_up(lab.main, one)
    old = one.pair.public
    lab.main.stop()
    until(lambda: one.roster.peers["lab0/controller"].status is not Status.UP)
    with pytest.raises(Unreachable, match="no controller is up"):
        one.rekeying.order()
    assert one.pair.public == old == identity.load(lab.folder / "lab1").certificate.key


@pytest.mark.design("Y1")
def test_a_port_that_was_asked_for_is_kept(lab):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one = host(lab, rpc_port=port)
    all_up(lab.main, one)
    assert one.rekeying.order()["retired"]
    assert one.card().rpc_port == port
    until(lambda: lab.main.roster.peers["lab1/host"].card.rpc_port == port, what="the others hear of it")
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"  # a controller dials a host when it has to ask it
    lab.main.roster.peers["lab1/host"].link._broken("cut by the test", False)
    until(lambda: lab.main.roster.peers["lab1/host"].link.up)
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"
