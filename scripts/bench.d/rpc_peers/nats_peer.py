"""nats-py with nats-server; MessagePack; unencrypted."""

import asyncio

import msgpack
import nats

STYLE = "asyncio"
pack, unpack = msgpack.packb, msgpack.unpackb


async def connected(place):
    return await nats.connect(f"nats://127.0.0.1:{place.broker_port}", max_reconnect_attempts=-1)


async def listen(connection, subject, heard):
    await connection.subscribe(subject, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1)


async def serve(place, service, ready):
    connection = await connected(place)

    def answering(method):
        async def heard(message):
            result = method(unpack(message.data))
            if message.reply:
                await connection.publish(message.reply, pack(result))

        return heard

    for name in ("echo", "size", "cast", "count"):
        await listen(connection, f"{place.name}.{name}", answering(getattr(service, name)))
    await connection.flush()
    ready()
    await asyncio.sleep(1e6)


class Client:
    def __init__(self, place, connection):
        self.prefix, self.connection = f"{place.name}.", connection
        self.flush = connection.flush

    async def call(self, method, value):
        return unpack((await self.connection.request(self.prefix + method, pack(value), timeout=30)).data)

    async def cast(self, value):
        await self.connection.publish(self.prefix + "cast", pack(value))

    publish = cast


async def connect(place, number=0):
    return Client(place, await connected(place))


publisher = connect


async def subscribe(place, heard, number):
    connection = await connected(place)

    async def arrived(message):
        heard(unpack(message.data))

    await listen(connection, f"{place.name}.cast", arrived)
    await connection.flush()
