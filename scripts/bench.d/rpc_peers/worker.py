"""One process of `scripts/bench rpc`: worker.py ROLE ADAPTER PLACE, where PLACE is JSON (see rpc.py).

Speaks JSON lines on standard output. The adapter is imported first, so that it may patch what it must.
Roles: server, client (runs the workloads), hold (many clients that stay), publisher, subscribers.
"""

import ctypes
import importlib
import json
import signal
import sys
import types

ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the benchmark
ROLE, ADAPTER = sys.argv[1], importlib.import_module(sys.argv[2])

import itertools  # noqa: E402
import mmap  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402

PLACE = types.SimpleNamespace(**json.loads(sys.argv[3]))
STYLE = getattr(ADAPTER, "STYLE", "threads")  # or "gevent", "asyncio" (then clients are coroutines)
RAW = getattr(ADAPTER, "RAW", False)  # carries bytes that were encoded once
now = time.perf_counter  # CLOCK_MONOTONIC: one clock for all processes

RECORD = {  # 200 bytes of MessagePack
    "id": "7c1e9a52-4b0d-4e0f-8b39-5d2f7a6c0e44",
    "name": "web-0042",
    "project": "demo",
    "flavor": "m1.small",
    "vcpus": 2,
    "memory_mb": 2048,
    "disk_gb": 20,
    "image": "debian-12",
    "host": "lab17",
    "power": 1,
    "task": None,
    "labels": {"tier": "web"},
    "ports": [1, 2, 3],
    "key": "deploy-2026",
    "zone": "north",
    "pad": "x" * 14,
}
EVENT = {"host": "lab17", "seq": 12345, "free_mb": 20480, "up": True}  # 40 bytes


def say(**figures):
    print(json.dumps(figures), flush=True)


def carried(value):
    if not RAW:
        return value
    import msgspec

    return msgspec.msgpack.encode(value)


class Service:
    """What every server answers."""

    def __init__(self):
        self._ticket, self.heard, self.first, self.last = itertools.count(1), 0, 0.0, 0.0

    def echo(self, value):
        return value

    def size(self, data):
        return str(len(data)).encode() if RAW else len(data)

    def cast(self, value):
        self.last, number = now(), next(self._ticket)  # a ticket, since some peers hear on many threads
        if number == 1:
            self.first = self.last
        self.heard = max(self.heard, number)

    def count(self, value):
        """Of the casts since the last time: [how many, seconds from the first to the last, by the receiver's clock]."""
        figures = [self.heard, self.last - self.first]
        return json.dumps(figures).encode() if RAW else figures


def percentiles(times):
    times.sort()
    return {"p50_us": times[len(times) // 2] * 1e6, "p99_us": times[min(len(times) - 1, int(len(times) * 0.99))] * 1e6}


def cast_figures(sent, counted):
    heard, took = json.loads(counted) if isinstance(counted, bytes | memoryview) else counted
    return {"per_s": (heard - 1) / max(took, 1e-9), "lost": 1 - heard / sent}


# clients that block


def nap(seconds):
    if STYLE == "gevent":
        import gevent

        gevent.sleep(seconds)
    else:
        time.sleep(seconds)


def together(functions):
    if STYLE == "gevent":
        import gevent

        gevent.joinall([gevent.spawn(function) for function in functions], raise_error=True)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:
            future.result()


def latency(client, method, value, seconds, warm=20):
    times = []
    for _ in range(warm):
        client.call(method, value)
    end = now() + seconds
    while now() < end or len(times) < 5:
        began = now()
        client.call(method, value)
        times.append(now() - began)
    return percentiles(times)


def throughput(client, value, seconds, in_flight):
    if hasattr(client, "pipeline"):  # a blocking socket has its own way to keep many in flight
        client.pipeline(value, seconds / 3, in_flight)
        return {"per_s": client.pipeline(value, seconds, in_flight)}
    shared = getattr(ADAPTER, "SHARED", True)
    clients = [client if shared else ADAPTER.connect(PLACE) for _ in range(in_flight)]
    done = []

    def work(one):
        made = 0
        while now() < end:
            one.call("echo", value)
            made += 1
        done.append(made)

    for part in (seconds / 3, seconds):  # the first only warms
        done.clear()
        began = now()
        end = began + part
        together([lambda one=one: work(one) for one in clients])
        took = now() - began
    return {"per_s": sum(done) / took}


def casts(client, value, seconds):
    client.call("echo", carried(RECORD))
    sent, end = 0, now() + seconds
    while now() < end:
        for _ in range(20):
            client.cast(value)
        sent += 20
    getattr(client, "flush", lambda: None)()
    before = None
    for _ in range(100):
        nap(0.1)
        counted = client.call("count", carried(0))
        if counted == before:
            return cast_figures(sent, counted)
        before = counted
    raise TimeoutError("casts are still arriving after 10 s")


def client():
    began = now()
    one = ADAPTER.connect(PLACE)
    one.call("echo", carried(RECORD))
    say(connected_s=now() - began)
    for name in PLACE.workloads:
        try:
            if name == "call":
                figures = latency(one, "echo", carried(RECORD), PLACE.seconds)
            elif name == "many":
                figures = throughput(one, carried(RECORD), PLACE.seconds, PLACE.in_flight)
            elif name == "cast":
                figures = casts(one, carried(EVENT), PLACE.seconds)
            else:
                data = "x" * int(name)
                figures = latency(one, "size", data.encode() if RAW else data, PLACE.seconds, 5)
            say(workload=name, **figures)
        except Exception as error:  # noqa: BLE001  (told to the one who started us)
            say(workload=name, error=f"{type(error).__name__}: {error}"[:300])


def hold():
    clients = [ADAPTER.connect(PLACE, number) for number in range(PLACE.first, PLACE.first + PLACE.clients)]
    for one in clients:
        one.call("echo", carried(RECORD))
    say(held=len(clients))
    while True:
        nap(1)


class Board:
    """Messages heard by each subscriber, in memory that the publisher sees: it keeps at most a window ahead of the
    slowest, so that none is lost in a queue that is full, and counts what is heard per second while it runs."""

    def __init__(self):
        size = 8 * PLACE.all_clients
        with open(os.path.join(PLACE.folder, "board"), "a+b") as file:
            file.truncate(size)
            self.heard = memoryview(mmap.mmap(file.fileno(), size)).cast("Q")

    def of(self, number):
        """What subscriber `number` calls with each message."""
        heard, got = self.heard, itertools.count(1)

        def one(value):
            heard[number] = next(got)

        return one


class Publishing:
    """Steps of a publisher: a window of messages, of which the first part of the time only warms."""

    STEP = 16  # messages between two looks at the board

    def __init__(self):
        self.board, self.sent, self.steady, self.waits = Board().heard, 0, None, []
        self.warm = now() + PLACE.seconds / 2

    def ahead(self):
        return self.sent - min(self.board) > PLACE.window - self.STEP

    def over(self):
        """After each step: whether the time is up. Says when the steady part begins, and what was heard in it."""
        self.sent += self.STEP
        if now() < self.warm:
            return False
        if self.steady is None:
            self.steady = sum(self.board), now()
            say(steady=True)
            return False
        heard, began = self.steady
        if now() < began + PLACE.seconds:
            return False
        say(heard=sum(self.board) - heard, seconds=now() - began)
        return True

    def left(self):
        """Ask each 0.1 s until this is False: all is heard, or nothing comes for 5 s. Then says what was lost."""
        heard = sum(self.board)
        wanted = self.sent * len(self.board)
        self.waits.append(heard)
        if heard < wanted and (len(self.waits) < 50 or self.waits[-50] < heard):
            return True
        say(lost=1 - heard / wanted)
        return False


def subscribers():
    board = Board()
    for number in range(PLACE.first, PLACE.first + PLACE.clients):
        ADAPTER.subscribe(PLACE, board.of(number), number)
    say(ready=True)
    while True:
        nap(1)


def publisher():
    mouth = ADAPTER.publisher(PLACE)
    say(ready=True)
    sys.stdin.readline()
    getattr(mouth, "wait", lambda: nap(0.5))()  # until all subscribers are connected
    value, publishing = carried(EVENT), Publishing()
    while True:
        while publishing.ahead():
            nap(0.001)
        for _ in range(Publishing.STEP):
            mouth.publish(value)
        if publishing.over():
            break
    while publishing.left():
        nap(0.1)


# clients of asyncio


async def latency_async(client, method, value, seconds, warm=20):
    times = []
    for _ in range(warm):
        await client.call(method, value)
    end = now() + seconds
    while now() < end or len(times) < 5:
        began = now()
        await client.call(method, value)
        times.append(now() - began)
    return percentiles(times)


async def throughput_async(client, value, seconds, in_flight):
    import asyncio

    async def work():
        made = 0
        while now() < end:
            await client.call("echo", value)
            made += 1
        return made

    for part in (seconds / 3, seconds):
        began = now()
        end = began + part
        done = await asyncio.gather(*[work() for _ in range(in_flight)])
    return {"per_s": sum(done) / (now() - began)}


async def casts_async(client, value, seconds):
    import asyncio

    await client.call("echo", RECORD)
    sent, end = 0, now() + seconds
    while now() < end:
        for _ in range(20):
            await client.cast(value)
        sent += 20
    if hasattr(client, "flush"):
        await client.flush()
    before = None
    for _ in range(100):
        await asyncio.sleep(0.1)
        counted = await client.call("count", 0)
        if counted == before:
            return cast_figures(sent, counted)
        before = counted
    raise TimeoutError("casts are still arriving after 10 s")


async def client_async():
    began = now()
    one = await ADAPTER.connect(PLACE)
    await one.call("echo", RECORD)
    say(connected_s=now() - began)
    for name in PLACE.workloads:
        try:
            if name == "call":
                figures = await latency_async(one, "echo", RECORD, PLACE.seconds)
            elif name == "many":
                figures = await throughput_async(one, RECORD, PLACE.seconds, PLACE.in_flight)
            elif name == "cast":
                figures = await casts_async(one, EVENT, PLACE.seconds)
            else:
                figures = await latency_async(one, "size", "x" * int(name), PLACE.seconds, 5)
            say(workload=name, **figures)
        except Exception as error:  # noqa: BLE001  (told to the one who started us)
            say(workload=name, error=f"{type(error).__name__}: {error}"[:300])


async def hold_async():
    import asyncio

    clients = [await ADAPTER.connect(PLACE, number) for number in range(PLACE.clients)]
    for one in clients:
        await one.call("echo", RECORD)
    say(held=len(clients))
    await asyncio.sleep(3600)


async def subscribers_async():
    import asyncio

    board = Board()
    for number in range(PLACE.first, PLACE.first + PLACE.clients):
        await ADAPTER.subscribe(PLACE, board.of(number), number)
    say(ready=True)
    await asyncio.sleep(3600)


async def publisher_async():
    import asyncio

    mouth = await ADAPTER.publisher(PLACE)
    say(ready=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.sleep(0.5)
    publishing = Publishing()
    while True:
        while publishing.ahead():
            await asyncio.sleep(0.001)
        for _ in range(Publishing.STEP):
            await mouth.publish(EVENT)
        if publishing.over():
            break
    await mouth.flush()
    while publishing.left():
        await asyncio.sleep(0.1)


def main():
    if STYLE == "asyncio":
        import asyncio

        if ROLE == "server":
            asyncio.run(ADAPTER.serve(PLACE, Service(), lambda: say(ready=True)))
        else:
            asyncio.run(globals()[f"{ROLE}_async"]())
    elif ROLE == "server":
        ADAPTER.serve(PLACE, Service(), lambda: say(ready=True))
    else:
        globals()[ROLE]()


try:
    main()
except KeyboardInterrupt:
    pass
sys.stdout.flush()
os._exit(0)  # without the peers' own ways of ending, some of which wait
