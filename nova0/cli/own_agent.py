"""`nova0 agent run ./mine.py`: a user's agent as a node of this machine, under topics `user/...`."""

from __future__ import annotations

import importlib.util
import inspect
import signal
import sys
from pathlib import Path

from nova0.cli.failure import Failure
from nova0.mesh.surface import Surface


def load(file: str) -> list[type[Surface]]:
    """The agents a file defines: its classes with a topic that can be made without arguments. Raises Failure."""
    path = Path(file)
    if not path.is_file():
        raise Failure(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise Failure(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Failure(f"{file}: {type(error).__name__}: {error}") from error
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Surface) and value.__module__ == path.stem and value.topic
    ]
    leaves = [cls for cls in found if not any(other is not cls and issubclass(other, cls) for other in found)]
    if not leaves:
        raise Failure(f"{file} defines no agent: a class of nova0.mesh.surface.Surface with a topic")
    for cls in leaves:
        if not cls.topic.startswith("user/"):
            raise Failure(f"{file}: {cls.__name__}.topic is {cls.topic!r}: topics of your own begin with user/")
    return leaves


def run_file(file: str) -> int:
    """Answer on the mesh until SIGTERM or Ctrl-C. Exit code 0."""
    import gevent
    from gevent.event import Event

    from nova0 import log
    from nova0.agents import bundles
    from nova0.config import CONF
    from nova0.mesh.node import Node

    agents = load(file)
    log.setup(CONF.log_level)
    node = Node(bundles.mesh_settings(f"user-{Path(file).stem}", ("member",)))
    for agent in agents:
        node.offer(agent())
    end = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, end.set)
    node.start()
    print(f"{node.node} answers {', '.join(agent.topic for agent in agents)}", flush=True)
    end.wait()
    node.stop()
    return 0
