"""The HTTP server: gevent's, with bounds on connections, headers, idle time and unread bodies, and TLS.

Knows WSGI only; whose application it serves is none of its business.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from nova0.native import is_patched

LOG = logging.getLogger(__name__)
ACCESS = logging.getLogger("nova0.api.access")

BACKLOG = 4096  # waiting connections; the kernel cuts it to net.core.somaxconn
CONNECTIONS_MOST = 2000
HEADERS_WITHIN_S = 20.0
IDLE_S = 75.0  # a kept-alive connection without a request, or a body that stands still
DISCARD_MOST_BYTES = 1024 * 1024  # of a body nobody read, to keep the connection; beyond that it is closed


class PortTaken(Exception):
    """The address can't be listened on; the message names the holder where known, and the remedy."""


class _Handler(WSGIHandler):
    """One connection. Bounds reading the request line and headers together, and what is read for nothing."""

    def handle(self) -> None:
        try:
            self.socket.settimeout(IDLE_S)
            super().handle()
        except (ssl.SSLError, OSError) as error:
            LOG.debug("%s: %s", self.client_address, error)

    def read_requestline(self) -> str:
        with gevent.Timeout(IDLE_S, TimeoutError("no request came")):
            return str(super().read_requestline())

    def read_request(self, raw_requestline: str) -> bool:
        with gevent.Timeout(HEADERS_WITHIN_S, ValueError(f"headers took longer than {HEADERS_WITHIN_S:.0f} s")):
            return bool(super().read_request(raw_requestline))

    def run_application(self) -> None:
        super().run_application()
        body = self.wsgi_input
        left = (body.content_length or 0) - body.position
        if self.environ.get("nova0.unread") or left > DISCARD_MOST_BYTES:
            self.close_connection = True
            self._linger()
            body.content_length, body.chunked_input = body.position, False  # nothing left to discard

        if self.connection_upgraded and "nova0.takeover" in self.environ:
            self.environ["nova0.takeover"](self.socket, self.rfile)

    def _linger(self) -> None:
        """Take in a little of what the client still sends, so that it reads the answer before a reset."""
        if not isinstance(self.socket, ssl.SSLSocket):
            self.socket.shutdown(socket.SHUT_WR)
        taken = 0
        with gevent.Timeout(1.0, False):
            try:
                while taken < 4 * DISCARD_MOST_BYTES:
                    piece = self.socket.recv(65536)
                    if not piece:
                        break
                    taken += len(piece)
            except OSError:
                return

    def finalize_headers(self) -> None:
        if self.environ.get("nova0.unread"):
            self.response_headers.append((b"Connection", b"close"))
        super().finalize_headers()

    def log_request(self) -> None:
        if ACCESS.isEnabledFor(logging.INFO):
            took_ms = (self.time_finish - self.time_start) * 1000 if self.time_finish else 0.0
            ACCESS.info(
                '%s "%s" %s %d bytes %.1f ms',
                self.client_address[0] if isinstance(self.client_address, tuple) else "-",
                (self.requestline or "")[:512].rstrip(),
                str(getattr(self, "code", "-")),
                self.response_length,
                took_ms,
            )

    def log_error(self, msg: str, *args: Any) -> None:
        LOG.info("%s", msg % args if args else msg)


class _Server(WSGIServer):
    handler_class = _Handler

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """The TLS handshake under the same time limit as headers; a client that fails it is no error of ours."""
        client_socket.settimeout(HEADERS_WITHIN_S)
        try:
            with gevent.Timeout(HEADERS_WITHIN_S, TimeoutError("no handshake")):
                wrapped = self.wrap_socket(client_socket, **self.ssl_args)
        except (ssl.SSLError, OSError) as error:
            LOG.debug("%s: TLS handshake failed: %s", address, error)
            return None
        with wrapped:
            return self.handle(wrapped, address)


class Handle:
    """A server that runs: `.host`, `.port`, `.stop()`."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.host: str = server.server_host
        self.port: int = server.server_port

    def stop(self, within_s: float = 2.0) -> None:
        """Stop listening, give running requests `within_s`, then end them."""
        self._server.stop(timeout=within_s)


def serve(app: Callable[..., Any], host: str, port: int, tls: ssl.SSLContext | None = None) -> Handle:
    """Listen on host:port (0: any free one) and serve `app` in the background. PortTaken when that can't be."""
    if not is_patched():
        raise RuntimeError("the API server needs gevent's patches: run monkey.patch_all() at the process's entry")
    listener = _listen(host, port)
    more: dict[str, Any] = {"ssl_context": tls} if tls else {}
    server = _Server(listener, app, spawn=Pool(CONNECTIONS_MOST), log=None, error_log=None, **more)
    server.start()
    return Handle(server)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Head and body of an answer are two writes: without this the second waits 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is taken{_holder(port)}: stop that, or choose another with api_port"
            ) from None
        raise PortTaken(f"can't listen on {host} port {port}: {error.strerror}: choose another with api_port") from None
    listener.setblocking(False)
    return listener


def _holder(port: int) -> str:
    """Who listens there: " by NAME (pid N)" as far as /proc tells this user, else empty."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        except OSError:
            continue
        inodes |= {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for link in (process / "fd").iterdir():
                if os.readlink(link).removeprefix("socket:[").rstrip("]") in inodes:
                    return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""
