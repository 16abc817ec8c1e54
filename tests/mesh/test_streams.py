"""What every stream promises; run for the bus without sockets and for the node over ZeroMQ."""

from __future__ import annotations

import hashlib
import os

import gevent
import gevent.event
import pytest
from cluster import Cluster
from contract import OutOfPaint, PaintAgent, PaintAPI, until

from nova0.mesh.bus import Status
from nova0.mesh.errors import Busy, StreamBroken, StreamRefused, Unreachable
from nova0.mesh.local import LocalNet
from nova0.mesh.streams import flow, tickets
from nova0.mesh.streams.tickets import Ticket


class LocalKind:
    def __init__(self, tmp_path):
        self.net = LocalNet()
        self.bus = self.net.bus

    def service(self, bus):
        return bus.streams

    def close(self):
        for bus in self.net.buses.values():
            bus.stop()


class NodeKind(Cluster):
    def service(self, bus):
        return bus.streams.service


@pytest.fixture(params=[LocalKind, NodeKind], ids=["local", "node"])
def net(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


class Two:
    """A controller that offers, and two hosts."""

    def __init__(self, net):
        self.net = net
        self.main = net.bus("lab0", "controller", ("controller",))
        self.one, self.two = (net.bus(f"lab{n}", "host", ("host",)) for n in (1, 2))
        buses = (self.main, self.one, self.two)
        for bus in buses:
            bus.offer(PaintAgent(bus)) if bus is self.one else None
            bus.start()
        for bus in buses:
            until(lambda bus=bus: sum(m.status == Status.UP for m in bus.members()) == 3, 20, f"{bus.node} sees three")

    def service(self, bus):
        return self.net.service(bus)

    def join(self, handler, purpose="test", **more):
        """A stream opened by lab1; `handler` has the other end."""
        return self.one.open_stream(self.main.offer_stream(purpose, handler, **{"peer": "lab1/host", **more}))

    def nothing_left(self):
        for bus in (self.main, self.one, self.two):
            until(lambda bus=bus: not self.service(bus).open and not self.service(bus).at_work, 20, "no stream is left")


@pytest.fixture
def two(net):
    return Two(net)


def echo(stream):
    for piece in stream:
        stream.send(piece)


@pytest.mark.design("ST1", "ST2")
def test_bytes_go_both_ways_whole_and_in_order(two):
    body = os.urandom(3 * flow.WINDOW + 12345)
    got = []
    with two.join(echo) as stream:
        sending = gevent.spawn(lambda: (stream.send(body), stream.end()))
        for piece in stream:
            got.append(piece)
        sending.get()
    assert b"".join(got) == body
    assert stream.host == "lab0" and stream.bytes_in == stream.bytes_out == len(body)
    two.nothing_left()


@pytest.mark.design("ST2")
def test_each_side_ends_for_itself(two):
    heard = []

    def late(stream):
        heard.append(stream.recv())
        stream.end()
        heard.extend(stream)  # what comes after its own end
        stream.end()

    with two.join(late) as stream:
        stream.send(b"one")
        assert stream.recv() == b""
        assert stream.recv() == b""
        stream.send(b"two")
        stream.send(b"")
        stream.end()
        with pytest.raises(ValueError, match="after end"):
            stream.send(b"three")
    until(lambda: heard == [b"one", b"two"], what=heard)
    two.nothing_left()


@pytest.mark.design("ST3")
def test_a_reader_that_does_not_read_holds_the_sender_and_nobody_else(two):
    go_on = gevent.event.Event()
    taken = []

    def reader(stream):
        go_on.wait()
        for piece in stream:
            taken.append(len(piece))

    stream = two.join(reader)
    sending = gevent.spawn(stream.send, bytes(4 * flow.WINDOW))
    until(lambda: stream.bytes_out >= flow.WINDOW // 2, what="it began")
    for _ in range(20):
        assert two.main.stub(PaintAPI, "lab1").where() == "lab1"
    assert not sending.ready() and stream.bytes_out <= flow.WINDOW
    go_on.set()
    sending.get(timeout=60)
    stream.finish()
    assert sum(taken) == 4 * flow.WINDOW


@pytest.mark.design("ST4")
def test_a_ticket_opens_as_many_streams_as_it_is_good_for(two):
    ticket = two.main.offer_stream("test", echo, peer="lab1/host", uses=2)
    for _ in range(2):
        with two.one.open_stream(ticket) as stream:
            stream.send(b"x")
            assert stream.recv() == b"x"
    with pytest.raises(StreamRefused, match=r"lab0/controller: lab1/host's ticket was used already: ask for a new one"):
        two.one.open_stream(ticket)


@pytest.mark.design("ST4")
def test_a_ticket_expires_and_can_be_withdrawn(two):
    short = two.main.offer_stream("test", echo, peer="lab1/host", expires_s=0.01)
    gevent.sleep(0.02)
    with pytest.raises(StreamRefused, match=r"has expired after 0\.01 s"):
        two.one.open_stream(short)
    taken_back = two.main.offer_stream("test", echo, peer="lab1/host")
    two.main.withdraw_stream(taken_back)
    with pytest.raises(StreamRefused, match="was withdrawn"):
        two.one.open_stream(taken_back)
    for_another = Ticket(node="lab0/controller", purpose="console", secret=two.main.offer_stream(
        "test", echo, peer="lab1/host").secret)  # fmt: skip
    with pytest.raises(StreamRefused, match="is for test, not for console"):
        two.one.open_stream(for_another)


@pytest.mark.design("ST4")
def test_a_stranger_learns_nothing_of_a_ticket(two):
    ticket = two.main.offer_stream("test", echo, peer="lab1/host", uses=1)
    forged = Ticket(node=ticket.node, purpose="test", secret=b"guess" * 5)
    told = set()
    for shown in (ticket, forged):
        with pytest.raises(StreamRefused) as refused:
            two.two.open_stream(shown)
        told.add(str(refused.value))
    assert told == {"lab0/controller: no such ticket for lab2/host: ask for a new one"}
    assert ticket.secret.hex() not in repr(ticket) and str(ticket.secret) not in repr(ticket)
    with two.one.open_stream(ticket) as stream:  # nobody used it up
        stream.send(b"x")
        assert stream.recv() == b"x"


@pytest.mark.design("ST4")
def test_a_ticket_for_a_host_is_good_for_its_processes(two):
    with two.join(echo, peer="lab1") as stream:
        stream.send(b"x")
        assert stream.recv() == b"x"
    with pytest.raises(LookupError):
        two.main.offer_stream("test", echo)  # outside of a call there is no caller it could be for


@pytest.mark.design("ST5")
def test_an_error_closes_it_and_reaches_the_other_side_with_its_class(two):
    def fails(stream):
        stream.recv()
        raise OutOfPaint("no red left", colour="red")

    stream = two.join(fails)
    stream.send(b"x")
    with pytest.raises(OutOfPaint, match="no red left"):
        stream.recv()
    with pytest.raises(OutOfPaint):
        stream.send(b"y")
    two.nothing_left()

    seen = []

    def reads(stream):
        try:
            stream.recv()
        except OutOfPaint as error:
            seen.append(error.data)

    with pytest.raises(OutOfPaint), two.join(reads) as stream:
        raise OutOfPaint("no blue left", colour="blue")
    until(lambda: seen == [{"colour": "blue"}])
    two.nothing_left()


@pytest.mark.design("ST5")
def test_closing_tells_the_other_side_and_ends_whoever_waits(two):
    seen = []

    def reads(stream):
        seen.append(stream.recv())
        try:
            stream.recv()
        except StreamBroken as error:
            seen.append(str(error))

    stream = two.join(reads)
    waiting = gevent.spawn(stream.recv)
    stream.send(b"last words")
    until(lambda: seen)
    stream.close()
    with pytest.raises(StreamBroken, match="closed here"):
        waiting.get(timeout=10)
    until(lambda: seen == [b"last words", "lab1/host closed the stream test"], what=seen)
    two.nothing_left()


@pytest.mark.design("ST5")
def test_finish_gives_up_on_a_side_that_does_nothing(two):
    never = gevent.event.Event()
    stream = two.join(lambda stream: never.wait())
    with pytest.raises(StreamBroken, match="has not ended within"):
        stream.finish(patience_s=0.1)
    never.set()
    two.nothing_left()


@pytest.mark.design("ST6")
def test_a_node_that_stops_ends_its_streams_at_both_ends(two):
    entered = gevent.event.Event()

    def reads(stream):
        entered.set()
        stream.recv()

    stream = two.join(reads)
    entered.wait(10)
    two.main.stop()
    with pytest.raises(StreamBroken, match="lab0/controller"):
        stream.recv()
    with pytest.raises(StreamBroken):
        stream.send(b"x")
    two.nothing_left()


@pytest.mark.design("ST7")
def test_over_the_bound_of_streams_there_is_busy(two):
    two.service(two.main)._most = 6  # of which one host gets what it leaves to others
    ticket = two.main.offer_stream("test", echo, peer="lab1/host", uses=4)
    streams = [two.one.open_stream(ticket) for _ in range(3)]
    with pytest.raises(Busy, match="3 streams are open"):
        two.one.open_stream(ticket)
    streams.pop().finish()
    until(lambda: len(two.service(two.main).open) == 2)
    streams.append(two.one.open_stream(ticket))  # Busy had not used it up
    for stream in streams:
        stream.finish()
    two.nothing_left()


def test_nobody_there_is_said(two):
    with pytest.raises(Unreachable, match="lab9"):
        two.one.open_stream(Ticket(node="lab9/host", purpose="test", secret=b"x" * 24))


def test_a_node_can_open_what_it_offers_itself(two):
    with two.one.open_stream(two.one.offer_stream("test", echo, peer="lab1/host")) as stream:
        stream.send(b"x")
        assert stream.recv() == b"x"
    two.nothing_left()


def test_many_streams_at_once_each_keep_their_own_bytes(two):
    def talk(number):
        body = hashlib.sha256(str(number).encode()).digest() * 20_000
        with two.join(echo) as stream:
            sending = gevent.spawn(lambda: (stream.send(body), stream.end()))
            got = b"".join(stream)
            sending.get()
        return got == body

    jobs = [gevent.spawn(talk, n) for n in range(12)]
    gevent.joinall(jobs, raise_error=True)
    assert all(job.value for job in jobs)
    two.nothing_left()


def test_tickets_are_bounded_and_the_ended_forgotten():
    now = [0.0]
    book = tickets.TicketBook("lab0/controller", most=4, clock=lambda: now[0])
    made = [book.make("test", echo, peer, 10, 1) for peer in ("lab1", "lab1/host")]
    with pytest.raises(Busy, match="2 tickets"):  # one host has as many as it leaves to others
        book.make("test", echo, "lab1/other", 10, 1)
    made += [book.make("test", echo, f"lab{n}", 10, 1) for n in (2, 3)]
    with pytest.raises(Busy, match="4 tickets"):
        book.make("test", echo, "lab4", 10, 1)
    now[0] = 10
    with pytest.raises(StreamRefused, match="has expired"):
        book.redeem(made[0].secret, "test", "lab1/host")
    assert book.make("test", echo, "lab1", 10, 1) and len(book) == 1
    now[0] = 10 + tickets.REMEMBER_S
    with pytest.raises(StreamRefused, match="no such ticket"):
        book.redeem(made[0].secret, "test", "lab1/host")
    for wrong in ({"peer": ""}, {"purpose": ""}, {"expires_s": 0}, {"uses": 0}):
        with pytest.raises(ValueError, match="a ticket names"):
            book.make(**{"purpose": "test", "handler": echo, "peer": "lab1", "expires_s": 1, "uses": 1, **wrong})
