"""gRPC, its blocking interface: 64 server threads; MessagePack instead of protobuf, which is no slower here;
casts and fan-out by streaming; unencrypted."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import msgpack

STYLE = "threads"
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all clients of a process share one connection
]
pack, unpack = msgpack.packb, msgpack.unpackb


def serve(place, service, ready):
    def answering(method):
        return grpc.unary_unary_rpc_method_handler(lambda value, _: method(value), unpack, pack)

    def heard(values, _):
        for value in values:
            service.cast(value)
        return 1

    methods = {name: answering(getattr(service, name)) for name in ("echo", "size", "count")}
    methods["cast"] = grpc.stream_unary_rpc_method_handler(heard, unpack, pack)
    server = grpc.server(ThreadPoolExecutor(64), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", methods),))
    server.add_insecure_port(f"127.0.0.1:{place.port}")
    server.start()
    ready()
    server.wait_for_termination()


class connect:
    def __init__(self, place, number=0):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{place.port}", options=OPTIONS)
        self.methods = {n: self.channel.unary_unary(f"/bench/{n}", pack, unpack) for n in ("echo", "size", "count")}
        self.waiting = None

    def call(self, method, value):
        return self.methods[method](value)

    def cast(self, value):
        if self.waiting is None:
            self.waiting = queue.Queue(1000)
            self.stream = self.channel.stream_unary("/bench/cast", pack, unpack).future(iter(self.waiting.get, None))
        self.waiting.put(value)

    def flush(self):
        self.waiting.put(None)
        self.stream.result()


class publisher:
    """One stream and one queue for each subscriber."""

    def __init__(self, place):
        self.queues = []

        def stream(_, context):
            mine = queue.Queue(1000)
            self.queues.append(mine)
            yield "hello"
            yield from iter(mine.get, None)

        methods = {"listen": grpc.unary_stream_rpc_method_handler(stream, unpack, pack)}
        self.server = grpc.server(ThreadPoolExecutor(64), options=OPTIONS)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", methods),))
        self.server.add_insecure_port(f"127.0.0.1:{place.port}")
        self.server.start()

    def publish(self, value):
        for waiting in self.queues:
            waiting.put(value)


def subscribe(place, heard, number):
    channel = grpc.insecure_channel(f"127.0.0.1:{place.port}", options=OPTIONS)
    values = channel.unary_stream("/bench/listen", pack, unpack)(1)
    next(values)  # connected

    def listen():
        for value in values:
            heard(value)

    threading.Thread(target=listen, daemon=True).start()
