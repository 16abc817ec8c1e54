"""Where a node listens: its server sockets, each at the port of its last start where that is free, and anew
for another key. Which ports they are stands on disk for the next start and for this machine's people.
"""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable
from pathlib import Path

import zmq

from nova0.mesh import keys
from nova0.mesh.addresses import remembered_ports
from nova0.mesh.door import Door, bind, bracket, take_port
from nova0.mesh.settings import MeshSettings

Socket = zmq.Socket[bytes]


class Listeners:
    """`ports` are those of rpc, pub, ear, door and stream; 0 where there is none."""

    def __init__(
        self,
        settings: MeshSettings,
        rpc: Socket,
        pub: Socket,
        ear: Socket | None,
        stream: Socket,
        open_door: Callable[[int], Door],
    ) -> None:
        """Binds them all; `open_door(port)` with 0 for any. Raises Busy when a port asked for is taken."""
        s = self._settings = settings
        self._sockets = [rpc, pub, ear, None, stream]
        before = remembered_ports(Path(s.state_dir), s.process)
        wanted = self._wanted()
        self.ports = [0, 0, 0, 0, 0]
        for index, socket in enumerate(self._sockets):
            if socket is not None:
                self.ports[index] = _bind_again(socket, s.listen, wanted[index], before[index])
        self.door = open_door(s.door_port or (before[3] if _free(s.listen, before[3]) else 0))
        self.ports[3] = self.door.port
        self._write()

    def move(self, pair: keys.CurvePair) -> list[int]:
        """New ports at which this key listens, beside the ones there are. Returns those before."""
        before = list(self.ports)
        for index, socket in enumerate(self._sockets):
            if socket is not None:
                self.ports[index] = _listen_anew(socket, pair, self._settings.listen)
        self.ports[3] = self.door.move(pair, self._settings.listen)
        self._write()
        return before

    def close(self, before: list[int]) -> bool:
        """Those for the key before, with their connections. A port that was asked for is taken again, now
        for the present key; the one it had meanwhile stays open for those who came by it. True if there is such."""
        listen, wanted = self._settings.listen, self._wanted()
        wanted[3] = 0  # it was moved at once
        for index, socket in enumerate(self._sockets):
            if socket is not None:
                socket.unbind(f"tcp://{bracket(listen)}:{before[index]}")
        for index, socket in enumerate(self._sockets):
            if socket is not None and wanted[index]:
                self.ports[index] = take_port(socket, listen, wanted[index]) or self.ports[index]
        if any(wanted):
            self._write()
        return any(wanted)

    def _wanted(self) -> list[int]:
        s = self._settings
        return [s.rpc_port, s.pub_port, s.ear_port, s.door_port, s.stream_port]

    def _write(self) -> None:
        path = Path(self._settings.state_dir) / f"ports.{self._settings.process}"
        keys.write_public(path, " ".join(map(str, self.ports)).encode())


def _bind_again(socket: Socket, listen: str, wanted: int, before: int) -> int:
    """The port asked for, or the one of the last start, or any."""
    if wanted:
        return bind(socket, listen, wanted, "the mesh")
    return bind(socket, listen, before if _free(listen, before) else 0, "the mesh")


def _free(listen: str, port: int) -> bool:
    if not port:
        return False
    family = sockets.AF_INET6 if ":" in listen else sockets.AF_INET
    with sockets.socket(family, sockets.SOCK_STREAM) as probe:
        probe.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError:
            return False
    return True


def _listen_anew(socket: Socket, pair: keys.CurvePair, listen: str) -> int:
    """Further connections to a new port must be for `pair`; those that are there stay. Returns the port."""
    socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret_text)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public_text)
    socket.bind(f"tcp://{bracket(listen)}:*")
    return int(socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rpartition(":")[2])  # type: ignore[union-attr]
