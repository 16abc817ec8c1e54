"""A node as a process of its own that offers and opens streams as it is told over its calls."""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402

from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402
from nova0.mesh.streams.tickets import Ticket  # noqa: E402
from nova0.mesh.surface import LONG, MEMBER, Surface, call  # noqa: E402

PIECE = 1 << 20


class PipeAPI(Surface):
    topic = "pipe"
    served_by = MEMBER

    @call(allow=MEMBER, timeout=LONG)
    def source(self, peer: str, pieces: int) -> Ticket:
        """Leave to read that many MiB here; 0: until somebody stops it."""
        ...

    @call(allow=MEMBER, timeout=LONG)
    def pull(self, ticket: Ticket, rest_s: float) -> int:
        """Read to the end, resting after each MiB; how many bytes came."""
        ...

    @call(allow=MEMBER, timeout=LONG, repeatable=True)
    def echo(self, text: str) -> str: ...

    @call(allow=MEMBER, timeout=LONG, repeatable=True)
    def held(self) -> dict:
        """{"streams", "handlers", "greenlets"}: counts; {"rss", "most_rss"}: bytes."""
        ...


class PipeAgent(PipeAPI):
    def __init__(self, bus):
        self.bus = bus

    def source(self, peer, pieces):
        def write(stream):
            piece = bytes(PIECE)
            sent = 0
            while not pieces or sent < pieces:
                stream.send(piece)
                sent += 1

        return self.bus.offer_stream("pipe", write, peer=peer)

    def pull(self, ticket, rest_s):
        got = rested = 0
        with self.bus.open_stream(ticket) as stream:
            while piece := stream.recv_view():
                got += len(piece)
                if rest_s and got - rested >= PIECE:
                    rested = got
                    gevent.sleep(rest_s)
        return got

    def echo(self, text):
        return text

    def held(self):
        service = self.bus.streams.service
        greenlets = sum(isinstance(thing, gevent.Greenlet) and not thing.dead for thing in gc.get_objects())
        with open("/proc/self/status") as lines:
            sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
        return {
            "streams": len(service.open),
            "handlers": service.at_work,
            "greenlets": greenlets,
            "rss": int(sizes["VmRSS"]) * 1024,
            "most_rss": int(sizes["VmHWM"]) * 1024,
        }


def main(agent=PipeAgent):
    logging.basicConfig(level="INFO", stream=sys.stderr)
    settings = json.loads(sys.argv[1])
    node = Node(MeshSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}))
    node.offer(agent(node))
    node.start()
    print("READY", flush=True)
    gevent.event.Event().wait()


if __name__ == "__main__":
    main()
