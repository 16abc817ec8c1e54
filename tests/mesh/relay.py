"""A man in the middle: a TCP relay that keeps what passes, alters it once if told, and plays it again."""

from __future__ import annotations

import contextlib
import socket

import gevent
from gevent.server import StreamServer


class Relay:
    """Listens on 127.0.0.1:`port` and passes on to `target`; `streams` are (to the target, from it) per connection."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.streams: list[tuple[bytearray, bytearray]] = []
        self.alter = 0  # so many chunks get one bit turned round
        self._open: list[socket.socket] = []
        self._server = StreamServer(("127.0.0.1", 0), self._accepted)
        self._server.start()
        self.port = self._server.server_port

    @property
    def seen(self) -> bytes:
        return b"".join(bytes(part) for pair in self.streams for part in pair)

    def _accepted(self, near: socket.socket, _: object) -> None:
        far = socket.create_connection(self.target)
        self._open += [near, far]
        there, back = bytearray(), bytearray()
        self.streams.append((there, back))
        other = gevent.spawn(self._pump, far, near, back)
        self._pump(near, far, there)
        other.join()

    def _pump(self, from_: socket.socket, to: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := from_.recv(65536):
                kept += data
                if self.alter and len(data) > 40:
                    self.alter -= 1
                    data = data[:-20] + bytes((data[-20] ^ 1,)) + data[-19:]
                to.sendall(data)
        for one in (from_, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.stop()
        for one in self._open:
            one.close()
