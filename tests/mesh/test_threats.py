"""docs/security.md lists the attacks and what stops each; here is that every row names tests that exist, and those
tests that stand nowhere else: wire-tapping, replays, forged beats, stolen answers, floods."""

from __future__ import annotations

import ast
import functools
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import gevent
import msgspec
import pytest
import zmq
from cluster import Cluster
from contract import Box, PaintAgent, PaintAPI, until
from relay import Relay

from nova0.mesh import door, keys, wire
from nova0.mesh.bus import Status
from nova0.mesh.door import AskCert, AskHello, Knock
from nova0.mesh.errors import MeshError
from nova0.mesh.wire import CHATTER
from nova0.mesh.zap import dial_curve

REPO = Path(__file__).resolve().parents[2]
# every attack the design answers; each is a row of the table in docs/security.md
ATTACKS = {
    "an announcement with the attacker's own key",
    "an announcement with a real key and the attacker's address",
    "a member that poses as a controller to a newcomer",
    "somebody between two nodes who listens, alters or plays again",
    "a join token used again, after its time, after it was revoked, or with a wrong secret",
    "a token used to take over a host, or more roles than it gives",
    "a certificate of one's own making, or of another cluster",
    "a certificate copied without its key",
    "calls before the greeting, calls at the door, large messages there",
    "a request sent twice",
    "a member that was put out and keeps its links, or hides that it was",
    "forged tombstones",
    "an order of an operator forged, played again, or given by a host",
    "a user's agent that takes more than a user's place",
    "a key asked for or put out in another's name, or used after its change",
    "a card with a name in place of an address, a process that names no file, or megabytes",
    "a member that speaks in another's name",
    "a member that takes another's answers",
    "a role that the certificate lacks",
    "a member that offers a controller's or a host's topic, to be asked in its place",
    "a member that casts, publishes or streams in a controller's or a host's place, or listens to what they say",
    "a token or certificate that gives topics of another role",
    "unknown keys in great number",
    "a handler of admissions that is dead or missing",
    "bytes of any kind at any socket",
    "a copy of a machine started beside it, or a disk put back",
    "a machine's key that others have read",
    "a member that has another's key certified as its own, or retires it",
    "a signer's key that others have read",
    "an older set of signers shown again, or one the root did not sign",
    "a root's key that others have read",
    "a change of root forged, shown for another cluster, or an earlier one again",
    "a second store in the controller's place",
    "a controller, false or mistaken, that disowns a host's guests when both are compared",
    "a machine that has another put out by leaving in its name, or a controller's that leaves by accident",
    "a command that is typed without knowing what it destroys",
    "a user of the API who asks agents as if the controller asked",
    "a stranger who reads the metrics",
    "a text of another machine that is more than its field: a line of a file or batch, a rule, a path, XML",
    "a host that says nonsense of itself, its guests or its progress, or did before that was checked",
    "a host that has itself asked again for ever, sends megabytes as an error, or names guests without number",
    "a host that keeps a controller at work, so that it answers nobody else and boots nothing elsewhere",
    "a network whose rules the kernel refuses, and with them those of all guests of a host",
    "a node whose answer to what all are asked spoils those of the others, or forges lines among them",
    "a host's end of the tunnels that other hosts cannot use, or that is everybody's address",
    "words of a member or a guest that steer the terminal of who looks",
    "connections to the API without end: idle, with headers or bodies under way, tunnels to a guest that never ends",
    "bodies never finished, answers never taken",
    "requests whose ends two readers see in two places, or that no reader should take",
    "endless chunks, trailers or requests in one go",
    "passwords and secrets guessed",
    "a log filled, or made to say what was not",
    "secrets read from a log, at any level",
    "another user of the machine who takes a lock of nova0's, so that it does not start again",
    "keys and tokens read from the disk by other users",
    "a request that compares every item of a list with every other, or is looked through for its faults one by one",
    "a user's regular expression that never ends",
    "a text that holds up a pattern of ours",
    "a newline at the end of a name, a tag, a key or a host name, an address with a zone",
    "numbers in digits of other scripts or larger than a column, times that cannot be written again",
    "any request of any route made to hurt",
    "a user of no project who makes or changes what then belongs to nobody",
    "a store emptied, lost, damaged or put in the place of another",
    "a disk filled by whoever can (uploads, logs, guests)",
    "a file cut short by a full disk or a power cut",
    "a clock set ahead or back, to revive a token that was taken back or has expired, or to lock users out",
    "requests whose answers are long: lists of ten thousand servers or ports, usage of all, in any form",
    "much in one request: a hundred ports or rules, a server of 64 ports, hundreds of servers, on a network and a "
    "group of thousands",
    "a member who makes without end what is listed or forgotten at once: application credentials, actions of a server, "
    "images sorted by much, tokens taken back",
    "so many servers on one host, in one group, that no controller could be started beside it",
    "whatever blocks the loop of a controller or host for good",
    "a tenant's subnet with the range of the host's LAN, of a public service, or of another project",
    "a guest that goes for its host, for another network, or for the cluster's machines by its gateway",
    "a guest that speaks as another, as the gateway, or under a false source through NAT",
    "a guest that declines, releases or asks for a neighbour's DHCP lease, or answers as a server",
    "a frame with a VLAN tag, which the rules of security groups do not look at",
    "ARP that is malformed, or asks as 0.0.0.0 for a neighbour's address, so that it gives it back",
    "an ICMP error about a neighbour's connection, which passes closed groups as related; a redirect",
    "any other kind of frame: IPv6, router advertisements, tunnels, SNAP, BPDU, LLDP, PPPoE, fragments",
    "a guest that asks for a neighbour's metadata, by its address or by a proxy's headers",
    "a member who fills store and disk with images, their properties or uploads without a length",
    "a join token read from the list of processes, or from the machine's journal",
    "servers and images left without an owner by the deletion of their project",
    "what a user told a server in confidence, read from the files after it is gone",
    "another user of a host who reads or lists guests' disks, consoles and cached images, or opens a guest's screen",
    "an image whose tables lie, name other files, are encrypted or cut short, or that is something else than declared",
    "a guest that breaks out of its QEMU",
    "another user of a host who asks libvirt about its guests",
}


def rows():
    """attack -> ids of the tests in the last column of the table."""
    text = (REPO / "docs/security.md").read_text()
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and "`" in cells[2]:
            found[cells[0]] = re.findall(r"`([\w/]+\.py::\w+)`", cells[2])
    return found


def test_every_attack_has_a_row_and_every_row_is_an_attack():
    assert set(rows()) == ATTACKS


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_the_tests_a_row_names_exist(attack):
    named = rows()[attack]
    assert named, "a row without a test"
    for name in named:
        path, _, function = name.partition("::")
        assert function in functions(REPO / "tests" / path), name


@functools.cache
def functions(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=1.0)
    cluster.main = cluster.bus("lab0", "controller", ("controller",))
    cluster.agent = PaintAgent(cluster.main)
    cluster.main.offer(cluster.agent)
    cluster.main.start()
    cluster.context = zmq.Context()
    yield cluster
    cluster.context.destroy(0)
    cluster.close()


def up(node, host):
    return any(m.host == host and m.status == Status.UP for m in node.members())


def dialled(lab, pair, port, key, kind=zmq.DEALER):
    made = lab.context.socket(kind)
    dial_curve(made, pair, key)
    made.setsockopt(zmq.LINGER, 0)
    made.connect(f"tcp://127.0.0.1:{port}")
    return made


def asked(raw, *messages, timeout_s=10.0):
    """Send; the messages of the next frame that comes, [] where none does."""
    if messages:
        raw.send(wire.encode(list(messages)))
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if raw.poll(0):
            return wire.read_frame(raw.recv())
        gevent.sleep(0.02)
    return []


def greeted(lab, pair, host, target):
    """A connection of that member made by hand: knocked, dialled, greeted."""
    card = target.card()
    mine = msgspec.structs.replace(host.card(), node=f"{host.host}/byhand", boot=1)
    with Knock(lab.context, pair, "127.0.0.1", card.door_port, card.key, 5) as knock:
        knock.ask(AskHello(host.chain(), mine))
    raw = dialled(lab, pair, card.rpc_port, card.key)
    found = asked(raw, msgspec.structs.replace(host.hello(), card=mine))
    while not any(isinstance(message, wire.Welcome) for message in found):
        assert found, "no welcome"
        found = asked(raw)
    return raw


@pytest.fixture
def tapped(lab):
    """lab1 reaches lab0's RPC socket only through a relay."""
    relay = Relay(("127.0.0.1", lab.main.card().rpc_port))
    real = lab.main.card
    lab.main.card = lambda: msgspec.structs.replace(real(), rpc_port=relay.port)
    lab.host = lab.bus("lab1")
    lab.host.start()
    until(lambda: up(lab.host, "lab0"), 20, "they know each other")
    yield relay
    relay.close()


def test_who_listens_between_two_nodes_reads_nothing(lab, tapped):
    word = "the-colour-of-the-cabinet"
    assert lab.host.stub(PaintAPI, "lab0").echo(Box(word)).name == word
    assert len(tapped.seen) > 500
    for readable in (word, "paint", "echo", "lab0", "lab1", lab.main.cluster_id):
        assert readable.encode() not in tapped.seen, readable


@pytest.mark.slow
def test_one_bit_altered_on_the_way_breaks_the_link_and_no_more(lab, tapped):
    before = len(tapped.streams)
    tapped.alter = 1
    for number in range(20):
        assert lab.host.stub(PaintAPI, "lab0").echo(Box(f"box {number}")).name == f"box {number}"
    assert tapped.alter == 0
    until(lambda: len(tapped.streams) > before, 20, "it is dialled anew")
    assert lab.agent.counts == {}


def test_what_was_recorded_does_nothing_when_it_is_played_again(lab, tapped):
    stub = lab.host.stub(PaintAPI, "lab0", request_id="once")
    assert stub.add(1, 2) == 3
    lab.agent.add = lambda a, b=10: pytest.fail("executed again")
    until(lambda: b"READY" in bytes(tapped.streams[-1][1]), 10, "the handshake was recorded")
    heard = lab.main.roster.peers["lab1/host"].heard_at
    for there, _ in list(tapped.streams):
        with socket.create_connection(("127.0.0.1", lab.main._ports[0])) as again:
            again.sendall(bytes(there))
            again.settimeout(0.1)
            ended = gevent.Timeout(10, False)
            with ended:  # it is turned away in the handshake; nothing but the greeting of ZMTP comes back
                got = b""
                while True:
                    try:
                        part = again.recv(65536)
                    except TimeoutError:
                        continue
                    if not part:
                        break
                    got += part
            assert b"READY" not in got
    assert heard is not None and stub is not None
    assert up(lab.main, "lab1") and stub.add(1, 2) == 3  # answered from the record


def test_nothing_is_answered_before_the_greeting(lab):
    """A member's key alone is not enough: the connection must have said who it is."""
    host = lab.bus("lab1")
    card = lab.main.card()
    raw = dialled(lab, host.pair, card.rpc_port, card.key)
    body = wire.Raw(msgspec.msgpack.encode({"label": "x"}))
    found = asked(raw, wire.Call(1, "r", "paint", "count", body, 5000), wire.Ping(1))
    assert [type(message) for message in found] == [wire.Refused]
    assert lab.agent.counts == {}


def test_a_frame_larger_than_allowed_cuts_the_member_that_sends_it(lab):
    host = lab.bus("lab1")
    host.start()
    until(lambda: up(lab.main, "lab1"), 20)
    raw = greeted(lab, host.pair, host, lab.main)
    watch = raw.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    raw.send(b"\x91" + b"x" * (wire.MAX_FRAME_BYTES + 1))
    until(lambda: watch.poll(0), 20, "it is cut")
    raw.disable_monitor()
    assert host.stub(PaintAPI, "lab0").echo(Box("still there")).name == "still there"


def test_a_member_cannot_beat_or_leave_in_anothers_name(lab):
    """lab2 publishes beats and goodbyes in lab1's name, at the controller's ear and to those who subscribe to it."""
    one, two, three = (lab.bus(name) for name in ("lab1", "lab2", "lab3"))
    for node in (one, two, three):
        node.start()
    for node in (lab.main, one, two, three):
        until(lambda node=node: all(up(node, f"lab{n}") for n in range(4) if node.host != f"lab{n}"), 20)
    beats = {node.node: [] for node in (lab.main, three)}
    for node in (lab.main, three):
        real = node.heard_chatter
        node.heard_chatter = lambda peer, signal, node=node, real=real: (
            beats[node.node].append((peer.node, getattr(signal, "number", 0))), real(peer, signal)
        )  # fmt: skip

    def own(number):
        two.casting.publish(CHATTER, wire.Beat("lab2/host", two.boot, number, 0, 77))
        return all(("lab2/host", number) in heard for heard in beats.values())

    until(lambda: own(900), 20, "they listen to lab2")
    for number in range(1000, 1005):
        two.casting.publish(CHATTER, wire.Beat("lab1/host", one.boot, number, 0, 99))
        two.casting.publish(CHATTER, wire.Left("lab1/host", one.boot))
        said = [wire.Cast("colour", wire.Raw(b"\x80"))]
        two.casting.publish("paint", wire.Casts("lab1/host", one.boot, number, said))
    until(lambda: own(2000), 20, "what came before this was heard, too")
    for node in (lab.main, three):
        seen = node.roster.peers["lab1/host"]
        assert seen.load != 99 and seen.beat < 1000 and seen.status is Status.UP
    assert lab.agent.colours == []


@pytest.mark.design("F7")
def test_hearsay_with_a_higher_start_number_does_not_displace_the_real_one(lab):
    """A forged record that comes first, with the attacker's key and a start number above the real one."""
    thief, host = keys.CurvePair(zmq.curve_keypair()[1]), lab.bus("lab1")
    forged = wire.Card("lab1/host", ("controller",), (), "127.0.0.1", 1, 1, 1, 0, thief.public, "0", 2**40)
    assert lab.main.roster.hint(forged) is not None
    host.start()
    until(lambda: up(lab.main, "lab1"), 20)
    peer = lab.main.roster.peers["lab1/host"]
    assert peer.card.key == host.pair.public and peer.card.rpc_port == host.card().rpc_port
    assert peer.boot == host.boot and peer.roles == ("host",)


@pytest.mark.design("F7")
def test_a_member_cannot_speak_as_a_node_that_only_hearsay_knows(lab):
    """lab1 forges a record of lab9 with its own key, and casts in that name."""
    host = lab.bus("lab1")
    host.start()
    until(lambda: up(lab.main, "lab1"), 20)
    forged = msgspec.structs.replace(host.card(), node="lab9/host", boot=1)
    assert lab.main.roster.hint(forged) is not None
    heard = []
    lab.main.on_cast(lambda topic, method, publisher, body: heard.append(publisher))
    body = wire.Raw(msgspec.msgpack.encode({"name": "red"}))

    def cast():
        host.casting.publish(CHATTER, wire.Beat("lab9/host", 1, 1, 0, 5))
        said = [wire.Cast("colour", body)]
        host.casting.publish("paint", wire.Casts("lab9/host", 1, len(heard) + 1, said))
        host.stub(PaintAPI).colour("blue")
        return heard

    until(cast, 20, "its own casts are heard")
    assert set(heard) == {"lab1/host"} and not up(lab.main, "lab9")
    assert set(lab.agent.colours) <= {"blue"}


def test_a_member_cannot_answer_for_another_nor_say_goodbye_for_it(lab):
    """lab2 sends answers to every open call of lab1, and a goodbye as lab0; lab1 takes neither."""
    one, two = lab.bus("lab1", roles=("host",)), lab.bus("lab2")
    for node in (one, two):
        node.start()
    agent = PaintAgent(one)
    one.offer(agent)
    until(lambda: up(lab.main, "lab1") and up(one, "lab2") and up(two, "lab1"), 20)
    raw = greeted(lab, two.pair, two, one)
    work = gevent.spawn(lab.main.stub(PaintAPI, "lab1").slow, 1.0)
    assert agent.started.wait(20)
    stolen = [wire.Answer(number, wire.Raw(msgspec.msgpack.encode("stolen"))) for number in range(1, 50)]
    back = dialled(lab, two.pair, lab.main.card().rpc_port, lab.main.card().key)
    back.close()
    found = asked(raw, *stolen, wire.Goodbye("lab0/controller", lab.main.boot), wire.Ping(5))
    assert [message.nonce for message in found if isinstance(message, wire.Pong)] == [5]
    at_main = greeted(lab, two.pair, two, lab.main)
    assert any(isinstance(message, wire.Pong) for message in asked(at_main, *stolen, wire.Ping(6)))
    assert work.get(timeout=20) == "done"
    assert up(one, "lab0")


def test_a_member_that_knows_anothers_request_id_gets_no_answer_of_its(lab):
    one, two = lab.bus("lab1"), lab.bus("lab2")
    for node in (one, two):
        node.start()
    until(lambda: up(one, "lab0") and up(two, "lab0"), 20)
    ran = []
    lab.agent.add = lambda a, b=10: pytest.fail("not bound yet")
    lab.main.offers._methods["paint", "add"].function = lambda a, b=10: ran.append(lab.main.caller().node) or len(ran)
    assert one.stub(PaintAPI, "lab0", request_id="r").add(1) == 1
    assert two.stub(PaintAPI, "lab0", request_id="r").add(1) == 2
    two.acknowledge(["r"])
    assert one.stub(PaintAPI, "lab0", request_id="r").add(1) == 1
    assert ran == ["lab1/host", "lab2/host"]


def test_a_flood_of_unknown_keys_is_refused_and_members_go_on(lab, caplog):
    host = lab.bus("lab1")
    host.start()
    until(lambda: up(host, "lab0"), 20)
    stub, card = host.stub(PaintAPI, "lab0"), lab.main.card()

    def waits(count):
        found = []
        for number in range(count):
            began = time.monotonic()
            assert stub.echo(Box(str(number))).name == str(number)
            found.append(time.monotonic() - began)
        return sorted(found)

    calm = waits(200)
    words = ["127.0.0.3", str(card.rpc_port), str(card.door_port), card.key.hex()]
    flood = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("flood.py")), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        before = lab.main.refusals.count
        until(lambda: lab.main.refusals.count > before + 200, 60, "the flood is on")
        flooded = waits(200)
        assert len(lab.main.door._gate._open) <= door.PER_ADDRESS + 1
        with Knock(lab.context, host.pair, "127.0.0.1", card.door_port, card.key, 10) as knock:
            assert knock.ask(AskCert()).card.node == "lab0/controller"  # other addresses still get in
        assert set(lab.main.roster._keys) == {lab.main.pair.public, host.pair.public}
    finally:
        flood.kill()
        flood.wait()
        assert flood.stdout is not None
        flood.stdout.close()
    refused = lab.main.refusals.count - before
    lines = [r for r in caplog.records if r.name == "nova0.mesh.refused" and "127.0.0.3" in r.getMessage()]
    assert 1 <= len(lines) <= 3, "one line an address, not one a try"
    print(
        f"{refused} refused; p50 {calm[100] * 1e3:.2f} -> {flooded[100] * 1e3:.2f} ms, "
        f"p99 {calm[198] * 1e3:.2f} -> {flooded[198] * 1e3:.2f} ms"
    )


@pytest.mark.design("B15")
def test_one_address_holds_only_so_many_connections_at_the_door(lab):
    card = lab.main.card()
    held = [socket.create_connection(("127.0.0.1", card.door_port)) for _ in range(door.PER_ADDRESS + 40)]
    try:
        until(lambda: lab.main.refusals.count > 0, 20, "the cap was reached")
        assert len(lab.main.door._gate._open) <= door.PER_ADDRESS
    finally:
        for one in held:
            one.close()


def test_the_budget_of_handshakes_is_each_addresses_own(lab):
    """An address that spent its handshakes is refused; another one is not."""
    from nova0.mesh.zap import DOOR

    key = keys.CurvePair(zmq.curve_keypair()[1]).public

    def judged(address):
        return lab.main.zap._judge(b"1.0", DOOR, address, b"CURVE", [key])[0]

    said = [judged("10.0.0.9") for _ in range(400)]
    assert said[0] == b"200" and said[-1] == b"300"
    assert judged("10.0.0.8") == b"200"


def test_an_answer_of_garbage_is_an_error_of_the_mesh(lab):
    """What a member answers may be anything: the caller gets an error of the mesh, never another."""
    one = lab.bus("lab1")
    one.offer(PaintAgent(one))
    one.start()
    until(lambda: up(lab.main, "lab1"), 20)
    lab.main.stub(PaintAPI, "lab1").add(1)
    link = lab.main.roster.peers["lab1/host"].link
    real = link._take
    for error in ({"kind": "Busy", "data": 7}, {"kind": 9, "message": [1]}, {}):

        def take(message, error=error):
            real(wire.Failure(message.id, error) if isinstance(message, wire.Answer) else message)

        link._take = take
        with pytest.raises(MeshError):
            lab.main.stub(PaintAPI, "lab1").add(1)
    link._take = real
    assert lab.main.stub(PaintAPI, "lab1").add(1) == 11
