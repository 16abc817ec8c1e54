"""`GET /metrics` for Prometheus: a listener of its own, off unless an address is given. What it tells is not
secret, but who reaches the address reads it without asking: so loopback, unless another address is named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from nova0.mesh.door import bracket
from nova0.mesh.errors import BadArguments, Busy
from nova0.metrics import CONTENT_TYPE, Family, render
from nova0.native import offload

LOG = logging.getLogger(__name__)
MOST_CONNECTIONS = 8
LIFE_S = 10.0  # of one connection


class Scraped:
    """`families()` is asked at each scrape. Raises BadArguments for an address that is none."""

    def __init__(self, listen: str, families: Callable[[], list[Family]]) -> None:
        self._families = families
        host, port = address(listen)
        self.where = f"{bracket(host)}:{port}"
        self._server = WSGIServer(
            (host, port), self._answer, spawn=Pool(MOST_CONNECTIONS), log=None, error_log=LOG, handler_class=_Handler
        )

    @property
    def port(self) -> int:
        """The one bound, where 0 was asked for."""
        return int(self._server.server_port)

    def start(self) -> None:
        """Raises Busy when the address is taken or not ours."""
        try:
            self._server.start()
        except OSError as error:
            raise Busy(
                f"cannot listen on {self.where} for metrics: {error.strerror}; set another metrics_listen"
            ) from None

    def stop(self) -> None:
        self._server.stop(timeout=0.2)

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            status, body = "404 Not Found", b"/metrics is all there is here\n"
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"GET only\n"
        else:
            status, body = "200 OK", offload(render, self._families())  # the text, and its library, off the loop
        kind = CONTENT_TYPE if status.startswith("200") else "text/plain; charset=utf-8"
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class _Handler(WSGIHandler):
    """One connection, not for long."""

    def handle(self) -> None:
        with gevent.Timeout(LIFE_S, False):
            super().handle()


def address(text: str) -> tuple[str, int]:
    """ "HOST:PORT", "[V6]:PORT", or "PORT" on loopback. Raises BadArguments."""
    host, _, port = text.strip().rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadArguments(
            f"metrics_listen = {text!r}: wanted is HOST:PORT, or PORT on 127.0.0.1", field="metrics_listen"
        )
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
