"""A user's agent: a node with a key of its own that its machine vouches for, and what it cannot do."""

from __future__ import annotations

import gevent
import msgspec
import pytest
import zmq
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gevent import monkey

from nova0.mesh import certificate, identity, keys, tombstones, wire
from nova0.mesh.bus import Status
from nova0.mesh.certificate import Chain, vouch_for
from nova0.mesh.door import AskHello, Knock
from nova0.mesh.errors import BadArguments, JoinRefused, NotAllowed, PutOut, Unreachable
from nova0.mesh.local_client import connect
from nova0.mesh.node import Node
from nova0.mesh.surface import MEMBER, call
from nova0.mesh.zap import dial_curve


class MineAPI(PaintAPI):
    topic = "user/mine"


class Mine(PaintAgent, MineAPI):
    topic = "user/mine"


class Tame(PaintAPI):
    """Lets every member ask whom it takes them for."""

    topic = "tame"
    served_by = MEMBER

    @call(allow=MEMBER)
    def who(self) -> dict: ...


class TameAgent(PaintAgent, Tame):
    topic = "tame"
    served_by = MEMBER


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=10)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.agent = PaintAgent(cluster.main)
    cluster.main.offer(cluster.agent)
    cluster.main.start()
    cluster.machine = cluster.bus("lab1", socket_path=str(tmp_path / "lab1.sock"))
    cluster.near = TameAgent(cluster.machine)
    cluster.machine.offer(cluster.near)
    cluster.machine.offer(PaintAgent(cluster.machine))
    cluster.machine.start()
    until(lambda: up(cluster.main, "lab1/host"), 15)
    cluster.context = zmq.Context()
    yield cluster
    cluster.context.destroy(0)
    cluster.close()


def up(node, name):
    return any(m.node == name and m.status is Status.UP for m in node.members())


def users(lab, name="mine", agent=Mine, folder=None):
    """As `nova0 agent run ./mine.py` does it."""
    folder = folder or lab.folder / f"own-{name}"
    with connect(lab.machine.settings.socket_path) as client:
        identity.store_vouched(folder, client.vouch(name, keys.node_key(folder).public))
    made = lab.settings("lab1", identity.load(folder).certificate.process, ("member",))
    made.state_dir = str(folder)
    node = Node(made)
    lab.nodes.append(node)
    if agent is not None:
        node.agent = agent(node)
        node.offer(node.agent)
    node.start()
    until(lambda: up(lab.main, node.node) and up(node, "lab0/controller"), 15, f"{node.node} is known")
    return node


@pytest.mark.design("U1")
@pytest.mark.covers("S048")
def test_it_has_its_own_key_and_is_known_to_everybody(lab):
    mine = users(lab)
    assert mine.node == "lab1/user-mine" and mine.pair.public != lab.machine.pair.public
    assert identity.load(mine.settings.state_dir).certificate.roles == ("member",)
    assert lab.main.stub(MineAPI).where() == "lab1"
    until(lambda: up(lab.machine, mine.node), 15)
    with connect(lab.machine.settings.socket_path) as client:
        assert client.call("user/mine", "where") == "lab1"
    assert mine.stub(PaintAPI, "lab0").where() == "lab0"
    assert not (lab.folder / "own-mine" / "vouch.key").exists()


@pytest.mark.design("U2")
def test_threat_it_is_a_member_and_nothing_more(lab):
    """threat: a user's agent as a way to more: no controller, no host, not `self` to its own machine."""
    mine = users(lab)
    with pytest.raises(NotAllowed):
        mine.stub(PaintAPI, "lab0").count("x")
    with pytest.raises(NotAllowed):
        mine.stub(PaintAPI, "lab0").add(1)
    with pytest.raises(NotAllowed):
        mine.stub(PaintAPI, "lab1").near()
    assert mine.stub(Tame, "lab1").who()["roles"] == ["member"]
    mine.stub(PaintAPI).colour("sneaky")
    gevent.sleep(0.3)
    assert lab.agent.colours == [] and lab.agent.counts == {}


@pytest.mark.design("U3")
def test_threat_it_takes_and_hears_no_topic_but_those_of_users(lab, caplog):
    """threat: a user's agent that answers, casts on or listens to topics of the cloud."""
    mine = users(lab, agent=None)
    impostor = PaintAgent(mine)
    with pytest.raises(NotAllowed, match="does not let it answer 'paint'"):
        mine.offer(impostor)
    mine.offers.add(impostor)  # it does not ask itself whether it may
    mine.offer(Mine(mine))
    until(lambda: "user/mine" in next(m.topics for m in lab.main.members() if m.node == mine.node), 15, "its card came")
    assert next(m.topics for m in lab.main.members() if m.node == mine.node) == ("user/mine",)
    for _ in range(10):
        assert lab.machine.stub(PaintAPI).where() in ("lab0", "lab1")
    lab.near.colour = lambda name: lab.near.colours.append(name)
    mine.publish_cast("tame", "colour", msgspec.msgpack.encode({"name": "forged"}))
    socket = lab.context.socket(zmq.SUB)
    dial_curve(socket, mine.pair, lab.main.pair.public)
    for topic in (b"", b"paint", b"paint\0", b"user/mine\0"):
        socket.subscribe(topic)
    socket.connect(f"tcp://127.0.0.1:{lab.main.card().pub_port}")

    def heard():
        lab.main.stub(PaintAPI).colour("blue")
        lab.main.stub(MineAPI).colour("green")
        return socket.poll(0)

    until(heard, 15)
    gevent.sleep(0.2)
    while socket.poll(0):
        assert socket.recv().startswith(b"user/mine\0")
    socket.close(0)
    assert lab.near.colours == []


@pytest.mark.design("U3")
def test_threat_it_does_not_get_the_subscription_of_another(lab):
    """threat: a user's agent that sends other things than subscriptions to a publisher, which libzmq then takes to
    come from another connection than they do."""
    mine = users(lab, agent=None)
    until(lambda: lab.main.roster.admits(mine.pair.public), 15, "its key is known")

    hold = monkey.get_original("time", "sleep")

    def upstream(kind, pair):
        socket = lab.context.socket(kind)
        dial_curve(socket, pair, lab.main.pair.public)
        socket.connect(f"tcp://127.0.0.1:{lab.main.card().pub_port}")
        return socket

    first, second = upstream(zmq.XSUB, mine.pair), upstream(zmq.XSUB, mine.pair)
    other = upstream(zmq.SUB, lab.machine.pair)
    for socket in (first, second):
        until(lambda socket=socket: socket.poll(0, zmq.POLLOUT), 15, "connected")
    gevent.sleep(0.5)  # all three handshakes
    for say in (
        lambda: first.send(b"something else"),
        lambda: other.subscribe(b"paint\0"),
        lambda: second.send(b"\x01user/mine\0"),
        lambda: second.send(b"\x01paint\0"),  # not allowed; but its own socket would let it through
    ):
        say()
        hold(0.3)  # the loop is held: all of it is read at once, and in this order

    def heard():
        lab.main.stub(PaintAPI).colour("blue")
        return other.poll(0) or second.poll(0)

    until(heard, 15, "somebody hears it")
    gevent.sleep(0.2)
    assert not second.poll(0)
    until(lambda: heard() and other.poll(0), 15, "who may hear it does")
    assert not second.poll(0)
    for socket in (first, second, other):
        socket.close(0)


@pytest.mark.design("U4")
def test_threat_it_cannot_be_another_process_or_vouch_for_anybody(lab):
    """threat: a user's agent that poses as its machine's own process, or signs for others."""
    mine = users(lab)
    chain = mine.chain()
    machine = lab.machine.identity.certificate
    own = Ed25519PrivateKey.generate()
    other = keys.CurvePair(zmq.curve_keypair()[1])
    real = keys.vouching_key(lab.folder / "lab1")

    def vouched(key=real, **more):
        record = msgspec.msgpack.decode(vouch_for(real, machine, other.public, "user-x", 99).body, type=type(machine))
        record = msgspec.structs.replace(record, **more)
        return Chain(chain.certificate, chain.signers, certificate.sign(key, "user", record))

    card = wire.Card("lab1/user-x", ("member",), (), "127.0.0.1", 1, 1, 1, 0, other.public, "0", 1)

    def refused(chain, card=card, pair=other):
        door = lab.main.card()
        knock = Knock(lab.context, pair, "127.0.0.1", door.door_port, door.key, 10)
        with knock, pytest.raises(JoinRefused):
            knock.ask(AskHello(chain, card))

    for posing in ("lab1/host", "lab1/controller", "lab0/controller", "lab1/user-yours"):
        own_card = msgspec.structs.replace(mine.card(), node=posing)
        refused(chain, own_card, mine.pair)
    refused(vouched(key=own))
    refused(vouched(roles=("controller",)))
    refused(vouched(topics=("*",)))
    refused(vouched(topics=("user/*", "paint")))
    refused(vouched(host="lab0"))
    refused(vouched(vouch=keys.public_of(own)))
    refused(vouched(process="host"))
    refused(vouched(process="user-x/y"))
    refused(Chain(chain.certificate, chain.signers, chain.certificate))
    refused(chain)  # stolen: without its key
    refused(Chain(chain.user, chain.signers))
    from_mine = vouch_for(own, identity.load(mine.settings.state_dir).certificate, other.public, "user-x", 1)
    refused(Chain(chain.certificate, chain.signers, from_mine))
    with pytest.raises(JoinRefused):
        mine.identity.vouch("x", other.public)
    with Knock(lab.context, other, "127.0.0.1", lab.main.card().door_port, lab.main.card().key, 10) as knock:
        knock.ask(AskHello(vouched(), card))  # only the forged ones were refused
    assert {m.node for m in lab.main.members()} == {"lab0/controller", "lab1/host", "lab1/user-mine", "lab1/user-x"}


@pytest.mark.design("U5")
@pytest.mark.parametrize("whom", ["lab1", "lab1/user-mine"])
def test_putting_out_the_machine_puts_out_its_agents_and_one_agent_only_itself(lab, whom):
    mine = users(lab)
    key, node_id, machine = lab.main.roster.key_of(whom)
    stone = tombstones.put_out(
        lab.main.identity.signer(),
        lab.main.identity.cluster,
        key,
        whom,
        "",
        "lab0",
        node_id=node_id if machine else b"",
    )
    lab.main.evicting.put_out([stone])
    until(lambda: mine.out, 15, "it heard")
    assert not lab.main.roster.admits(mine.pair.public)
    with pytest.raises(Unreachable, match="put out"):
        lab.main.stub(MineAPI, "lab1").where()
    until(lambda: bool(lab.machine.out) == (whom == "lab1"), 15)
    if whom == "lab1":
        return
    until(lambda: lab.machine.roster.tombs.count == 1, 15)
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"
    with connect(lab.machine.settings.socket_path) as client, pytest.raises(PutOut):
        client.vouch("mine", mine.pair.public)


@pytest.mark.design("U6")
def test_a_user_who_lost_the_key_gets_the_name_back_with_a_new_one(lab):
    first = users(lab)
    first.stop()
    again = users(lab, folder=lab.folder / "own-again")
    assert again.node == first.node and again.pair.public != first.pair.public
    assert lab.main.stub(MineAPI, "lab1").where() == "lab1"
    assert not lab.main.roster.admits(first.pair.public)
    door = lab.main.card()
    knock = Knock(lab.context, first.pair, "127.0.0.1", door.door_port, door.key, 10)
    with knock, pytest.raises(JoinRefused, match="another key"):  # the older certificate
        knock.ask(AskHello(first.chain(), first.card()))


@pytest.mark.design("U7")
@pytest.mark.slow
def test_it_goes_on_when_its_machine_changes_its_key(lab):
    """As `nova0 agent run` does: vouched for again as soon as its machine has another certificate."""
    mine = users(lab)
    until(lambda: up(mine, "lab1/host"), 15)

    def renewed():
        if mine.behind_its_machine():
            with connect(lab.machine.settings.socket_path) as client:
                identity.store_vouched(lab.folder / "own-mine", client.vouch("mine", mine.pair.public))
            mine.rekeying.look()
        return mine.out or mine.identity.chain.certificate == lab.machine.chain().certificate

    before = lab.machine.pair.public
    ordered = gevent.spawn(lab.machine.rekeying.order)
    until(lambda: renewed() and lab.machine.pair.public != before, 30)
    ordered.get(timeout=60)
    until(lambda: lab.main.roster.tombs.count == 1 and (mine.out or mine.roster.tombs.count == 1), 30)
    if mine.out:  # the old key was put out before it was vouched for again: it starts anew
        mine.stop()
        mine = users(lab)
    assert not mine.behind_its_machine()
    until(lambda: up(lab.main, mine.node), 30)
    assert lab.main.stub(MineAPI, "lab1").where() == "lab1"


def test_another_users_agent_of_that_name_is_another_agent(lab, monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 4711)
    other = users(lab)
    assert other.node.startswith("lab1/user-") and other.node.endswith("-mine") and other.node != "lab1/user-mine"


def test_what_is_no_name_is_not_vouched_for(lab):
    with connect(lab.machine.settings.socket_path) as client:
        for name in ("a/b", "", "x" * 99, "ü", "a b"):
            with pytest.raises((JoinRefused, BadArguments)):
                client.vouch(name, bytes(32))
        with pytest.raises(BadArguments):
            client.vouch("mine", b"short")
