"""Operators: a person's certificate, orders signed with it, and what cannot be made of either."""

from __future__ import annotations

import hashlib
import os
import stat

import msgspec
import pytest
import zmq
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nova0.mesh import certificate, keys, operators, rotation, tombstones, wire
from nova0.mesh.bus import Status
from nova0.mesh.certificate import Chain
from nova0.mesh.codec import encode
from nova0.mesh.door import AskHello, Knock
from nova0.mesh.errors import JoinRefused, NotAllowed, Unreachable
from nova0.mesh.local_client import connect
from nova0.mesh.local_socket import LocalSocket
from nova0.mesh.rotation import Rotation
from nova0.mesh.surface import MEMBER, OPERATOR, call


class GateAPI(PaintAPI):
    topic = "gate"
    served_by = MEMBER

    @call(allow=OPERATOR)
    def open(self, width: int) -> dict: ...


class Gate(PaintAgent, GateAPI):
    topic = "gate"
    served_by = MEMBER

    def open(self, width):
        self.counts["open"] = self.counts.get("open", 0) + 1
        caller = self.bus.caller()
        return {"width": width, "operator": caller.operator, "by": caller.node, "times": self.counts["open"]}


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=10)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.gate = Gate(cluster.main)
    cluster.main.offer(cluster.gate)
    cluster.main.start()
    cluster.host = cluster.bus("lab1", socket_path=str(tmp_path / "lab1.sock"))
    cluster.near = Gate(cluster.host)
    cluster.host.offer(cluster.near)
    cluster.host.start()
    cluster.ann = operators.create(cluster.main.identity, "ann", tmp_path / "home" / "operator.key")
    until(lambda: sum(m.status is Status.UP for m in cluster.host.members()) == 2, 15)
    with connect(cluster.host.settings.socket_path) as client:
        cluster.client = client
        yield cluster
    cluster.close()


@pytest.mark.design("A1")
@pytest.mark.parametrize("agent", ["gate@lab0", "lab0/controller", "gate@lab1", "lab1/host"])
def test_an_operator_may_what_a_member_may_not(lab, agent):
    with pytest.raises(NotAllowed, match="needs role operator"):
        lab.client.call(agent, "open", {"width": 3})
    with pytest.raises(NotAllowed):
        lab.host.stub(GateAPI, agent.partition("@")[2] or "lab0").open(3)
    done = operators.call(lab.client, lab.ann, agent, "open", {"width": "3"})
    assert done == {"width": 3, "operator": "ann", "by": "lab1/host", "times": 1}
    with pytest.raises(NotAllowed):
        lab.client.call(agent, "open", {"width": 3})
    with pytest.raises(NotAllowed):  # an operator is no controller
        operators.call(lab.client, lab.ann, agent, "count", {"label": "x"})


def order(lab, **more):
    """What `operators.call` sends, with changes: (fields of the call, proof)."""
    target = lab.client.challenge("gate@lab0", "open")
    fields = {
        "cluster": lab.ann.cluster, "node": target["node"], "challenge": target["challenge"],
        "request_id": "operator/1", "topic": "gate", "method": "open", "width": 3, **more,
    }  # fmt: skip
    key, signed = fields.pop("key", lab.ann.private()), fields.pop("certificate", lab.ann.certificate)
    body = encode({"width": fields.pop("width")})
    made = operators.Order(1, **fields, arguments_sha256=hashlib.sha256(body).digest())
    return msgspec.msgpack.encode(operators.Proof(certificate.sign(key, "order", made), signed))


def bring(lab, proof, request_id="operator/1", width=3, method="open", node="lab0/controller"):
    return lab.client.call_proven(node, "gate", method, encode({"width": width}), request_id, proof, 10)


@pytest.mark.design("A2")
def test_threat_a_forged_order_is_refused(lab):
    """threat: an operator's order made up, changed on its way, for another node, or by another key."""
    own = Ed25519PrivateKey.generate()
    identity = lab.main.identity
    public = keys.public_of(own)
    made_up = certificate.issue(own, identity.cluster, "eve", ("operator",), public, kind="operator")
    unsigned = certificate.issue(own, identity.cluster, "eve", ("operator",), public, kind="operator")
    record = msgspec.msgpack.decode(unsigned.body, type=certificate.Certificate)
    posing = certificate.sign(
        own, "operator", msgspec.structs.replace(record, signer=keys.public_of(identity.signer()))
    )
    as_node = certificate.issue(identity.signer(), identity.cluster, "eve", ("operator",), public)
    forged = [
        order(lab, key=own),
        order(lab, key=own, certificate=made_up),
        order(lab, key=own, certificate=posing),
        order(lab, key=own, certificate=as_node),
        order(lab, certificate=identity.chain.certificate),
        order(lab, node="lab1/host"),
        order(lab, cluster=bytes(32)),
        order(lab, challenge=bytes(16)),
        order(lab, request_id="operator/2"),
        order(lab, method="close"),
        order(lab, topic="paint"),
        order(lab, width=4),
        b"\xc1",
        b"x",
    ]
    for proof in forged:
        with pytest.raises(NotAllowed):
            bring(lab, proof)
    with pytest.raises(NotAllowed):  # one made for lab0, brought to lab1
        bring(lab, order(lab), node="lab1/host")
    assert lab.gate.counts == {} and lab.near.counts == {}
    assert bring(lab, order(lab))["times"] == 1


@pytest.mark.design("A3")
def test_threat_an_order_is_carried_out_once(lab, monkeypatch):
    """threat: repeated request: the member it goes by way of brings it again."""
    proof = order(lab)
    assert bring(lab, proof)["times"] == 1
    assert bring(lab, proof)["times"] == 1, "the same request: its recorded answer"
    for other in ({"request_id": "operator/2"}, {"width": 4}):
        with pytest.raises(NotAllowed):
            bring(lab, proof, **other)
    challenge = msgspec.msgpack.decode(
        msgspec.msgpack.decode(proof, type=operators.Proof).order.body, type=operators.Order
    ).challenge
    with pytest.raises(NotAllowed, match="not fresh"):  # the operator's own second order needs a second challenge
        bring(lab, order(lab, challenge=challenge, request_id="operator/3"), "operator/3")
    third = lab.bus("lab3")
    third.start()
    until(lambda: any(m.node == "lab0/controller" and m.status is Status.UP for m in third.members()), 15)
    fresh = order(lab)
    with pytest.raises(NotAllowed, match="not fresh"):  # taken on its way, brought by another member
        third.calling.ask(
            "gate", None, "open", encode({"width": 3}), patience=GateAPI.methods()["open"].timeout,
            request_id="operator/1", node="lab0/controller", proof=fresh,
        )  # fmt: skip
    monkeypatch.setattr(operators, "LIFE_S", -1.0)
    with pytest.raises(NotAllowed, match="not fresh"):
        bring(lab, order(lab, request_id="operator/4"), "operator/4")
    assert lab.gate.counts == {"open": 1}


@pytest.mark.design("A4")
def test_a_revoked_operator_may_nothing(lab):
    public = keys.public_of(lab.ann.private())
    stone = tombstones.put_out(lab.main.identity.signer(), lab.main.identity.cluster, public, "ann", "left", "lab0")
    assert operators.call(lab.client, lab.ann, "gate@lab1", "open", {"width": 1})["times"] == 1
    lab.client.put_out(stone)  # at a host: every member takes it
    until(lambda: lab.main.roster.tombs.count == 1, 15)
    for agent in ("gate@lab0", "gate@lab1"):
        with pytest.raises(NotAllowed, match="put out"):
            operators.call(lab.client, lab.ann, agent, "open", {"width": 1})
    with pytest.raises(JoinRefused, match="may not say so"):
        lab.client.put_out(stone_by(lab, lab.ann, "lab0"))


def stone_by(lab, operator, name):
    found = lab.client.key_of(name)
    values = {"node_id": found["node_id"], "operator": operator.certificate}
    return tombstones.put_out(operator.private(), found["cluster"], found["key"], name, "gone", operator.name, **values)


@pytest.mark.design("A4")
def test_what_a_revoked_operator_put_out_stays_out_for_those_who_hear_of_both(lab):
    lab.bus("lab2").start()
    until(lambda: lab.host.roster.key_of("lab2"), 15)
    stone = stone_by(lab, lab.ann, "lab2")
    lab.client.put_out(stone)
    public = keys.public_of(lab.ann.private())
    left = tombstones.put_out(lab.main.identity.signer(), lab.main.identity.cluster, public, "ann", "left", "lab0")
    lab.client.put_out(left)
    until(lambda: lab.main.roster.tombs.count == 2, 15)
    until(lambda: stone not in lab.main.roster.tombstones.stones(), 15, "the controller said it anew")
    newcomer = lab.bus("lab3")
    held = newcomer.roster.tombstones
    held.merge([left])
    assert held.merge([stone])[1] != "", "of the operator it is not taken any more"
    assert held.merge(lab.main.roster.tombstones.stones()[:]) and held.summary == lab.main.roster.tombs


@pytest.mark.design("A5")
def test_an_operator_puts_a_host_out_at_any_member_with_no_controller_up(lab):
    other = lab.bus("lab2")
    other.start()
    until(lambda: lab.host.roster.key_of("lab2") and other.roster.admits(lab.host.pair.public), 15)
    lab.main.stop()
    assert [row["name"] for row in lab.client.put_out(stone_by(lab, lab.ann, "lab2"))] == ["lab2"]
    until(lambda: other.out, 15)
    with pytest.raises(Unreachable, match="put out of the cluster by ann"):
        lab.client.call("gate@lab2", "where")


@pytest.mark.design("A5")
def test_threat_a_host_cannot_put_anybody_out(lab):
    """threat: forged tombstone: signed by a host's own key, as an operator that no signer made."""
    eve = Ed25519PrivateKey.generate()
    made_up = certificate.issue(
        eve, lab.ann.cluster, "eve", ("operator",), keys.public_of(eve), topics=(), kind="operator"
    )
    posing = operators.OperatorKey(1, lab.ann.cluster, "eve", eve.private_bytes_raw(), made_up)
    borrowed = msgspec.structs.replace(posing, certificate=lab.ann.certificate)
    for stone in (stone_by(lab, posing, "lab0"), stone_by(lab, borrowed, "lab0")):
        with pytest.raises(JoinRefused):
            lab.client.put_out(stone)
    assert not lab.main.out and lab.host.roster.tombs.count == 0


@pytest.mark.design("A6")
def test_threat_an_operators_certificate_lets_nobody_in_as_a_node(lab):
    """threat: an operator's certificate shown at the door."""
    pair = keys.CurvePair(zmq.curve_keypair()[1])
    card = wire.Card("ann/host", ("operator",), (), "127.0.0.1", 1, 1, 1, 0, pair.public, "0", 1)
    door, context = lab.main.card(), zmq.Context()
    knock = Knock(context, pair, "127.0.0.1", door.door_port, door.key, 10)
    with knock, pytest.raises(JoinRefused):
        knock.ask(AskHello(Chain(lab.ann.certificate, lab.main.identity.chain.signers), card))
    context.destroy(0)


@pytest.mark.design("A7")
@pytest.mark.parametrize("at", ["a host", "the controller"])
def test_an_operator_gets_a_certificate_of_the_new_signer_before_the_old_is_dropped(lab, tmp_path, at):
    path, folder = tmp_path / "home" / "operator.key", tmp_path / "lab0"
    bob = operators.create(lab.main.identity, "bob", tmp_path / "bob.key")
    out = tombstones.put_out(
        lab.main.identity.signer(), lab.ann.cluster, keys.public_of(bob.private()), "bob", "left", "lab0"
    )
    lab.client.put_out(out)
    until(lambda: lab.main.roster.tombs.count == 1, 15)
    counted = []

    def give(signed):
        told = Rotation(lab.main).order(signed)
        [ann] = [c for c in operators.known(lab.main.identity) if c.host == "ann"]
        counted.append((told["operators"], ann.signer == keys.public_of(lab.main.identity.signer())))
        return told

    told = rotation.rotate(folder, folder / "root.key", give)
    assert told["dropped"] and told["operators"] == ["ann"], "nothing for whom was revoked"
    assert counted[0] == (["ann"], True), "it is there while both signers count"
    until(lambda: len(lab.host.identity.signers.signers) == 1, 15, "the old one is dropped there too")
    with pytest.raises(NotAllowed, match="nova0 operator renew"):
        operators.call(lab.client, lab.ann, "gate@lab1", "open", {"width": 1})
    with pytest.raises(JoinRefused, match="bob was put out"):
        operators.renewed(lab.client, bob)
    if at == "a host":
        fresh = operators.renewed(lab.client, lab.ann)
    else:
        shown = msgspec.msgpack.encode(lab.ann.certificate)
        signed = msgspec.msgpack.decode(lab.main.asking.operator(shown), type=wire.Signed)
        fresh = msgspec.structs.replace(lab.ann, certificate=signed)
    operators.save(path, fresh)
    assert operators.load(path) == fresh != lab.ann and fresh.secret == lab.ann.secret
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    lab.main.stop()  # the newest needs no controller
    assert operators.renewed(lab.client, fresh) == fresh
    assert operators.call(lab.client, fresh, "gate@lab1", "open", {"width": 1})["operator"] == "ann"
    with pytest.raises(JoinRefused, match="nova0 operator renew"):
        operators.renewed(lab.client, lab.ann)


def test_an_operator_may_act_by_way_of_a_node_that_knows_of_no_renewal(lab, monkeypatch):
    real = LocalSocket._answer

    def earlier(self, question, uid, pid):
        return real(self, question | {"op": "unheard-of"} if question["op"] == "operator" else question, uid, pid)

    monkeypatch.setattr(LocalSocket, "_answer", earlier)
    assert operators.renewed(lab.client, lab.ann) == lab.ann
    assert operators.call(lab.client, lab.ann, "gate@lab1", "open", {"width": 1})["operator"] == "ann"


@pytest.mark.design("A8")
def test_what_an_operator_put_out_stays_out_for_newcomers_after_the_signer_changed(lab, tmp_path):
    lab.bus("lab2").start()
    until(lambda: lab.host.roster.key_of("lab2"), 15)
    stone = stone_by(lab, lab.ann, "lab2")
    lab.client.put_out(stone)
    until(lambda: lab.main.roster.tombs.count == 1, 15)
    folder = tmp_path / "lab0"
    assert rotation.rotate(folder, folder / "root.key", Rotation(lab.main).order, drop="now")["dropped"]
    until(lambda: stone not in lab.main.roster.tombstones.stones(), 15, "the controller said it anew")
    newcomer = lab.bus("lab3")
    assert newcomer.roster.tombstones.merge([stone])[1] != "", "the old certificate is not taken any more"
    newcomer.start()
    until(lambda: newcomer.roster.tombs == lab.main.roster.tombs, 15, "it hears who is out")


def test_the_key_is_its_owners_alone_and_is_never_overwritten(lab):
    path = lab.folder / "home" / "operator.key"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert operators.load(path) == lab.ann and lab.ann.secret.hex() not in repr(lab.ann)
    for name, where in (("bob", path), ("ann", lab.folder / "other.key")):
        with pytest.raises(FileExistsError):
            operators.create(lab.main.identity, name, where)
    path.write_text("hello")
    with pytest.raises(JoinRefused, match="no operator's key"):
        operators.load(path)
    with pytest.raises(JoinRefused, match="no signer"):
        operators.create(lab.host.identity, "bob", lab.folder / "bob.key")
    assert [c.host for c in operators.known(lab.main.identity)] == ["ann"]


def test_challenges_are_bounded(lab):
    for _ in range(100):
        lab.client.challenge("gate@lab0", "open")
    assert sum(map(len, lab.main.operators._given.values())) == operators.MOST_OF_ONE
