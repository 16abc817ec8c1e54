"""nova0, whole: CURVE and certificates, typed arguments, deadlines, request ids, metrics; journaled where asked.

The server is a controller, a client a host that calls it (`topic@host`) and casts into its ear; subscribers
are hosts that listen to the controller. Machines are signed in beforehand with the controller's own key."""

from gevent import monkey

monkey.patch_all()

import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import msgspec  # noqa: E402
import zmq  # noqa: E402

from nova0.mesh import casting, identity, keys, wire  # noqa: E402
from nova0.mesh.certificate import Chain  # noqa: E402
from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402
from nova0.mesh.surface import CONTROLLER, MEMBER, Surface, call, cast  # noqa: E402

STYLE = "gevent"
SERVER = "server"


class BenchAPI(Surface):
    topic = "bench"
    served_by = MEMBER

    @call(allow=MEMBER, repeatable=True)
    def echo(self, value: dict[str, Any]) -> dict[str, Any]: ...

    @call(allow=MEMBER)
    def echo_once(self, value: dict[str, Any]) -> dict[str, Any]: ...

    @call(allow=MEMBER, repeatable=True)
    def size(self, data: str) -> int: ...

    @call(allow=MEMBER, repeatable=True)
    def count(self, value: int) -> list[float]: ...

    @cast(allow=MEMBER)
    def event(self, value: dict[str, Any]) -> None: ...


class Bench(BenchAPI):
    def __init__(self, service):
        self.echo = self.echo_once = service.echo
        self.size, self.count, self.event = service.size, service.count, service.cast


class HeardAPI(Surface):
    topic = "heard"
    served_by = MEMBER

    @cast(allow=CONTROLLER)
    def event(self, value: dict[str, Any]) -> None: ...


class Heard(HeardAPI):
    def __init__(self, heard):
        self.event = heard


def settings(place, host, process="host", roles=("host",)):
    state = Path(place.folder) / host
    return MeshSettings(
        state_dir=str(state), host=host, process=process, roles=roles, listen="127.0.0.1", mdns=False, ring=0
    )


def founder(place):
    if not place.curve:
        _without_curve()
    made = settings(place, SERVER, "controller", ("controller",))
    identity.create_cluster(made.state_dir, SERVER)
    return made


def member(place, number):
    """Sign one more machine in and start it; returns when the controller answers its greeting."""
    if not place.curve:
        _without_curve()
    made = settings(place, f"client{number}")
    state, home = Path(made.state_dir), Path(place.folder) / SERVER
    server = identity.load(home)
    pair = keys.node_key(state)
    signed = server.sign_in(made.host, ("host",), None, pair.public)
    card = msgspec.msgpack.decode((home / "card.controller").read_bytes(), type=wire.Card)
    keys.write_public(state / "peers" / f"{SERVER}~controller", wire.encode((server.chain, card)))
    identity.store(state, server.cluster, Chain(signed, server.chain.signers))
    return Node(made)


def serve(place, service, ready):
    node = Node(founder(place))
    node.offer(Bench(service))
    node.start()
    ready()
    while True:
        gevent.sleep(3600)


class connect:
    def __init__(self, place, number=0):
        self.node = member(place, number)
        self.node.start()
        stub = self.node.stub(BenchAPI, SERVER)
        echo = stub.echo_once if place.journaled else stub.echo
        self.methods = {"echo": echo, "size": stub.size, "count": stub.count}
        self.event, self.sent = stub.event, 0

    def call(self, method, value):
        return self.methods[method](value)

    def cast(self, value):
        self.event(value)
        self.sent += 1
        if not self.sent & 127:
            gevent.sleep(0)  # a program that never lets its loop turn never sends

    def flush(self):
        gevent.sleep(0.05)


class publisher:
    def __init__(self, place):
        self.place, self.subscribed = place, 0
        made = founder(place)
        take = casting.Casting._subscription

        def counted(part, to, frame):
            self.subscribed += frame.bytes == b"\x01heard\0"
            take(part, to, frame)

        casting.Casting._subscription = counted
        self.node = Node(made)
        self.node.start()
        self.event = self.node.stub(HeardAPI).event
        self.sent = 0

    def wait(self):
        """Until every subscription has come."""
        end = time.monotonic() + 60
        while self.subscribed < self.place.all_clients:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.subscribed} of {self.place.all_clients} subscribers came")
            gevent.sleep(0.05)
        gevent.sleep(1)

    def publish(self, value):
        self.event(value)
        self.sent += 1
        if not self.sent & 127:
            gevent.sleep(0)


KEPT = []


def subscribe(place, heard, number):
    node = member(place, number)
    node.offer(Heard(heard))
    node.start()
    KEPT.append(node)


def _without_curve():
    """For one figure only: what casts would cost unencrypted. Patches this process, not nova0."""

    def serve_curve(socket, pair, domain):
        if socket.type != zmq.XPUB:
            encrypted_server(socket, pair, domain)

    def dial_curve(socket, pair, key):
        if socket.type != zmq.SUB:
            encrypted_client(socket, pair, key)

    def anybody(self, _, frame):
        body = frame.bytes
        self._pub.socket.setsockopt(zmq.SUBSCRIBE if body[:1] == b"\x01" else zmq.UNSUBSCRIBE, body[1:])

    if casting.Casting._subscription is not anybody and not hasattr(casting, "patched"):
        encrypted_server, encrypted_client = casting.serve_curve, casting.dial_curve
        casting.serve_curve, casting.dial_curve = serve_curve, dial_curve
        casting.Casting._subscription = anybody
        casting.patched = True
