"""The HTTP server: gevent's, with bounds on connections, heads, bodies, answers and idle time, and TLS.

Knows WSGI only; whose application it serves is none of its business.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import socket
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from nova0.controller.api.access_log import AccessLog
from nova0.controller.api.connections import Connection, Connections, GaveWay, NoRoom
from nova0.controller.api.http_body import Body
from nova0.controller.api.http_head import LINE_MOST_BYTES, BadRequest, Head, read_head
from nova0.native import is_patched

LOG = logging.getLogger(__name__)

BACKLOG = 4096  # waiting connections; the kernel cuts it to net.core.somaxconn
CONNECTIONS_MOST = 2000  # of all clients; fewer where the process may have few descriptors
PER_ADDRESS = 256
HEADERS_WITHIN_S = 20.0
IDLE_S = 75.0  # a kept-alive connection without a request, or a body or answer that stands still
DISCARD_MOST_BYTES = 1024 * 1024  # of a body nobody read, to keep the connection; beyond that it is closed
DISCARD_WITHIN_S = 20.0
SEND_BYTES = 64 * 1024  # of an answer, within IDLE_S each
LOOK_AGAIN_S = 0.1  # after the descriptors were spent
_SPENT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class PortTaken(Exception):
    """The address can't be listened on; the message names the holder where known, and the remedy."""


class _Address(tuple):  # type: ignore[type-arg]
    """A client's address as accept() gives it, with its place in the table of connections."""

    connection: Connection


class _Handler(WSGIHandler):
    """One connection: reads requests by the letter (http_head, http_body) and minds its bounds."""

    head: Head
    code: int | None
    response_length: int

    @property
    def connection(self) -> Connection:
        found: Connection = self.client_address.connection
        return found

    def handle(self) -> None:
        try:
            self.connection.transport = self.socket
            self.socket.settimeout(IDLE_S)
            super().handle()
        except (ssl.SSLError, OSError) as error:
            LOG.debug("%s: %s", self.client_address, error)

    def read_requestline(self) -> str:
        gevent.sleep(0)  # requests sent in one go are answered in turn with those of others
        with (
            self.connection.waiting(between_requests=True),
            gevent.Timeout(IDLE_S, TimeoutError("no request came")),
        ):
            line = self.rfile.readline(LINE_MOST_BYTES)
            if line == b"\r\n":  # some clients end a body with one too many
                line = self.rfile.readline(LINE_MOST_BYTES)
        if not line.endswith(b"\n") and len(line) < LINE_MOST_BYTES:
            return ""  # gone before its end
        return str(line, "latin-1")

    def read_request(self, raw_requestline: str) -> bool:
        self.requestline = raw_requestline.rstrip("\r\n")
        with (
            self.connection.waiting(),
            gevent.Timeout(HEADERS_WITHIN_S, BadRequest(400, f"Headers took longer than {HEADERS_WITHIN_S:.0f} s.")),
        ):
            self.head = read_head(raw_requestline, self.rfile)
        self.command, self.request_version = self.head.method, self.head.version
        self.path = self.head.path + (f"?{self.head.query}" if self.head.query else "")
        self.content_length, self.close_connection = self.head.length, not self.head.keep
        return True

    def get_environ(self) -> dict[str, Any]:
        head, environ = self.head, self.server.get_environ()
        environ |= {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": _unquoted(head.path),
            "QUERY_STRING": head.query,
            "SERVER_PROTOCOL": head.version,
            "REMOTE_ADDR": str(self.client_address[0]) if self.client_address else "",
            "nova0.connection": self.connection,
        }
        for name, value in head.fields:
            if "_" in name:
                continue  # would pass for the same name with a dash
            key = name.replace("-", "_").upper()
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
            if key in environ:
                value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
            environ[key] = value
        go_on = self._go_on if head.asks_to_go_on else None
        self.wsgi_input = Body(self.rfile, head.length, head.chunked, go_on)
        environ["wsgi.input"], environ["wsgi.input_terminated"] = self.wsgi_input, True
        return dict(environ)

    def _go_on(self) -> None:
        self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def run_application(self) -> None:
        super().run_application()
        if self._must_close():
            self.close_connection = True
            self._linger()
        elif not self.wsgi_input.done:
            self._discard()
        if self.connection_upgraded and "nova0.takeover" in self.environ:
            with self.connection.waiting():  # it may have to give way
                self.environ["nova0.takeover"](self.socket, self.rfile)

    def _must_close(self) -> bool:
        """A body is left of which the end is not known, or too far."""
        body: Body = self.wsgi_input
        if body.done:
            return False
        if self.environ.get("nova0.unread") or body.broken or body.waits_for_leave or body.expected is None:
            return True
        return body.expected > DISCARD_MOST_BYTES

    def _discard(self) -> None:
        try:
            with (
                self.connection.waiting(),
                gevent.Timeout(DISCARD_WITHIN_S, TimeoutError("the rest of a body did not come")),
            ):
                while self.wsgi_input.read(SEND_BYTES):
                    pass
        except OSError:
            self.close_connection = True

    def _linger(self) -> None:
        """Take in a little of what the client still sends, so that it reads the answer before a reset."""
        taken = 0
        try:
            if not isinstance(self.socket, ssl.SSLSocket):
                self.socket.shutdown(socket.SHUT_WR)
            with self.connection.waiting(), gevent.Timeout(1.0, False):
                while taken < 4 * DISCARD_MOST_BYTES:
                    piece = self.socket.recv(65536)
                    if not piece:
                        break
                    taken += len(piece)
                    gevent.sleep(0)
        except OSError:
            return

    def finalize_headers(self) -> None:
        if self._must_close():
            self.close_connection = True
        if self.close_connection and not any(name.lower() == b"connection" for name, _ in self.response_headers):
            self.response_headers.append((b"Connection", b"close"))
        super().finalize_headers()

    def _sendall(self, data: Any) -> None:
        """Piece by piece: a client that takes nothing for IDLE_S is gone, and until then may have to give way."""
        view, connection = memoryview(data), self.connection
        try:
            connection.take_answer(len(view))
            for start in range(0, len(view), SEND_BYTES):
                with connection.waiting():
                    self.socket.sendall(view[start : start + SEND_BYTES])
        except OSError:
            self.code = -abs(self.code or 0)
            raise
        finally:
            connection.leave_answer(len(view))
        self.response_length += len(view)

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        if isinstance(v, OSError):  # the client went away, stood still or gave way; or the answer's source broke
            self.close_connection = True
            if not isinstance(v, GaveWay):
                LOG.info("%s: the answer was cut: %s", self.client_address, v)
        else:
            super().handle_error(t, v, tb)

    def _handle_client_error(self, ex: Exception) -> None:
        """Tell the client what it did, and end the connection."""
        if isinstance(ex, OSError):
            return
        if not isinstance(ex, BadRequest):
            LOG.error("a request could not be read", exc_info=ex)
            ex = BadRequest(500, "The request could not be read.")
        text = {"error": {"code": ex.status, "title": HTTPStatus(ex.status).phrase, "message": ex.message}}
        body = json.dumps(text).encode()
        head = (
            f"HTTP/1.1 {ex.status} {HTTPStatus(ex.status).phrase}\r\nContent-Type: application/json\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.code = ex.status
        try:
            self._sendall(head.encode() + body)
        except OSError:
            return
        self.time_finish = time.time()
        self.log_request()
        self._linger()

    def log_request(self) -> None:
        took_ms = (self.time_finish - self.time_start) * 1000 if self.time_finish else 0.0
        line, length = self.requestline or "", self.response_length or 0
        self.server.access_log.note(self.connection, line, self.code or 0, length, took_ms)

    def log_error(self, msg: str, *args: Any) -> None:
        LOG.info("%s", msg % args if args else msg)


class _Server(WSGIServer):
    handler_class = _Handler
    max_accept = 8  # at a time: those that are connected have their turn in between
    connections: Connections
    access_log: AccessLog

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in _SPENT:
                raise
        LOG.warning("no descriptor for another connection: raise LimitNOFILE of the service")
        self.connections.end_one()
        self.stop_accepting()
        self._timer = self.loop.timer(LOOK_AGAIN_S)
        self._timer.start(self._start_accepting_if_started)
        return None

    def do_handle(self, client_socket: Any, address: Any) -> None:
        try:
            connection = self.connections.admit(address, client_socket)
        except NoRoom as error:
            LOG.debug("turned away: %s", error)
            if not self.ssl_enabled:
                try:
                    client_socket._sock.send(_FULL)
                except OSError:
                    pass
            client_socket.close()
            return
        known = _Address(address)
        known.connection = connection
        super().do_handle(client_socket, known)

    def do_close(self, client_socket: Any, *more: Any) -> None:
        super().do_close(client_socket, *more)
        if more and isinstance(more[0], _Address):
            self.connections.remove(more[0].connection)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """The TLS handshake under the same time limit as headers; a client that fails it is no error of ours."""
        client_socket.settimeout(HEADERS_WITHIN_S)
        wrapped = None
        try:
            with gevent.Timeout(HEADERS_WITHIN_S, TimeoutError("no handshake")):
                wrapped = self.wrap_socket(client_socket, do_handshake_on_connect=False, **self.ssl_args)
                address.connection.transport = wrapped  # it may have to give way before it has said anything
                wrapped.do_handshake()
        except (ssl.SSLError, OSError) as error:
            LOG.debug("%s: TLS handshake failed: %s", address, error)
            if wrapped is not None:
                wrapped.close()
            return None
        with wrapped:
            return self.handle(wrapped, address)


def _unquoted(path: str) -> str:
    """As WSGI has it: the bytes behind %XX as latin-1."""
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


class Handle:
    """A server that runs: `.host`, `.port`, `.stop()`."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        self.host: str = server.server_host
        self.port: int = server.server_port

    def stop(self, within_s: float = 2.0) -> None:
        """Stop listening, give running requests `within_s`, then end them."""
        self._server.stop(timeout=within_s)


def serve(
    app: Callable[..., Any],
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    per_address: int = PER_ADDRESS,
) -> Handle:
    """Listen on host:port (0: any free one) and serve `app` in the background; `per_address` connections from one
    address at most. PortTaken when that can't be."""
    if not is_patched():
        raise RuntimeError("the API server needs gevent's patches: run monkey.patch_all() at the process's entry")
    listener = _listen(host, port)
    more: dict[str, Any] = {"ssl_context": tls} if tls else {}
    server = _Server(listener, app, spawn=Pool(), log=None, error_log=None, **more)
    server.connections = Connections(_most(), per_address)
    server.access_log = AccessLog()
    server.start()
    return Handle(server)


def _most() -> int:
    """Half of the descriptors this process may have: the other half is for hosts, streams and files."""
    may_have = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if may_have == resource.RLIM_INFINITY or may_have >= 2 * CONNECTIONS_MOST:
        return CONNECTIONS_MOST
    LOG.warning("the API takes %d connections at most: this process may have %d descriptors", may_have // 2, may_have)
    return may_have // 2


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
