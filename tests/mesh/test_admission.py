"""Who gets in and who does not: tokens, certificates, the door, the ZAP handler, two stores."""

from __future__ import annotations

import logging
import os
import secrets
import stat

import gevent
import msgspec
import pytest
import zmq
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until

from nova0.mesh import identity, keys, tokens, wire
from nova0.mesh.bus import Status
from nova0.mesh.certificate import Chain, Roots, Signed, SignerSet, issue, sign, verify
from nova0.mesh.door import AskCert, AskHello, AskJoin, Knock
from nova0.mesh.errors import Busy, Incompatible, JoinRefused, MeshError, NotAllowed, Unreachable
from nova0.mesh.joining import join, mint_token
from nova0.mesh.node import Node
from nova0.mesh.zap import RPC, dial_curve, serve_curve


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=0.5)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.agent = PaintAgent(cluster.main)
    cluster.main.offer(cluster.agent)
    cluster.main.start()
    cluster.context = zmq.Context()
    yield cluster
    cluster.context.destroy(0)
    cluster.close()


def stranger():
    return keys.CurvePair(zmq.curve_keypair()[1])


def knock(lab, pair, key=None):
    card = lab.main.card()
    return Knock(lab.context, pair, "127.0.0.1", card.door_port, key or card.key, 0.5)


def refusals(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "nova0.mesh.refused"]


def test_a_token_joins_once(lab):
    text = lab.token()
    join(lab.settings("lab1"), text)
    assert identity.load(lab.folder / "lab1").certificate.roles == ("host",)
    with pytest.raises(JoinRefused, match="nova0 token"):
        join(lab.settings("lab2"), text)
    assert not identity.is_member(lab.folder / "lab2")


def test_a_lost_answer_is_asked_again_with_the_same_key(lab):
    token = tokens.parse(lab.token())
    pair = stranger()
    for _ in range(2):
        with knock(lab, pair) as door:
            shown = door.ask(AskJoin(token.token_id, token.secret, "lab1"))
            assert verify(shown.yours, Roots((token.cluster,)))[0].key == pair.public
    with knock(lab, stranger()) as door, pytest.raises(JoinRefused):
        door.ask(AskJoin(token.token_id, token.secret, "lab1"))


def test_a_wrong_token_gets_nowhere_and_leaves_one_line(lab, caplog):
    good = tokens.parse(lab.token())
    wrong = msgspec.structs.replace(good, secret=secrets.token_bytes(24)).text()
    for _ in range(5):
        with pytest.raises(JoinRefused, match="wrong, used up, expired or revoked"):
            join(lab.settings("lab4"), wrong)
    assert len(refusals(caplog)) == 1 and "127.0.0.1" in refusals(caplog)[0]
    assert all(good.secret.hex() not in line for line in caplog.text.splitlines())
    assert {m.host for m in lab.main.members()} == {"lab0"}


def test_revoked_and_expired_tokens_are_refused(lab):
    revoked, expired = lab.token(), lab.token(lifetime_s=-1)
    assert lab.main.tokens.revoke(tokens.parse(revoked).token_id)
    for text in (revoked, expired):
        with pytest.raises(JoinRefused):
            join(lab.settings("lab1"), text)


def test_a_token_never_takes_over_an_existing_host(lab):
    join(lab.settings("lab1"), lab.token())
    for name in ("lab0", "lab1"):
        elsewhere = lab.settings(name)
        elsewhere.state_dir = str(lab.folder / f"thief-of-{name}")
        with pytest.raises(JoinRefused, match="already"):
            join(elsewhere, lab.token())


def test_a_token_for_a_named_host_fits_no_other(lab):
    text = lab.token(host="lab7")
    with pytest.raises(JoinRefused, match="lab7"):
        join(lab.settings("lab8"), text)
    join(lab.settings("lab7"), text)


def test_roles_come_from_the_token_and_not_from_the_newcomer(lab):
    made = lab.settings("lab1", "controller", ("controller", "host"))
    join(made, lab.token())
    node = Node(made)
    lab.nodes.append(node)
    node.start()
    until(lambda: any(m.node == "lab1/controller" and m.status == Status.UP for m in lab.main.members()), 5)
    assert next(m for m in lab.main.members() if m.host == "lab1").roles == ("host",)
    with pytest.raises(MeshError, match="needs role controller"):
        node.stub(PaintAPI, "lab0").count("x")


def test_nothing_is_sent_to_a_door_that_holds_another_key(lab):
    """A forged seed or mDNS record: the attacker's address with the real key, or the attacker's own key."""
    token = tokens.parse(lab.token())
    moved = [msgspec.structs.replace(s, key=stranger().public) for s in token.seeds]
    with pytest.raises(Unreachable, match="another key"):
        join(lab.settings("lab1"), msgspec.structs.replace(token, seeds=moved).text())
    assert lab.main.tokens.grants()[0].uses_left == 1


@pytest.mark.covers("S211")
def test_a_member_that_is_no_controller_is_not_told_the_secret(lab):
    host = lab.bus("lab1")
    host.start()
    token = tokens.parse(lab.token())
    card = host.card()
    posing = [tokens.Seed("127.0.0.1", card.door_port, card.key)]
    with pytest.raises(JoinRefused, match="nothing secret was sent"):
        join(lab.settings("lab2"), msgspec.structs.replace(token, seeds=posing).text())


def test_a_self_signed_certificate_is_refused(lab):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    cluster, own, pair = lab.main.identity.cluster, Ed25519PrivateKey.generate(), stranger()
    card = wire.Card("lab6/host", ("host",), (), "127.0.0.1", 1, 1, 1, 0, pair.public, "0", 1)
    signers = sign(own, "signers", SignerSet(1, cluster, 9, [keys.public_of(own)]))
    forged = Chain(issue(own, cluster, "lab6", ("controller",), pair.public), signers)
    half = Chain(forged.certificate, lab.main.identity.chain.signers)
    real = lab.main.identity.certificate
    body = msgspec.msgpack.encode(msgspec.structs.replace(real, host="lab6", key=pair.public))  # names the real signer
    unsigned = Chain(Signed(body, forged.certificate.signature), half.signers)
    copied = Chain(Signed(body, lab.main.identity.chain.certificate.signature), half.signers)
    for chain in (forged, half, unsigned, copied):
        with knock(lab, pair) as door, pytest.raises(JoinRefused):
            door.ask(AskHello(chain, card))
    assert {m.host for m in lab.main.members()} == {"lab0"}


@pytest.mark.covers("S211")
def test_a_stolen_certificate_is_worth_nothing_without_its_key(lab):
    host = lab.bus("lab1")
    pair = stranger()
    for key in (pair.public, host.pair.public):
        card = msgspec.structs.replace(wire.Card("lab1/host", (), (), "", 1, 1, 1, 0, b"", "0", 1), key=key)
        with knock(lab, pair) as door, pytest.raises(JoinRefused, match="than the one it speaks with"):
            door.ask(AskHello(host.chain(), card))


def test_an_unknown_key_may_ask_for_the_certificate_and_no_more(lab):
    with knock(lab, stranger()) as door:
        shown = door.ask(AskCert())
    certificate, _ = verify(shown.chain, Roots((lab.main.identity.cluster,)))
    assert certificate.host == "lab0" and shown.yours is None and shown.members == []


def test_calls_at_the_door_and_large_messages_are_not_answered(lab):
    card = lab.main.card()
    for body in (b"\x91" + wire.encode(wire.Call(1, "r", "paint", "count", wire.Raw(b"\x80"), 1000)), b"x" * 5000):
        socket = lab.context.socket(zmq.DEALER)
        dial_curve(socket, stranger(), card.key)
        socket.connect(f"tcp://127.0.0.1:{card.door_port}")
        socket.send(body)
        gevent.sleep(0.2)
        assert not socket.poll(0)
        socket.close(0)
    assert lab.agent.counts == {}


def test_a_plain_zeromq_program_gets_nowhere_and_leaves_one_line(lab, caplog):
    card = lab.main.card()
    sockets = []
    for port in (card.rpc_port,) * 8:
        socket = lab.context.socket(zmq.DEALER)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(b"\x91" + wire.encode(wire.Ping(1)))
        sockets.append(socket)
        gevent.sleep(0.05)
    until(lambda: refusals(caplog), 5, "it is noticed")
    gevent.sleep(1.2)
    assert all(not socket.poll(0) for socket in sockets)
    assert len(refusals(caplog)) == 1 and "127.0.0.1" in refusals(caplog)[0]
    for socket in sockets:
        socket.close(0)


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.SUB, zmq.PUB])
def test_a_key_nobody_certified_reaches_no_socket_but_the_door(lab, caplog, kind):
    card = lab.main.card()
    port = {zmq.DEALER: card.rpc_port, zmq.SUB: card.pub_port, zmq.PUB: card.ear_port}[kind]
    socket = lab.context.socket(kind)
    dial_curve(socket, stranger(), card.key)
    if kind == zmq.SUB:
        socket.subscribe(b"")
    socket.connect(f"tcp://127.0.0.1:{port}")
    until(lambda: refusals(caplog), 3, "it is noticed")
    if kind != zmq.PUB:
        lab.main.stub(PaintAPI).colour("secret")
        gevent.sleep(0.3)
        assert not socket.poll(0)
    socket.close(0)


@pytest.mark.slow
@pytest.mark.design("B16")
def test_the_socket_asked_for_keys_is_replaced_and_neither_friend_nor_stranger_notices(lab, caplog):
    asked = lab.main.zap._driven.socket
    hosts = [lab.bus(f"lab{number}") for number in (1, 2, 3)]
    for host in hosts:
        host.start()
        assert host.stub(PaintAPI, "lab0").add(1) == 11
    until(lambda: asked.closed, 20, "the one that was asked for all of these is gone")
    for host in hosts:
        assert host.stub(PaintAPI, "lab0").add(1) == 11
        assert host.counts.links_cut == 0
    late = lab.bus("lab4")
    late.start()
    assert late.stub(PaintAPI, "lab0").add(1) == 11
    before = len(refusals(caplog))
    socket = lab.context.socket(zmq.DEALER)
    dial_curve(socket, stranger(), lab.main.card().key)
    socket.connect(f"tcp://127.0.0.1:{lab.main.card().rpc_port}")
    until(lambda: len(refusals(caplog)) > before, 10, "a stranger is refused")
    socket.close(0)


def test_a_dead_zap_handler_lets_nobody_in(lab):
    lab.main.zap.close()
    with knock(lab, stranger()) as door, pytest.raises(Unreachable):
        door.ask(AskCert())


def test_a_socket_without_any_handler_is_closed():
    """The trap itself: CURVE without ZAP lets every key in; the enforced domain does not."""
    context, server = zmq.Context(), stranger()
    bound = context.socket(zmq.ROUTER)
    serve_curve(bound, server, RPC)
    port = bound.bind_to_random_port("tcp://127.0.0.1")
    dialled = context.socket(zmq.DEALER)
    dial_curve(dialled, stranger(), server.public)
    dialled.connect(f"tcp://127.0.0.1:{port}")
    dialled.send(b"let me in")
    assert not bound.poll(500)
    context.destroy(0)


def test_secrets_are_readable_by_their_owner_only(lab):
    lab.token()
    for name, mode in {
        "node.key": 0o600, "vouch.key": 0o600, "root.key": 0o600, "signer.key": 0o600, "tokens.json": 0o600,
        "journal.controller": 0o600, "boot.controller": 0o600, "node.cert": 0o644, "root.pub": 0o644,
    }.items():  # fmt: skip
        assert stat.S_IMODE(os.stat(lab.folder / "lab0" / name).st_mode) == mode, name
    assert stat.S_IMODE(os.stat(lab.folder / "lab0").st_mode) == 0o700


def test_a_machine_in_no_cluster_is_told_what_to_do(lab):
    with pytest.raises(JoinRefused, match="nova0 join"):
        Node(lab.settings("lab5"))
    with pytest.raises(JoinRefused, match="not a join token"):
        join(lab.settings("lab5"), "hello")
    with pytest.raises(JoinRefused, match="already"):
        identity.create_cluster(lab.folder / "lab0", "lab0")
    with pytest.raises(JoinRefused, match="in a cluster already"):
        join(lab.controller, lab.token())


@pytest.mark.covers("S211")
def test_a_host_cannot_mint_tokens(lab):
    host = lab.bus("lab1")
    host.start()
    with pytest.raises(JoinRefused, match="signer"):
        mint_token(host.settings)


def test_two_controllers_with_one_cluster_and_two_stores_refuse_each_other(tmp_path, caplog):
    cluster = Cluster(tmp_path)
    one = cluster.bus("lab0", "controller", ("controller",), store_id="store-one")
    one.start()
    two = cluster.bus("lab1", "controller", ("controller",), store_id="store-two")
    caplog.set_level(logging.INFO)
    two.start()
    try:
        until(lambda: one.greeting.conflict or two.greeting.conflict, 5, "they notice")
        said = one.greeting.conflict or two.greeting.conflict
        assert "different stores" in said and "nova0 adopt" in said
        with pytest.raises((Unreachable, Incompatible)):
            two.stub(PaintAPI, "lab0", timeout_s=1).where()
    finally:
        cluster.close()


def test_a_port_in_use_is_named(lab):
    taken = lab.main.card().door_port
    join(lab.settings("lab1"), lab.token())
    node = Node(lab.settings("lab1", door_port=taken))
    with pytest.raises(Busy, match=str(taken)):
        node.start()


def test_a_copied_machine_is_refused_for_its_lower_start_number(lab):
    import shutil

    made = lab.member("lab1")
    shutil.copytree(made.state_dir, lab.folder / "copy")
    for _ in range(2):
        node = Node(made)
        node.start()
        until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in lab.main.members()), 5)
        node.stop()
        until(lambda: all(m.status != Status.UP for m in lab.main.members() if m.host == "lab1"), 5)
    copied = lab.settings("lab1")
    copied.state_dir = str(lab.folder / "copy")
    clone = Node(copied)
    lab.nodes.append(clone)
    clone.start()
    gevent.sleep(1)
    assert all(m.status != Status.UP for m in lab.main.members() if m.host == "lab1")


def test_a_card_cannot_claim_a_role_the_certificate_lacks(lab):
    host = lab.bus("lab1")
    real = host.card
    host.card = lambda: msgspec.structs.replace(real(), roles=("controller",))
    host.start()
    until(lambda: any(m.host == "lab1" and m.status == Status.UP for m in lab.main.members()), 5)
    assert next(m for m in lab.main.members() if m.host == "lab1").roles == ()
    assert not lab.main.roster.peers["lab1/host"].is_controller
    with pytest.raises(NotAllowed):
        host.stub(PaintAPI, "lab0").count("x")


def test_one_process_of_a_name_runs_at_a_time(lab):
    with pytest.raises(Busy, match="runs here already"):
        Node(lab.controller).start()
