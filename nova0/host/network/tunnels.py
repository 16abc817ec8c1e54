"""TCP into guests of this host for somebody elsewhere: what `nova0 ssh` runs through.

A tunnel is read and written by offset, so that a piece asked for again is the same piece.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

import gevent
from gevent import socket
from gevent.event import Event
from gevent.lock import RLock

from nova0.mesh.errors import Busy
from nova0.objects.errors import NetworkError

log = logging.getLogger(__name__)

TUNNELS_MOST = 64
PIECE = 64 * 1024
KEPT_MOST = 1024 * 1024  # received and not yet asked for; more is left to TCP's own window
WAIT_S = 5.0  # a read with nothing to tell comes back empty after this
IDLE_S = 60.0
CONNECT_S = 5.0


class Tunnel:
    """One connection into a guest."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._kept = bytearray()  # received, from offset `_from` on
        self._from = 0
        self._ended = False
        self._sent = 0
        self._news, self._room = Event(), Event()
        self._hand = RLock()
        self.used = time.monotonic()
        self._reader = gevent.spawn(self._receive)

    def write(self, offset: int, data: bytes) -> None:
        """See NetworkAPI.tunnel_write."""
        self.used = time.monotonic()
        with self._hand:
            fresh = data[max(0, self._sent - offset) :]
            try:
                if not data:
                    self._socket.shutdown(socket.SHUT_WR)
                elif fresh:
                    self._socket.sendall(fresh)
                    self._sent += len(fresh)
            except OSError as error:
                raise NetworkError(f"the guest closed the connection: {error}") from error

    def read(self, offset: int) -> bytes | None:
        """See NetworkAPI.tunnel_read."""
        self.used = time.monotonic()
        if offset > self._from:  # asking for what follows says that the rest arrived
            del self._kept[: offset - self._from]
            self._from = offset
            self._room.set()
        if not self._kept and not self._ended:
            self._news.clear()
            self._news.wait(WAIT_S)
        if not self._kept and self._ended:
            return None
        return bytes(self._kept[:PIECE])

    def close(self) -> None:
        self._reader.kill()
        self._socket.close()
        self._ended = True
        self._news.set()

    def _receive(self) -> None:
        try:
            while True:
                while len(self._kept) >= KEPT_MOST:
                    self._room.clear()
                    self._room.wait()
                piece = self._socket.recv(PIECE)
                if not piece:
                    break
                self._kept += piece
                self._news.set()
        except OSError as error:
            log.debug("tunnel: %s", error)
        self._ended = True
        self._news.set()


class Tunnels:
    """All tunnels of one host."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._open: dict[str, Tunnel] = {}

    def open(self, fresh: Callable[[], socket.socket], ip: str, port: int) -> str:
        """Connect by a socket that `fresh` makes, in the guest's network."""
        self._drop_idle()
        if len(self._open) >= TUNNELS_MOST:
            raise Busy(f"{self.host}: {TUNNELS_MOST} tunnels are open: close some")
        connection = fresh()
        try:
            connection.settimeout(CONNECT_S)
            connection.connect((ip, port))
            connection.settimeout(None)
        except OSError as error:
            connection.close()
            raise NetworkError(
                f"{self.host}: {ip} port {port} does not answer ({error}): does the guest run, and do its "
                "security groups let it in?"
            ) from error
        name = secrets.token_hex(16)
        self._open[name] = Tunnel(connection)
        return name

    def get(self, name: str) -> Tunnel:
        try:
            return self._open[name]
        except KeyError:
            raise NetworkError(f"{self.host}: this tunnel is closed") from None

    def close(self, name: str) -> None:
        tunnel = self._open.pop(name, None)
        if tunnel is not None:
            tunnel.close()

    def close_all(self) -> None:
        for name in list(self._open):
            self.close(name)

    def _drop_idle(self) -> None:
        for name, tunnel in list(self._open.items()):
            if time.monotonic() - tunnel.used > IDLE_S:
                self.close(name)
