"""A byte stream into a guest, as calls to its host: pieces by offset, so that a lost answer loses nothing."""

from __future__ import annotations

import gevent

from nova0.mesh.bus import Bus
from nova0.mesh.errors import MeshError
from nova0.rpcapi.network import NetworkAPI

PIECE = 64 * 1024
NOTHING_S = 0.05  # between two questions to which there was nothing to tell


class GuestTunnel:
    """See services.Tunnel. Raises NetworkError, or the mesh's errors when the host falls silent."""

    def __init__(self, bus: Bus, host: str, network_id: str, ip: str, port: int) -> None:
        self._host = bus.stub(NetworkAPI, host)
        self._name = self._host.tunnel_open(network_id, ip, port)
        self._written = self._read = 0

    def write(self, data: bytes) -> None:
        """b"" says that no more will come."""
        if not data:
            self._host.tunnel_write(self._name, self._written, b"")
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            self._host.tunnel_write(self._name, self._written, piece)
            self._written += len(piece)

    def read(self) -> bytes | None:
        while True:
            piece = self._host.tunnel_read(self._name, self._read)
            if piece is None or piece:
                self._read += len(piece or b"")
                return piece
            gevent.sleep(NOTHING_S)  # the host has waited already, unless it is made to keep us busy

    def close(self) -> None:
        try:
            self._host.tunnel_close(self._name)
        except MeshError:
            pass  # the host closes an idle tunnel by itself
