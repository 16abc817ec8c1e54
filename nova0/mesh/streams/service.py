"""What one node knows of its streams, however they are carried: tickets, handlers at work, bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from nova0.mesh import offers as dispatch
from nova0.mesh.errors import Busy, MeshError, StreamBroken
from nova0.mesh.streams.stream import Handler, Stream
from nova0.mesh.streams.tickets import Ticket, TicketBook

LOG = logging.getLogger(__name__)


class Service:
    """Tickets offered here and every open stream of this node, whoever opened it."""

    def __init__(self, node: str, most: int = 256) -> None:
        self.node, self._most = node, most
        self.tickets = TicketBook(node)
        self.open: set[Stream] = set()
        self.opened = 0
        self._handlers: set[gevent.Greenlet] = set()

    def offer(self, purpose: str, handler: Handler, peer: str | None, expires_s: float, uses: int) -> Ticket:
        """As `Bus.offer_stream`."""
        if peer is None:
            peer = dispatch.running().caller.node
        return self.tickets.make(purpose, handler, peer, expires_s, uses)

    def check_room(self, host: str = "") -> None:
        """Raises Busy at the bound of open streams, and where `host` has as many as it would leave to others."""
        free = self._most - len(self.open)
        theirs = sum(stream.peer.partition("/")[0] == host for stream in self.open) if host else 0
        if free <= 0 or theirs >= free:
            raise Busy(f"{self.node}: {len(self.open)} streams are open; ask again later")

    def add(self, stream: Stream) -> None:
        self.open.add(stream)
        self.opened += 1

    def gone(self, stream: Stream) -> None:
        """Every stream calls this once, at its end."""
        self.open.discard(stream)

    def serve(self, stream: Stream, handler: Handler) -> None:
        """Run the handler in a greenlet of its own; its end is the stream's, its error the other side's."""
        greenlet = gevent.Greenlet(self._run, stream, handler)
        self._handlers.add(greenlet)
        greenlet.rawlink(self._handlers.discard)
        greenlet.start()

    def _run(self, stream: Stream, handler: Handler) -> None:
        try:
            with stream:
                handler(stream)
        except MeshError as error:
            LOG.info("%s: %s: %s", self.node, stream, error)
        except Exception:  # told to the other side; the node goes on
            LOG.exception("%s: %s: its handler failed", self.node, stream)

    @property
    def at_work(self) -> int:
        """Handlers that have not returned."""
        return len(self._handlers)

    def cut(self, concerns: Callable[[Stream], bool], why: str) -> None:
        """Break the streams that match, here at once; the other side learns it from its own eyes."""
        for stream in [s for s in self.open if concerns(s)]:
            stream.broken(StreamBroken(f"{stream}: {why}"))

    def close(self) -> None:
        """Tell every peer, then end the handlers."""
        for stream in list(self.open):
            stream.close(StreamBroken(f"{self.node} stopped: stream {stream.purpose}"))
        gevent.killall(list(self._handlers), block=False)
