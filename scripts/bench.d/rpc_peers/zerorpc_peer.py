"""zerorpc: gevent, ZeroMQ and MessagePack; unencrypted; its own heartbeats off, as they cost it a third."""

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402
import zerorpc  # noqa: E402

STYLE = "gevent"


def serve(place, service, ready):
    methods = {name: getattr(service, name) for name in ("echo", "size", "cast", "count")}
    server = zerorpc.Server(methods, pool_size=1000, heartbeat=None)
    server.bind(f"tcp://127.0.0.1:{place.port}")
    casts = zerorpc.Puller(methods)
    casts.bind(f"tcp://127.0.0.1:{place.port + 1}")
    gevent.spawn(casts.run)
    ready()
    server.run()


class connect:
    def __init__(self, place, number=0):
        self.call = zerorpc.Client(f"tcp://127.0.0.1:{place.port}", timeout=30, heartbeat=None)
        self.pusher, self.sent = zerorpc.Pusher(), 0
        self.pusher.connect(f"tcp://127.0.0.1:{place.port + 1}")

    def cast(self, value):
        self.pusher("cast", value)
        self.sent += 1
        if not self.sent & 63:
            gevent.sleep(0)


class publisher:
    def __init__(self, place):
        self.socket, self.sent = zerorpc.Publisher(), 0
        self.socket.bind(f"tcp://127.0.0.1:{place.port}")

    def publish(self, value):
        self.socket.event(value)
        self.sent += 1
        if not self.sent & 15:
            gevent.sleep(0)


def subscribe(place, heard, number):
    subscriber = zerorpc.Subscriber({"event": heard})
    subscriber.connect(f"tcp://127.0.0.1:{place.port}")
    gevent.spawn(subscriber.run)
