"""The door of the API when somebody takes more than a place there: others are served at once."""

import contextlib
import os
import select
import socket
import struct
import time

import gevent
import pytest
import requests
from compute_cloud import compute  # noqa: F401 - a fixture
from gevent.pywsgi import WSGIServer
from served import Http
from test_http import codes

from nova0.controller.api import connections, server
from nova0.controller.api.application import make_app
from nova0.controller.api.nova0 import tunnel
from nova0.controller.api.server import serve

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = (
    b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


class Door:
    """A server of its own with bounds of its own, and connections to it."""

    def __init__(self, cloud, stack, per_address=10, app=None):
        self.handle = serve(app or make_app(cloud.services), "127.0.0.1", 0, per_address=per_address)
        stack.callback(self.handle.stop, within_s=0.1)
        self._stack = stack
        self.url = f"http://127.0.0.1:{self.handle.port}"

    @property
    def table(self):
        server: WSGIServer = self.handle._server
        return server.connections

    def open(self, sent=b"", address="127.0.0.1"):
        sock = socket.create_connection(("127.0.0.1", self.handle.port), timeout=10, source_address=(address, 0))
        self._stack.callback(sock.close)
        sock.sendall(sent)
        return sock

    def idle(self, address="127.0.0.1"):
        """One that has had an answer and is kept."""
        sock = self.open(ASK, address)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        return sock

    def asks(self, address="127.0.0.1"):
        """The status and the time that somebody new gets."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.handle.port), timeout=10, source_address=(address, 0)) as sock:
            sock.sendall(ASK)
            answer = sock.recv(65536)
        return codes(answer), time.monotonic() - began


def ended(sock, within_s=10.0):
    """The server has closed it."""
    sock.settimeout(within_s)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def is_open(sock):
    readable, _, _ = select.select([sock], [], [], 0.05)
    return not readable


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.covers("S059")
def test_one_address_has_its_bound_and_the_idle_one_that_waited_longest_gives_way(cloud, stack):
    door = Door(cloud, stack)
    first = [door.idle() for _ in range(10)]
    more = [door.idle() for _ in range(3)]
    assert [ended(sock) for sock in first[:3]] == [True] * 3
    assert all(is_open(sock) for sock in (*first[3:], *more))
    assert door.table.count == 10


@pytest.mark.covers("S059")
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", HEAD % 50 + b"{"], ids=["new", "head", "body"])
def test_who_holds_all_places_of_an_address_keeps_nobody_out(cloud, stack, sent):
    door = Door(cloud, stack)
    held = [door.open(sent) for _ in range(30)]
    for address in ("127.0.0.1", "127.0.0.2"):
        status, took_s = door.asks(address)
        assert status == [200]
        assert took_s < 3
    assert sum(is_open(sock) for sock in held) <= 10


@pytest.mark.covers("S059")
def test_the_address_that_has_most_gives_way_when_the_whole_door_is_full(cloud, stack, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS_MOST", 12)
    door = Door(cloud, stack)
    single = door.idle("127.0.0.9")
    many = [door.idle() for _ in range(10)]
    other = [door.idle("127.0.0.2") for _ in range(5)]
    assert door.table.count == 12
    assert is_open(single), "it waits longest, but has one connection only"
    assert all(is_open(sock) for sock in other)
    assert [ended(sock) for sock in many[:4]] == [True] * 4


@pytest.mark.covers("S059")
def test_who_has_shown_a_token_gives_way_last(cloud, stack):
    door = Door(cloud, stack)
    user = Http(door.url, cloud.demo.token)
    assert user.get("/v2.1/flavors").status_code == 200
    for _ in range(30):
        door.idle()
    assert len(user.session.adapters["http://"].poolmanager.connection_from_url(door.url).pool.queue) > 0
    before = door.table.count
    assert user.get("/v2.1/flavors").status_code == 200
    assert door.table.count == before, "the connection that was kept is used again"


def test_a_request_at_work_never_gives_way_and_who_finds_no_place_is_told(cloud, stack):
    from gevent.event import Event

    go, begun = Event(), []

    def app(environ, start):
        begun.append(1)
        go.wait(20)
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    door = Door(cloud, stack, app=app)
    busy = [door.open(ASK) for _ in range(10)]
    deadline = time.monotonic() + 10
    while len(begun) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    late = door.open(ASK)
    answer = late.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After" in answer
    go.set()
    assert all(sock.recv(65536).startswith(b"HTTP/1.1 200") for sock in busy)


@pytest.mark.covers("S059")
def test_unfinished_bodies_have_a_bound_together_and_the_oldest_is_told_to_come_again(cloud, stack, monkeypatch):
    monkeypatch.setattr(connections, "BODIES_MOST_BYTES", 200_000)
    door = Door(cloud, stack, per_address=100)
    head, body = HEAD % 60_000, b" " * 59_999
    held = [door.open(head + body) for _ in range(8)]
    deadline = time.monotonic() + 10
    refused = []
    while len(refused) < 5 and time.monotonic() < deadline:
        refused = [sock for sock in held if not is_open(sock)]
        assert door.table.body_bytes <= 200_000
    answers = [sock.recv(65536) for sock in refused]
    assert all(codes(answer) == [503] and b"Retry-After: 1" in answer for answer in answers), answers
    assert held[0] in refused
    assert held[-1] not in refused
    answer = requests.post(f"{door.url}/identity/v3/auth/tokens", json={"auth": {}}, timeout=10)
    assert answer.status_code == 400, "a body of others is read while the room is full"


def test_without_a_token_a_body_is_small(cloud, stack):
    door = Door(cloud, stack)
    sock = door.open(HEAD % 1_000_000)
    answer = sock.recv(65536)
    assert codes(answer) == [413]
    assert b"262144 without a token" in answer


@pytest.mark.covers("S059")
def test_answers_nobody_takes_have_a_bound_together(cloud, stack, monkeypatch):
    monkeypatch.setattr(connections, "ANSWERS_MOST_BYTES", 60_000_000)

    def app(environ, start):
        start("200 OK", [("Content-Length", "20000000")])
        return [os.urandom(1000) * 20_000]

    door = Door(cloud, stack, per_address=100, app=app)
    held = []
    for _ in range(6):
        sock = door.open()
        sock.sendall(ASK)
        held.append(sock)
        sock.recv(100)  # it has begun
        assert door.table.answer_bytes <= 60_000_000
    got = 0
    while piece := held[-1].recv(1 << 20):
        got += len(piece)
        if got >= 20_000_000 - 100:
            break
    assert got >= 19_999_000, "the last one is served whole"
    deadline = time.monotonic() + 10
    while door.table.count > 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert door.table.count <= 3


def test_the_table_is_empty_once_all_have_gone(cloud, stack):
    door = Door(cloud, stack, per_address=100)
    held = [door.idle() for _ in range(20)] + [door.open(HEAD % 60_000 + b" " * 50_000) for _ in range(20)]
    held += [door.open(b"\x00\r\n") for _ in range(20)]
    for sock in held:
        sock.close()
    deadline = time.monotonic() + 10
    while door.table.count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (door.table.count, door.table.body_bytes, door.table.answer_bytes) == (0, 0, 0)
    assert not door.table._by_address


def test_half_of_the_descriptors_are_left_to_hosts(monkeypatch):
    monkeypatch.setattr(server.resource, "getrlimit", lambda kind: (1024, 1024))
    assert server._most() == 512
    monkeypatch.setattr(server.resource, "getrlimit", lambda kind: (1024, 1_000_000))
    assert server._most() == 2000


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        ("", "local"),
    ],
)
def test_what_counts_as_one_address(address, place):
    assert connections.place_of(address) == place


class SilentGuest:
    """A tunnel to a guest that takes everything, says nothing and never ends."""

    made = []

    def __init__(self, *where):
        self.closed = False
        self.made.append(self)

    def write(self, data):
        pass

    def read(self):
        gevent.sleep(60)

    def close(self):
        self.closed = True


@pytest.fixture
def upgrade(cloud, compute):  # noqa: F811
    """The request that opens a tunnel to such a guest."""
    cloud.guests.tunnel = SilentGuest
    path = f"/nova0/v1/tunnel/{compute.boot('silent', networks=[{'uuid': compute.network_id}])}/22"
    words = f"Host: x\r\nX-Auth-Token: {cloud.demo.token}\r\nConnection: Upgrade\r\nUpgrade: nova0-tunnel\r\n\r\n"
    return f"GET {path} HTTP/1.1\r\n{words}".encode()


def opened(door, upgrade, address="127.0.0.1"):
    sock = door.open(upgrade, address)
    assert sock.recv(65536).startswith(b"HTTP/1.1 101")
    return sock


def test_tunnels_give_way_to_who_comes(cloud, stack, upgrade):
    door = Door(cloud, stack)
    tunnels = [opened(door, upgrade) for _ in range(10)]
    status, _ = door.asks()
    assert status == [200]
    assert ended(tunnels[0]) and all(is_open(sock) for sock in tunnels[1:])
    with gevent.Timeout(10, AssertionError("the tunnel into the guest is still open")):
        while not any(one.closed for one in SilentGuest.made):
            gevent.sleep(0.02)


@pytest.mark.parametrize("end", ["closed", "reset"])
def test_a_tunnel_ends_with_its_client_though_its_guest_does_not(cloud, stack, upgrade, monkeypatch, end):
    monkeypatch.setattr(tunnel, "AFTER_CLIENT_S", 0.2)
    door = Door(cloud, stack)
    for sock in [opened(door, upgrade) for _ in range(5)]:
        if end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    with gevent.Timeout(10, AssertionError("the places of clients that are gone are still held")):
        while door.table.count:
            gevent.sleep(0.02)
