"""Blocking pyzmq, as its guide shows it: DEALER and ROUTER with multipart frames, PUB and SUB; bytes only.

The measure of all others: no time-outs, no errors, no types, nobody is asked who he is (with `curve` the
traffic is encrypted by one pair of keys for all clients)."""

import threading
import time

import zmq

RAW = True
STYLE = "threads"
CONTEXT = zmq.Context(io_threads=1)
CONTEXT.set(zmq.MAX_SOCKETS, 8192)


def made(place, kind, *, bound):
    socket = CONTEXT.socket(kind)
    socket.linger = 0
    if place.curve:
        public, secret = (key.encode() for key in place.server_key)
        if bound:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = public, secret
        else:
            socket.curve_serverkey = public
            socket.curve_publickey, socket.curve_secretkey = (key.encode() for key in place.client_key)
    return socket


def serve(place, service, ready):
    socket = made(place, zmq.ROUTER, bound=True)
    socket.bind(f"tcp://127.0.0.1:{place.port}")
    methods = {name.encode(): getattr(service, name) for name in ("echo", "size", "cast", "count")}
    ready()
    while True:
        route, number, method, body = socket.recv_multipart()
        result = methods[method](body)
        if number:
            socket.send_multipart([route, number, result])


class connect:
    def __init__(self, place, number=0):
        self.socket = made(place, zmq.DEALER, bound=False)
        self.socket.connect(f"tcp://127.0.0.1:{place.port}")
        self.number = 0

    def _send(self, method, body):
        self.number += 1
        self.socket.send_multipart([self.number.to_bytes(4, "big"), method, body])

    def call(self, method, body):
        self._send(method.encode(), body)
        return self.socket.recv_multipart()[1]

    def pipeline(self, body, seconds, in_flight):
        for _ in range(in_flight):
            self._send(b"echo", body)
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(16):
                self.socket.recv_multipart()
                self._send(b"echo", body)
            done += 16
        rate = done / (time.perf_counter() - began)
        for _ in range(in_flight):
            self.socket.recv_multipart()
        return rate

    def cast(self, body):
        self.socket.send_multipart([b"", b"cast", body])


class publisher:
    def __init__(self, place):
        self.socket = made(place, zmq.PUB, bound=True)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)  # waits for slow subscribers: delivery is measured, not loss
        self.socket.bind(f"tcp://127.0.0.1:{place.port}")

    def publish(self, body):
        self.socket.send(body)


LISTENING = {}


def subscribe(place, heard, number):
    """One thread of the process reads all its sockets."""
    socket = made(place, zmq.SUB, bound=False)
    socket.subscribe(b"")
    socket.connect(f"tcp://127.0.0.1:{place.port}")
    LISTENING[socket] = heard
    if len(LISTENING) == place.clients:
        threading.Thread(target=_listen, daemon=True).start()


def _listen():
    poller = zmq.Poller()
    for socket in LISTENING:
        poller.register(socket, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            try:
                for _ in range(200):
                    LISTENING[socket](socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                pass
