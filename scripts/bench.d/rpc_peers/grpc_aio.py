"""gRPC, its asyncio interface; else as grpc_sync."""

import grpc
from grpc_sync import OPTIONS, pack, unpack

STYLE = "asyncio"


async def serve(place, service, ready):
    def answering(method):
        async def answer(value, _):
            return method(value)

        return grpc.unary_unary_rpc_method_handler(answer, unpack, pack)

    async def heard(values, _):
        async for value in values:
            service.cast(value)
        return 1

    methods = {name: answering(getattr(service, name)) for name in ("echo", "size", "count")}
    methods["cast"] = grpc.stream_unary_rpc_method_handler(heard, unpack, pack)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", methods),))
    server.add_insecure_port(f"127.0.0.1:{place.port}")
    await server.start()
    ready()
    await server.wait_for_termination()


class Client:
    def __init__(self, place):
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{place.port}", options=OPTIONS)
        self.methods = {n: self.channel.unary_unary(f"/bench/{n}", pack, unpack) for n in ("echo", "size", "count")}
        self.stream = None

    async def call(self, method, value):
        return await self.methods[method](value)

    async def cast(self, value):
        if self.stream is None:
            self.stream = self.channel.stream_unary("/bench/cast", pack, unpack)()
        await self.stream.write(value)

    async def flush(self):
        await self.stream.done_writing()
        await self.stream


async def connect(place, number=0):
    return Client(place)
