"""`nova0 agent run ./mine.py`: a user's agent as a node of this machine, under topics `user/...`.

The agent finds the mesh in `self.bus`; its `started()`, if it has one, runs whenever it has joined.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import inspect
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nova0.cli.failure import Failure
from nova0.mesh.surface import Surface

if TYPE_CHECKING:
    from nova0.mesh.settings import MeshSettings


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


def run_file(file: str, args: argparse.Namespace) -> int:
    """Answer on the mesh until SIGTERM or Ctrl-C: 0, or 1 once this machine was put out of the cluster."""
    import gevent
    from gevent.event import Event

    from nova0 import log, rpcapi
    from nova0.config import CONF
    from nova0.mesh.node import Node

    rpcapi.surfaces()  # the user's must not say otherwise of topics of nova0's own
    agents = load(file)
    log.setup(CONF.log_level, of=Path(file).stem)
    end = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, end.set)
    name, working = Path(file).stem, [agent() for agent in agents]
    while not end.is_set():
        node = Node(_member(name, args))
        for agent in working:
            agent.bus = node  # type: ignore[attr-defined]  # nova0.mesh.bus.Bus
            node.offer(agent)
        node.start()
        for agent in working:
            if hasattr(agent, "started"):
                agent.started()
        print(f"{node.node} answers {', '.join(agent.topic for agent in agents)}", flush=True)
        while not end.wait(1) and not node.out:
            if node.behind_its_machine():
                _have_vouched(name, args)  # the node takes up what is on disk
        node.stop()  # when put out: perhaps only this machine's key is another now, then it is vouched for again
    return 0


def _member(name: str, args: argparse.Namespace) -> MeshSettings:
    """Settings of a node with a key of its own, which this machine's node vouches for. While none runs here
    the certificate of last time is used. Raises Failure, JoinRefused, PutOut."""
    from nova0.agents import bundles
    from nova0.mesh import identity

    folder = _folder() / name
    try:
        _have_vouched(name, args)
    except Failure:
        if not identity.is_member(folder):
            raise
    mine = identity.load(folder).certificate
    settings: MeshSettings = bundles.mesh_settings(mine.process, ("member",))
    return dataclasses.replace(settings, state_dir=str(folder), host=mine.host, socket_path="")


def _have_vouched(name: str, args: argparse.Namespace) -> None:
    """Raises Failure where no node of this machine runs."""
    from nova0.cli import mesh_door
    from nova0.mesh import identity, keys

    folder = _folder() / name
    key = keys.node_key(folder).public
    with mesh_door.local_node(args) as node:
        identity.store_vouched(folder, node.vouch(name, key))


def _folder() -> Path:
    """Of this user's agents: with the state of nova0 where that is the user's own, else under the home."""
    from nova0.config import CONF, state_home

    state_path = Path(CONF.state_path)
    mine = os.access(state_path, os.W_OK) if state_path.exists() else True
    return (state_path if mine else state_home()) / "own"
