"""A node as a process of its own, for tests that kill it: says READY, then one line per thing heard."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import logging  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from contract import PaintAgent  # noqa: E402
from gevent.event import Event  # noqa: E402

from nova0.mesh import wire  # noqa: E402
from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402


class Slow(PaintAgent):
    def count(self, label):
        print("count begins", flush=True)
        gevent.sleep(float(label) if label.replace(".", "").isdigit() else 0)
        print("count ends", flush=True)
        return super().count(label)


def act_as_protocol_1():
    """Read what the first version read: a frame with a later tag is garbage, a later signal too."""
    from msgspec.msgpack import Decoder

    w = wire
    old = w.Hello | w.Welcome | w.Refused | w.Call | w.Answer | w.Failure | w.Working | w.Progress
    old |= w.Acknowledge | w.Ping | w.Pong | w.Goodbye
    w._frame = Decoder(list[old]).decode
    w._signal = Decoder(w.Beat | w.Casts | w.Left | w.Told).decode


def main():
    logging.basicConfig(level="INFO", stream=sys.stderr)
    settings = json.loads(sys.argv[1])
    if settings["speaks"] == [1, 1]:
        act_as_protocol_1()
    node = Node(MeshSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}))
    node.offer(Slow(node))
    node.start()
    ended = Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    gevent.signal_handler(signal.SIGUSR1, _hold)
    print("READY", flush=True)  # for signals, too
    ended.wait()
    node.stop()


def _hold():
    """Keep the loop for five seconds, as a blocking C call would."""
    import ctypes

    ctypes.CDLL(None).sleep(5)


if __name__ == "__main__":
    main()
