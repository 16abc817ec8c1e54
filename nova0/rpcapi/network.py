"""What a host hears of its networks."""

from __future__ import annotations

from typing import Annotated

from nova0.mesh.surface import CONTROLLER, HOST, NORMAL, SHORT, Surface, call, cast
from nova0.objects.fields import Generation, Ipv4, Line, PortNumber, Size, Uuid, Word
from nova0.objects.network import NetworkView


class NetworkAPI(Surface):
    topic = "network"
    served_by = HOST

    @cast(allow=CONTROLLER)
    def changed(self, network_id: Uuid, revision: Generation) -> None:
        """Something of this network changed: whoever carries it asks `ConductorAPI.networks_of` anew."""

    @call(timeout=NORMAL, allow=CONTROLLER, repeatable=True)
    def apply(self, view: NetworkView) -> None:
        """Make the host carry exactly this view (unless a newer one is applied). Raises NetworkError."""

    @call(timeout=NORMAL, allow=CONTROLLER, repeatable=True)
    def connect(self, network_id: Uuid, ip: Ipv4, port: PortNumber) -> Line:  # type: ignore[empty-body]
        """Prove that a TCP port of a guest answers; returns the first line it says (ssh banner)."""

    @call(timeout=NORMAL, allow=CONTROLLER, repeatable=True)
    def tunnel_open(self, network_id: Uuid, ip: Ipv4, port: PortNumber) -> Line:  # type: ignore[empty-body]
        """Connect to a TCP port of a guest on this host. Returns the tunnel's name; a tunnel nobody
        speaks through for a minute is closed. Raises NetworkError, Busy."""

    @call(timeout=NORMAL, allow=CONTROLLER, repeatable=True)
    def tunnel_write(self, tunnel: Word, offset: Annotated[Size, "bytes"], data: bytes) -> None:
        """Send bytes that follow the first `offset` ones; those sent before are not sent again. Empty
        `data`: no more will come. Raises NetworkError once the tunnel is closed."""

    @call(timeout=NORMAL, allow=CONTROLLER, repeatable=True)
    def tunnel_read(self, tunnel: Word, offset: Annotated[Size, "bytes"]) -> bytes | None:
        """Bytes that follow the first `offset` ones received, waiting a few seconds for some: b"" when
        none came, None at the end. Raises NetworkError once the tunnel is closed."""

    @call(timeout=SHORT, allow=CONTROLLER, repeatable=True)
    def tunnel_close(self, tunnel: Word) -> None:
        """Nothing there: fine."""
