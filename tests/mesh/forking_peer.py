"""A node that is started and killed many times, quickly: the imports are done once, each life is a fork.

On stdin "start" or "kill" a line; says READY when its node is up, KILLED when that life has ended.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

from nova0.mesh.node import Node  # noqa: E402
from nova0.mesh.settings import MeshSettings  # noqa: E402


def live(settings: MeshSettings) -> None:
    import gevent
    from contract import PaintAgent

    node = Node(settings)
    node.offer(PaintAgent(node))
    node.start()
    os.write(1, b"READY\n")
    gevent.sleep(1e6)


def main() -> None:
    words = json.loads(sys.argv[1])
    settings = MeshSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in words.items()})
    child, buffer = 0, b""
    while True:
        line, newline, buffer = buffer.partition(b"\n")
        if not newline:
            more = os.read(0, 100)  # not gevent's: the parent never has a loop, so that a fork has none to share
            if not more:
                break
            buffer = line + more
        elif line == b"start":
            child = monkey.get_original("os", "fork")()
            if child == 0:
                live(settings)
        elif line == b"kill" and child:
            os.kill(child, signal.SIGKILL)
            monkey.get_original("os", "waitpid")(child, 0)
            child = 0
            os.write(1, b"KILLED\n")
    if child:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
