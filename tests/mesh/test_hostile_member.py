"""Who is asked must be entitled to answer: a member that offers, answers, casts and streams what its certificate does
not let it is not asked, believed or followed, and hides nobody who may."""

from __future__ import annotations

import hashlib
import re
import time

import gevent
import msgspec
import pytest
from contract import until
from hostile_nodes import KINDS, OURS, UUID, Lab, arguments_of, may

from nova0.cli.checks import membership
from nova0.cli.commands import mesh_graph
from nova0.controller.bridge import Bridge
from nova0.host.image.cache import ImageCache
from nova0.mesh import identity, tokens, tombstones, wire
from nova0.mesh.bus import Status
from nova0.mesh.certificate import renewed_topics
from nova0.mesh.codec import encode
from nova0.mesh.errors import (
    BadArguments,
    Busy,
    FileIncomplete,
    JoinRefused,
    MeshError,
    NotAllowed,
    RemoteError,
    Unreachable,
)
from nova0.mesh.follow import Snapshot
from nova0.mesh.joining import join
from nova0.mesh.local import LocalNet
from nova0.mesh.local_client import connect
from nova0.mesh.node import Node
from nova0.mesh.streams.files import Files
from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.surface import CONTROLLER, HOST, MEMBER, SELF, Surface, call, cast, declared
from nova0.objects.errors import ImageUnusable
from nova0.objects.image import ImageHolders, ImageRef
from nova0.rpcapi.conductor import ConductorAPI
from nova0.rpcapi.network import NetworkAPI


class PricesAPI(Surface):
    """A controller's state that hosts follow."""

    topic = "prices"
    served_by = CONTROLLER
    heard_by = HOST

    @call(allow=MEMBER, repeatable=True)
    def all(self) -> Snapshot[dict[str, int]]: ...

    @cast(allow=CONTROLLER)
    def changed(self, name: str, price: int) -> None: ...


class Prices(PricesAPI):
    def __init__(self, bus):
        self.bus, self.held, self.publisher = bus, {"ink": 1}, bus.node

    def all(self):
        return msgspec.structs.replace(self.bus.snapshot(PricesAPI, dict(self.held)), publisher=self.publisher)

    def changed(self, name, price): ...


class Elsewhere(Surface):
    topic = "billing"  # nobody's surface declares who answers it

    @call(allow=MEMBER, repeatable=True)
    def bill(self) -> str:
        return "paid"


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=KINDS)
def evil(request, lab):
    return lab.hostile(request.param)


def wrong(evil):
    return [surface for surface in OURS if not may(evil, surface.topic)]


@pytest.mark.design("EN1", "EN2", "EN3")
@pytest.mark.covers("S211")
def test_threat_who_may_not_answer_a_topic_is_not_asked(lab, evil):
    """threat: a member that offers nova0's own topics, to be asked in a controller's or host's place."""
    assert wrong(evil), "it offers something it may not"
    evil_host = evil.identity.certificate.host
    for surface in wrong(evil):
        for asker in (lab.host, lab.controller_node):
            calls = [row for row in surface.methods().values() if row.kind == "call"]
            for row in calls:
                for _ in range(3):
                    try:
                        getattr(asker.stub(surface, timeout_s=10), row.name)(**arguments_of(row))
                    except NotAllowed as refused:
                        assert not str(refused).startswith(evil.node), "a right one was asked, and refused"
            row = calls[0]
            ways = {
                "its node": lambda s=surface, r=row, a=asker: a.calling.ask(
                    s.topic, None, r.name, encode(arguments_of(r)), r.timeout, total_s=10, node=evil.node
                ),
                "its node by name": lambda s=surface, r=row, a=asker: a.asking.call(
                    evil.node, r.name, arguments_of(r), timeout_s=10
                ),
            }
            if not evil.identity.certificate.process:  # else others of that host may answer it
                ways["its host"] = lambda s=surface, r=row, a=asker: getattr(
                    a.stub(s, evil_host, timeout_s=10), r.name
                )(**arguments_of(r))
                ways["its host by name"] = lambda s=surface, r=row, a=asker: a.asking.call(
                    f"{s.topic}@{evil_host}", r.name, arguments_of(r), timeout_s=10
                )
            for way, ask in ways.items():
                with pytest.raises((Unreachable, BadArguments, NotAllowed)) as caught:
                    ask()
                assert caught.value.kind != "NotAllowed" or not str(caught.value).startswith(evil.node), way
    assert [row for row in lab.asked if row[0] == evil.node and not may(evil, row[1])] == []
    assert any(row[0] in ("lab0/controller", "lab1/host") for row in lab.asked), "the right ones were"


@pytest.mark.design("EN4")
def test_threat_a_wrong_server_does_not_hide_the_right_one_under_load(lab):
    """threat: it has nothing to do, so the least loaded of the topic is always it."""
    lab.hostile("host of before")
    peer = lab.host.roster.peers["lab0/controller"]
    peer.load = 500
    for _ in range(20):
        assert lab.host.stub(ConductorAPI).instances_of() == []
    with connect(lab.host.settings.socket_path) as client, pytest.raises(NotAllowed, match="lab0/controller"):
        client.call("conductor", "instances_of")
    assert {row[0] for row in lab.asked if row[1] == "conductor"} == {"lab0/controller"}


@pytest.mark.design("EN4")
def test_with_a_wrong_server_alone_the_caller_is_told_so_at_once(lab):
    lab.hostile("member of before")
    lab.controller_node.stop()
    until(lambda: lab.host.roster.peers["lab0/controller"].status is Status.LEFT, 10)
    with pytest.raises(Unreachable, match="lab0/controller is left"):
        lab.host.stub(ConductorAPI).instances_of()
    del lab.host.roster.peers["lab0/controller"]
    lab.host.roster.version += 1
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"evil/host offers .*conductor.*roles: member; topics: .*nova0 evict evil"):
        lab.host.stub(ConductorAPI).instances_of()
    assert time.monotonic() - started < 1
    assert [row for row in lab.asked if row[0] == "evil/host"] == []


@pytest.mark.design("EN3")
def test_threat_one_known_by_hearsay_alone_is_looked_at_before_it_is_asked(lab):
    """threat: a card that nobody has proved yet claims topic, role and host of the right one."""
    evil = lab.hostile("member of before", start=False)
    evil.start()
    lab.sees(evil, lab.controller_node)
    peer = lab.host.roster.peers.pop(evil.node, None)
    if peer is not None and peer.link is not None:
        peer.link.close()
    lab.host.roster._chains.pop(evil.pair.public, None)
    claimed = evil.card()
    assert "conductor" in claimed.topics
    peer = lab.host.roster.hint(msgspec.structs.replace(claimed, roles=("controller",)), listed=True)
    lab.host.roster.become(peer, Status.UP)
    lab.host.roster.peers["lab0/controller"].load = 500
    assert lab.host.calling.target("conductor", None) == evil.node, "chosen, as nothing speaks against it yet"
    assert lab.host.stub(ConductorAPI).instances_of() == [], "the right one answered, when the first proved who it is"
    assert lab.host.calling.target("conductor", None) == "lab0/controller"
    assert [row for row in lab.asked if row[0] == evil.node] == []


@pytest.mark.design("EN3")
def test_threat_an_announcement_displaces_no_known_server(lab):
    """threat: mDNS is anybody's: names of nodes on the right host, with its topics."""
    host = lab.host.card()
    for number in range(20):
        forged = msgspec.structs.replace(
            host, node=f"lab1/x{number}", key=bytes([number + 1]) * 32, rpc_port=9, door_port=9
        )
        lab.controller_node.roster.hint(forged)
    lab.host.stop()
    until(lambda: lab.controller_node.roster.peers["lab1/host"].status is Status.LEFT, 10)
    with pytest.raises(Unreachable, match="lab1/host is left"):
        lab.controller_node.stub(NetworkAPI, "lab1").connect(UUID, "10.0.0.1", 22)


@pytest.mark.design("EN5")
def test_threat_who_may_not_cast_is_not_heard_and_says_no_loss(lab, evil):
    """threat: casts in a controller's or host's place; holes in their numbers, so that others ask all anew."""
    casts = [(surface, row) for surface in OURS for row in surface.methods().values() if row.kind == "cast"]
    assert casts
    for number in range(6):
        for surface, row in casts:
            for topic in (surface.topic, f"{surface.topic}@lab0", f"{surface.topic}@lab1"):
                evil.publish_cast(topic, row.name, encode(arguments_of(row)))
                if number % 2:
                    evil.casting._spoken[topic].number += 5  # the others were "lost"
        gevent.sleep(0.05)
    evil.watching.beat()

    def heard():
        lab.controller_node.stub(NetworkAPI).changed(UUID, 1)
        lab.host.stub(ConductorAPI).power_changed(UUID, 1, 1)
        return {
            ("lab1/host", "network", "changed", "lab0/controller"),
            ("lab0/controller", "conductor", "power_changed", "lab1/host"),
        } <= set(lab.asked)

    until(heard, 3, "the right ones are heard")
    gevent.sleep(0.3)
    roles = set(evil.identity.certificate.roles) if not evil.identity.certificate.process else set()
    for surface, row in casts:
        if roles.isdisjoint(map(str, row.allow)):
            assert [a for a in lab.asked if a[1:] == (surface.topic, row.name, evil.node) and a[0] != evil.node] == []
            assert [g for g in lab.gaps if g[1].partition("@")[0] == surface.topic and g[2] == evil.node] == []


@pytest.mark.design("EN6")
def test_threat_who_may_not_answer_is_not_followed(lab, evil):
    """threat: a snapshot and updates of another's state."""
    right = Prices(lab.controller_node)
    lab.controller_node.offer(right)
    evil.offers.add(Prices(evil))
    evil.serial += 1
    evil.watching.announce()
    wholes, changes = [], []
    lab.controller_node.answering.running += 500  # as its beats say: the other has less to do
    until(lambda: lab.host.roster.peers["lab0/controller"].load >= 500, 10)
    until(lambda: "prices" in lab.host.roster.peers["lab0/controller"].card.topics, 10)
    lab.host.follow(
        PricesAPI, lambda: lab.host.stub(PricesAPI).all(), wholes.append, lambda m, a: changes.append(a["name"])
    )
    evil.offers.agents["prices"].held = {"evil": 666}
    until(lambda: wholes, 10)

    def both_cast():
        evil.stub(PricesAPI).changed("evil", 666)
        lab.controller_node.stub(PricesAPI).changed("ink", 2)
        return changes.count("ink") > 3

    until(both_cast, 15, "the right one is followed")
    assert "evil" not in changes and all("evil" not in whole for whole in wholes)


@pytest.mark.design("EN6")
def test_who_may_not_hear_does_not_follow_inside_one_process_either():
    local = LocalNet()
    main, host = local.bus("lab0", "controller", ("controller",)), local.bus("lab1", "host", ("host",))
    member = local.bus("lab2", "host", ("member",))
    for bus in (main, host, member):
        bus.start()
    main.offer(Prices(main))
    wholes = []
    with pytest.raises(NotAllowed, match="does not let it hear casts on 'prices'"):
        member.follow(PricesAPI, lambda: host.stub(PricesAPI).all(), wholes.append, lambda m, a: None)
    forged = member.snapshot(PricesAPI, {"evil": 666})
    follower = host.follow(PricesAPI, lambda: forged, wholes.append, lambda m, a: None)
    assert not follower.ready.wait(0.3) and wholes == []
    host.follow(PricesAPI, lambda: host.stub(PricesAPI).all(), wholes.append, lambda m, a: None).ready.wait(10)
    assert wholes == [{"ink": 1}]
    for bus in (host, member, main):
        bus.stop()


@pytest.mark.design("EN6")
@pytest.mark.parametrize("net", ["node", "local"])
def test_threat_a_snapshot_in_anothers_name_is_not_taken(lab, net):
    """threat: a node that may answer names another publisher, whose casts would then be taken for its state."""
    if net == "node":
        main, host = lab.controller_node, lab.host
    else:
        local = LocalNet()
        main, host = local.bus("lab0", "controller", ("controller",)), local.bus("lab1", "host", ("host",))
        main.start(), host.start()
    prices = Prices(main)
    main.offer(prices)
    until(lambda: any("prices" in m.topics for m in host.members()), 10)
    assert host.stub(PricesAPI).all().value == {"ink": 1}
    prices.publisher = "lab1/host"
    with pytest.raises(RemoteError, match="lab0/controller answers with a snapshot of 'lab1/host'"):
        host.stub(PricesAPI).all()
    main.stop(), host.stop()


def test_who_the_surface_does_not_name_may_not_listen(lab):
    """threat: a member that listens to what is said among controllers and hosts."""
    evil = lab.hostile("member of before")
    with pytest.raises(NotAllowed, match="does not let it hear casts on 'prices'"):
        evil.follow(PricesAPI, lambda: evil.stub(PricesAPI).all(), print, print)
    heard = []
    evil.on_cast(lambda topic, method, publisher, body: heard.append(topic))
    for topic in ("network", "network@lab1", "prices", "conductor"):
        evil.casting.want(topic)
    evil.casting.want("user/news")

    def told():
        lab.controller_node.stub(NetworkAPI).changed(UUID, 1)
        lab.controller_node.stub(NetworkAPI, "lab1").changed(UUID, 1)
        lab.controller_node.publish_cast("user/news", "x", encode({}))
        return "user/news" in heard

    until(told, 10)
    gevent.sleep(0.2)
    assert set(heard) == {"user/news"}


# streams, tickets, images


def ticket_of(node, body=b"evil" * 64, served=None):
    def serve(stream):
        served.append(stream.peer)
        stream.send(body)

    return node.offer_stream("file", serve, peer="lab1", uses=100)


@pytest.mark.design("EN7")
def test_threat_a_ticket_is_used_only_of_who_was_meant_and_may_give_it(lab, evil):
    """threat: an answer names a stream of a third node, or of one that is neither host nor controller."""
    served = []
    ticket = ticket_of(evil, served=served)
    with pytest.raises(NotAllowed, match=r"a ticket of .* where one of lab0 was asked for"):
        lab.host.open_stream(ticket, of="lab0")
    if "host" not in evil.identity.certificate.roles:
        with pytest.raises(NotAllowed, match="is no controller or host by its certificate"):
            lab.host.open_stream(ticket, roles=(CONTROLLER, HOST))
    assert served == []


@pytest.mark.design("EN7")
@pytest.mark.parametrize("kind", ["member of before", "operator", "user"])
def test_threat_an_image_comes_from_controllers_and_hosts_alone(lab, kind, tmp_path):
    """threat: a holder that is neither, or a ticket for another than the holder that was asked."""
    evil = lab.hostile(kind)
    served, body = [], b"image" * 1000
    (tmp_path / "image").write_bytes(body)
    right = Files(lab.controller_node)
    contents = right.contents(tmp_path / "image")
    image = ImageRef(id="i1", name="i1", size=len(body), sha512=hashlib.sha512(body).hexdigest(), disk_format="raw")

    class Images:
        def __init__(self, tickets):
            self.tickets = tickets

        def holders(self, image_id):
            return ImageHolders(size=len(body), digest=contents.digest, holders=list(self.tickets))

        def ticket(self, image_id, holder):
            return self.tickets[holder]()

    def fetch(name, tickets):
        cache = ImageCache(lab.host, tmp_path / name, lambda: Images(tickets), patience_s=8)
        cache.open()
        return cache.fetch(image)

    evil_host = evil.identity.certificate.host
    bad = lambda: ticket_of(evil, served=served)  # noqa: E731
    good = lambda: right.offer(tmp_path / "image", peer="lab1").ticket  # noqa: E731
    started = time.monotonic()
    with pytest.raises(ImageUnusable, match="no controller or host by its certificate"):
        fetch("one", {evil_host: bad})
    with pytest.raises(ImageUnusable, match="where one of lab0 was asked for"):
        fetch("two", {"lab0": bad})
    assert time.monotonic() - started < 8, "and nobody waits for a better ticket of a liar"
    assert fetch("three", {evil_host: bad, "lab0": good}).read_bytes() == body
    with pytest.raises(FileIncomplete):
        Files(lab.host).fetch(
            tmp_path / "x", len(body), contents.digest, {evil_host: bad}, roles=(CONTROLLER,), patience_s=5
        )
    assert served == []


@pytest.mark.design("EN7")
def test_a_ticket_names_no_address_and_a_key_that_is_not_the_nodes_gets_no_stream(lab):
    """threat: a ticket that leads to another place. It has a node's name; the key is that of its certificate."""
    assert Ticket.__struct_fields__ == ("node", "purpose", "secret")
    served = []
    ticket = msgspec.structs.replace(ticket_of(lab.controller_node, served=served), node="lab9/host")
    with pytest.raises(Unreachable, match="lab9/host: no such node"):
        lab.host.open_stream(ticket)
    assert served == []


# raw messages


@pytest.mark.design("EN8")
def test_threat_an_answer_counts_only_from_who_was_asked(lab, evil):
    """threat: a member that sends answers, with all numbers, to whoever waits for another's."""
    go_on = gevent.event.Event()
    offered = lab.controller_node.offers.find("conductor", "leave", "call")
    offered.function = lambda uuid, generation: go_on.wait(20) and 20000
    asking = gevent.spawn(lab.host.stub(ConductorAPI).leave, UUID, 1)
    link = lab.host.roster.peers["lab0/controller"].link
    until(lambda: link.pending, 10)
    forged = encode(666)
    to_host = evil.link(evil.roster.peers["lab1/host"])
    to_host.ensure()
    until(lambda: to_host.up, 10)
    routes = list(evil.answering._routes)
    for number in range(max(link.pending) + 50):
        to_host.say(wire.Answer(number, msgspec.Raw(forged)))
        for route in routes:
            evil.answering._put(wire.Answer(number, msgspec.Raw(forged)), route)
    gevent.sleep(0.5)
    assert not asking.ready()
    go_on.set()
    assert asking.get(timeout=10) == 20000


@pytest.mark.design("EN2")
def test_threat_a_card_gives_no_role_and_no_topic(lab, evil):
    """threat: a node that says of itself that it is a controller, with all topics."""
    for node in (lab.controller_node, lab.host):
        peer = node.roster.peers[evil.node]
        certificate = evil.identity.certificate
        assert set(peer.roles) | set(peer.card.roles) <= set(certificate.roles)
        assert not peer.is_controller and not peer.is_certified_controller
        assert [t for t in peer.card.topics if not may(evil, t)] == []
        told = next(seen for seen in node.seen() if seen.card.node == evil.node)
        assert set(told.card.roles) <= set(certificate.roles)
        assert [t for t in told.card.topics if not may(evil, t)] == [], "nor is it passed on"


@pytest.mark.design("EN9")
def test_a_wrong_server_is_logged_once_and_shown_with_the_remedy(lab, caplog):
    evil = lab.hostile("member of before")
    for _ in range(3):
        evil.serial += 1
        evil.watching.announce()
        peer = lab.controller_node.roster.peers[evil.node]
        until(lambda peer=peer: peer.card.serial == evil.serial, 10)
    for node in (lab.controller_node, lab.host):
        said = [r.getMessage() for r in caplog.records if r.getMessage().startswith(f"{node.node}: evil/host offers")]
        assert len(said) == 1
        for part in ("conductor", "roles: member", "topics: *", "nova0 evict evil"):
            assert part in said[0]
        member = next(m for m in node.members() if m.node == evil.node)
        assert set(member.wrong_topics) == {"compute", "conductor", "images", "network"} and member.topics == ()
        assert "nova0 evict evil" in member.detail
    with connect(lab.host.settings.socket_path) as client:
        found = membership._wrong_servers(client.members())
    assert [f.level for f in found] == ["warning"] and "nova0 evict evil" in found[0].remedy
    assert "evil/host offers" in found[0].found and "conductor" in found[0].found


def test_topics_that_cannot_be_printed_are_not_kept(lab):
    evil = lab.hostile("member", start=False)
    evil.settings.topics = ("user/\x1b[31mred", "user/" + "x" * 300, "user/fine", *(f"made-up-{n}" for n in range(100)))
    evil.start()
    lab.sees(evil, lab.controller_node)
    member = next(m for m in lab.controller_node.members() if m.node == evil.node)
    assert member.topics == ("user/fine",)
    assert len(member.wrong_topics) == 64 and len(member.detail) < 1500


# what nobody declares, and what a token gives


@pytest.mark.design("EN10")
def test_a_topic_nobody_declares_is_answered_by_who_is_certified_for_it_by_name(lab):
    assert declared("billing") is None
    old = lab.hostile("host of before", surfaces=())
    old.offers.add(Elsewhere())
    old.serial += 1
    old.watching.announce()
    settings = lab.settings("lab5", roles=("member",))
    join(settings, lab.token(roles=("member",), topics=("billing",)))
    named = Node(settings)
    lab.nodes.append(named)
    assert named.identity.certificate.topics == ("user/*", "billing")
    named.offer(Elsewhere())
    named.start()
    lab.sees(named, lab.controller_node)
    until(lambda: "billing" in lab.controller_node.roster.peers[old.node].wrong, 10)
    detail = next(m.detail for m in lab.controller_node.members() if m.node == old.node)
    assert "upgrade nova0 here if it is of a newer one" in detail, "it need not be an attack"
    for _ in range(10):
        assert lab.controller_node.calling.target("billing", None) == "lab5/host"
    assert lab.controller_node.stub(Elsewhere).bill() == "paid"
    with pytest.raises(Unreachable, match="billing"):
        lab.controller_node.stub(Elsewhere, "evil").bill()


@pytest.mark.design("EN10")
def test_a_node_does_not_offer_what_nobody_would_ask_it_and_says_the_remedy(lab):
    with pytest.raises(NotAllowed, match=r"'billing'.*nova0 token --topic billing"):
        lab.host.offer(Elsewhere())
    with pytest.raises(NotAllowed, match=r"roles: host.*'conductor'.*It takes role controller"):
        lab.host.offer(type("Mine", (ConductorAPI,), {})())
    local = LocalNet()
    bus = local.bus("lab1")
    with pytest.raises(NotAllowed, match="conductor"):
        bus.offer(type("Mine", (ConductorAPI,), {})())
    bus.offers.add(type("Mine", (ConductorAPI,), {})())
    bus.start()
    with pytest.raises(Unreachable, match=r"lab1/host offers it, which its certificate .* does not allow"):
        bus.stub(ConductorAPI).instances_of()


@pytest.mark.design("EN11")
def test_new_certificates_name_the_topics_of_their_role(lab):
    assert lab.controller_node.identity.certificate.topics == (
        "compute", "conductor", "images", "network", "prices", "user/*",
    )  # fmt: skip
    assert lab.host.identity.certificate.topics == ("compute", "network", "user/*")
    settings = lab.settings("lab6", roles=("member",))
    join(settings, lab.token(roles=("member",)))
    assert identity.load(settings.state_dir).certificate.topics == ("user/*",)


@pytest.mark.design("EN11")
@pytest.mark.parametrize(
    ("role", "topic", "why"),
    [
        ("member", "conductor", "answered by a controller"),
        ("host", "conductor", "answered by a controller"),
        ("member", "compute", "answered by a host"),
        ("host", "*", "a name without"),
        ("host", "x*", "a name without"),
        ("host", "a@b", "a name without"),
        ("host", "a b", "a name without"),
        ("host", "a\nb", "a name without"),
        ("host", "", "a name without"),
        ("host", "é", "a name without"),
        ("host", "user/x", "any member's already"),
        ("host", "x" * 65, "at most 64"),
    ],
)
def test_a_token_gives_no_topic_of_another_role_and_no_pattern(lab, role, topic, why):
    with pytest.raises(BadArguments, match=why):
        lab.token(roles=(role,), topics=(topic,))
    lab.token(roles=("host",), topics=("compute", "billing"))
    with pytest.raises(BadArguments, match="at most 16 topics"):
        lab.token(topics=tuple(f"t{n}" for n in range(17)))


@pytest.mark.design("EN11")
def test_a_grant_that_the_book_should_not_have_is_refused_at_the_door(lab):
    me = lab.controller_node.identity
    seeds = [tokens.Seed("127.0.0.1", lab.controller_node.door_port, me.pair.public)]
    book = tokens.FileTokenBook(lab.controller.state_dir)
    text = tokens.mint(book, me.cluster, seeds, roles=("member",), topics=("conductor",))
    with pytest.raises(JoinRefused, match="mint another"):
        join(lab.settings("lab7"), text)


@pytest.mark.design("EN11")
def test_a_certificate_made_anew_has_the_topics_of_its_role(lab):
    old = lab.hostile("host of before", surfaces=())
    assert old.identity.certificate.topics == ("*",)
    old.rekeying.order()
    assert old.identity.certificate.topics == ("compute", "network", "user/*")
    kept = msgspec.structs.replace(old.identity.certificate, topics=("*", "billing"))
    assert renewed_topics(kept) == ("compute", "network", "user/*", "billing")


def test_two_surfaces_say_the_same_of_one_topic():
    with pytest.raises(TypeError, match=r"topic 'conductor'.*served by controller"):
        type("Mine", (Surface,), {"topic": "conductor", "served_by": MEMBER})
    assert declared("conductor").served_by == {"controller"}


def test_every_surface_of_ours_says_who_answers_it():
    for surface in OURS:
        assert declared(surface.topic) is not None and surface.served_by in (CONTROLLER, HOST), surface
        for row in surface.methods().values():
            assert set(row.allow) <= {CONTROLLER, HOST, MEMBER, SELF}


@pytest.mark.parametrize("kind", ["member of before", "host of before"])
def test_threat_one_that_was_put_out_is_not_asked_followed_or_fetched_from(lab, kind):
    """threat: it keeps to itself that it is out, and goes on offering everything."""
    evil, served = lab.hostile(kind), []
    evil.evicting.took = evil.evicting.told = evil.evicting.told_put_out = lambda *_: None
    identity_here = lab.controller_node.identity
    key, node_id, _ = lab.controller_node.roster.key_of("evil")
    stone = tombstones.put_out(
        identity_here.signer(), identity_here.cluster, key, "evil", "stolen", "lab0", node_id=node_id
    )
    lab.controller_node.evicting.put_out([stone])
    until(lambda: evil.node not in lab.host.roster.peers, 10)
    for node in (lab.host, lab.controller_node):
        for surface in OURS:
            row = next(row for row in surface.methods().values() if row.kind == "call")
            with pytest.raises(Unreachable):
                getattr(node.stub(surface, "evil", timeout_s=5), row.name)(**arguments_of(row))
        with pytest.raises(Unreachable):
            node.open_stream(ticket_of(evil, served=served))
    until(lambda: lab.host.stub(ConductorAPI).instances_of() == [], 10)
    for surface in OURS:
        for row in (row for row in surface.methods().values() if row.kind == "cast"):
            evil.publish_cast(surface.topic, row.name, encode(arguments_of(row)))
    gevent.sleep(0.3)
    assert [row for row in lab.asked if evil.node in (row[0], row[3]) and row[0] != row[3]] == [] and served == []


def test_an_administrator_by_http_reaches_no_wrong_server(lab):
    """threat: POST /mesh/v1/call asks by name, for a person who believes the answer."""
    lab.hostile("member of before")
    bridge = Bridge(lab.controller_node)
    for agent, method in (("compute@evil", "guests"), ("conductor@evil", "instances_of"), ("evil/host", "guests")):
        with pytest.raises((Unreachable, BadArguments)):
            bridge.call(agent, method, {}, timeout_s=5, request_id=None, context={})
    rows = [row for row in bridge.surfaces(None) if row["agent"] == "conductor"]
    assert {row["method"] for row in rows} == set(ConductorAPI.methods())
    assert [row for row in lab.asked if row[0] == "evil/host"] == []


def test_who_was_certified_by_a_dropped_signer_is_not_asked_over_its_old_link(lab):
    """threat: a stolen signer made a controller; the signer was dropped, but the link to that one was up."""
    evil = lab._joined("evil", ("controller",), None)
    lab.nodes.append(evil)
    for surface in OURS:
        lab.offer(evil, surface)
    evil.start()
    lab.sees(evil, lab.controller_node, lab.host)
    link = lab.host.link(lab.host.roster.peers[evil.node])
    link.ensure()
    until(lambda: link.up, 10)
    peer, real = lab.host.roster.peers[evil.node], lab.host.identity.verify

    def dropped(chain):  # as `verify` is once the signer counts no more
        if chain.certificate == evil.identity.chain.certificate:
            raise JoinRefused("evil: its certificate's signer was dropped")
        return real(chain)

    lab.host.identity.verify = dropped
    lab.host.roster.doubt_signers = lambda: (
        [lab.host.roster.disown(peer.card.key), setattr(peer, "chain", None)] and [peer.card.key]
    )
    lab.host.rotation.settle()
    lab.host.roster.peers["lab0/controller"].load = 500
    lab.host.roster.version += 1
    before = len(lab.asked)
    for _ in range(5):
        lab.host.stub(ConductorAPI).instances_of()
    with pytest.raises(Unreachable):
        lab.host.stub(ConductorAPI, "evil", timeout_s=2).instances_of()
    assert {row[0] for row in lab.asked[before:]} == {"lab0/controller"}


def test_what_a_wrong_server_says_of_a_topic_is_not_shown(lab):
    """threat: forged signatures of a controller's methods in `nova0 agents describe` and GET /mesh/v1/surfaces."""
    evil = lab.hostile("member of before")
    told = {one["node"]: one["answer"] for one in lab.host.asking.everyone("describe", 5)}
    assert {row["agent"] for row in told[evil.node]} == {"mesh"}
    assert "conductor" in {row["agent"] for row in told["lab0/controller"]}
    assert {row["agent"] for row in lab.host.asking.describe(evil.node)} == {"mesh"}


def test_nobody_reaches_a_wrong_server_by_the_machines_socket(lab):
    lab.hostile("member of before")
    with connect(lab.host.settings.socket_path) as client:
        for agent in ("compute@evil", "evil/host", "conductor@evil"):
            with pytest.raises(MeshError):
                client.call(agent, "instances_of" if "conductor" in agent else "guests")
    assert [row for row in lab.asked if row[0] == "evil/host"] == []


LINK = {"node": "lab1/host", "up": True, "listens": True, "waiting": 0, "trouble": ""}
NONSENSE = {
    "links": [7, "lab1", [7], {"node": 1}, [{**LINK, "node": ["x"]}], [{**LINK, "node": "x" * 10_000}], [{"up": True}]],
    "totals": [None, "x", {"node": "evil/host"}, [1]],
    "describe": ["x", [1], [{"agent": "user/x"}], [{"agent": ["user/x"], "method": 1, "kind": None}],
                 [{"agent": "user/x", "method": {}, "kind": "call"}]],
    "metrics": ["x", [{"name": "a b", "kind": "counter", "help": "", "samples": []}],
                [{"name": "a", "kind": "x", "help": "", "samples": []}],
                [{"name": "a", "kind": "gauge", "help": "",
                  "samples": [{"labels": {'x="1"} 1\nb{y': ""}, "value": 1}]}]],
}  # fmt: skip


@pytest.mark.parametrize("method", NONSENSE)
def test_threat_what_one_node_says_of_itself_spoils_no_answer_of_others(lab, method):
    """threat: a member whose answers end `nova0 top`, `nova0 mesh graph` or GET /mesh/v1/surfaces for all nodes."""
    evil = lab.hostile("host", surfaces=())
    offered, asking = evil.offers.find("mesh", method, "call"), lab.controller_node.asking
    for nonsense in NONSENSE[method]:
        offered.function = lambda nonsense=nonsense: nonsense
        if method == "metrics":
            with pytest.raises(MeshError, match="the answer is not what its signature says"):
                asking.metrics(evil.node, 5)
            continue
        told = {one["node"]: one for one in asking.everyone(method, 5)}
        assert told[evil.node]["answer"] is None and told[evil.node]["error"], nonsense
        assert told["lab0/controller"]["answer"] and told["lab1/host"]["error"] is None
        assert "conductor" in {row["agent"] for row in Bridge(lab.controller_node).surfaces(None)}


def test_a_name_in_a_link_makes_no_line_and_no_statement_of_its_own(lab):
    evil = lab.hostile("host", surfaces=())
    forged = [
        {**LINK, "node": "x\\"},
        {**LINK, "node": '"] ; evil [image="/etc/shadow'},
        {**LINK, "node": "y\nlab0/controller (controller)", "up": False, "trouble": "z\nlab1/host (host)"},
    ]
    evil.offers.find("mesh", "links", "call").function = lambda: forged
    members = msgspec.to_builtins(lab.controller_node.members())
    seen = mesh_graph.graph(members, lab.controller_node.asking.everyone("links", 5))
    lines = mesh_graph.text(seen).splitlines()
    assert len([line for line in lines if not line.startswith("  ")]) == len(members)
    for line in mesh_graph.dot(seen).splitlines()[1:-1]:
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', "Q", line)
        assert re.fullmatch(r"  (?:(?:node|edge|Q|Q -> Q)(?: \[[A-Za-z0-9=,. ]*\])?;)", bare), line


CARDS = {
    "a name to be looked up": {"address": "slow.example.invalid"},
    "an address with more behind it": {"address": "10.0.0.1:1;tcp://10.0.0.2"},
    "a scope that is a path": {"address": "fe80::1%../x"},
    "a port past all": {"rpc_port": 1 << 40},
    "a port below none": {"door_port": -1},
    "a start past all": {"boot": (1 << 63) - 1},
    "a version of a megabyte": {"version": "1" * 900_000},
    "topics of a megabyte": {"topics": tuple("user/" + "x" * 200 for _ in range(4000))},
    "a name longer than a file's": {"node": "evil/" + "\U0001f600" * 64},
}


@pytest.mark.parametrize("what", CARDS)
def test_threat_a_card_that_holds_something_else_is_not_used(lab, what, caplog):
    """threat: a member whose card, told by itself or as hearsay, has every node look up names, keep megabytes, or write
    a file that no disk takes, after which nothing that is known of anybody gets onto the disk."""
    evil = lab.hostile("member", surfaces=())
    real = evil.card()
    told = {"node": "lab7/host", "key": bytes([7]) * 32} | CARDS[what]
    hearsay = msgspec.structs.replace(real, **told)
    evil.casting.publish(wire.CHATTER, wire.Told(evil.node, [wire.Seen(hearsay, "up")]))
    for node in (lab.host, lab.controller_node):
        assert node.roster.hint(hearsay) is None and node.roster.hint(hearsay, listed=True) is None
    if what != "a name to be looked up":  # of itself it may advertise one: where it came from counts
        bad = msgspec.structs.replace(real, serial=real.serial + 1, **CARDS[what])
        with pytest.raises(JoinRefused):
            lab.host.roster.prove(evil.chain(), bad, real.key)
    evil.serial += 1
    evil.card = lambda: msgspec.structs.replace(real, **{"serial": evil.serial} | CARDS[what])
    for _ in range(3):
        evil.watching.beat()
        gevent.sleep(0.1)
    for node in (lab.host, lab.controller_node):
        kept = node.roster.peers[evil.node].card
        assert len(msgspec.msgpack.encode(kept)) < 2000 and kept.address == "127.0.0.1"
        node.roster.save()
    assert (lab.folder / "lab1" / "peers" / "lab0~controller").exists()


def test_threat_one_host_takes_no_more_places_than_it_leaves_to_others(lab):
    """threat: a host that keeps the controller at work, so that it answers nobody else."""
    lab.controller_node.settings.calls_running = 40
    evil, go_on = lab.hostile("host", surfaces=()), gevent.event.Event()
    offered = lab.controller_node.offers.find("conductor", "leave", "call")
    right, offered.function = offered.function, lambda uuid, generation: go_on.wait(30) and 1

    held = [gevent.spawn(evil.stub(ConductorAPI, timeout_s=30).leave, UUID, 1) for _ in range(60)]
    answering, counts = lab.controller_node.answering, lab.controller_node.counts
    until(lambda: answering.running == 20 and counts.refused_calls.get("Busy", 0) >= 40, 20)
    assert [lab.host.stub(ConductorAPI).instances_of() for _ in range(5)] == [[]] * 5
    before = counts.refused_calls["Busy"]
    gevent.sleep(0.5)
    assert counts.refused_calls["Busy"] - before < 40 * 10, "and who is told to come later does"
    go_on.set()
    assert [one.get() for one in held] == [1] * 60
    offered.function = right
    until(lambda: not answering.running and not answering._running_of, 10)
    assert evil.stub(ConductorAPI).leave(UUID, 1) is not None


def test_threat_one_host_takes_no_more_streams_than_it_leaves_to_others(lab):
    """threat: a host that opens stream after stream and reads none, so that no other gets an image."""
    lab.controller_node.streams.service._most = 8
    evil, end = lab.hostile("host", surfaces=()), gevent.event.Event()
    bad = lab.controller_node.offer_stream("x", lambda stream: end.wait(30), peer="evil", uses=20)
    held = [evil.open_stream(bad) for _ in range(4)]
    with pytest.raises(Busy, match="4 streams are open"):
        evil.open_stream(bad)
    good = lab.controller_node.offer_stream("x", lambda stream: stream.send(b"here"), peer="lab1")
    with lab.host.open_stream(good) as stream:
        assert stream.recv() == b"here"
    end.set()
    for stream in held:
        stream.close()
