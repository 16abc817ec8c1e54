"""Pyro5, its thread server with the MessagePack serializer; a proxy for each thread; unencrypted."""

import Pyro5.api
from Pyro5 import config

STYLE = "threads"
SHARED = False  # a proxy belongs to one thread
config.SERIALIZER = "msgpack"
config.THREADPOOL_SIZE, config.THREADPOOL_SIZE_MIN = 400, 4


def serve(place, service, ready):
    @Pyro5.api.expose
    class Served:
        def echo(self, value):
            return value

        def size(self, value):
            return len(value)

        def count(self, value):
            return service.count(value)

        @Pyro5.api.oneway
        def cast(self, value):
            service.cast(value)

    daemon = Pyro5.api.Daemon(host="127.0.0.1", port=place.port)
    daemon.register(Served(), "bench")
    ready()
    daemon.requestLoop()


class connect:
    def __init__(self, place, number=0):
        self.proxy = Pyro5.api.Proxy(f"PYRO:bench@127.0.0.1:{place.port}")

    def call(self, method, value):
        self.proxy._pyroClaimOwnership()
        return getattr(self.proxy, method)(value)

    def cast(self, value):
        self.proxy.cast(value)
