"""The client's half of `GET /nova0/v1/tunnel/{server}/{port}`: an HTTP upgrade, then raw bytes both ways."""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import sys
from urllib.parse import urlsplit

from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure

CHUNK_BYTES = 65536
HEAD_MOST_BYTES = 16384
CONNECT_WITHIN_S = 15.0


def carry(cloud: Cloud, server_id: str, port: int) -> int:
    """Until either side closes. Raises Failure with the API's reason when it says no."""
    url = urlsplit(cloud.endpoint("compute"))
    path = f"/nova0/v1/tunnel/{server_id}/{port}"
    connection, early = _upgrade(
        cloud, url.scheme == "https", url.hostname or "", url.port or _default(url.scheme), path
    )
    with connection:
        if early:
            _write(1, early)
        _pump(connection)
    return 0


def _default(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _upgrade(cloud: Cloud, tls: bool, host: str, port: int, path: str) -> tuple[socket.socket, bytes]:
    connection: socket.socket
    try:
        connection = socket.create_connection((host, port), CONNECT_WITHIN_S)
        if tls:
            ca_file = cloud.entry.get("cacert")
            connection = ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=host)
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nX-Auth-Token: {cloud.token}\r\n"
            "Connection: Upgrade\r\nUpgrade: nova0-tunnel\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(CHUNK_BYTES)
            if not piece or len(head) > HEAD_MOST_BYTES:
                raise Failure(f"{host}:{port} closed the connection instead of opening a tunnel")
            head += piece
    except OSError as error:
        raise Failure(f"{host}:{port}: {error}: is the controller up?") from error
    head, _, early = head.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 101 " not in f"{status} ":
        reason = _rest(connection, head, early)
        connection.close()
        raise Failure(f"no tunnel: {status.partition(' ')[2]} {' '.join(reason.split())[:300]}")
    connection.settimeout(None)
    return connection, early


def _rest(connection: socket.socket, head: bytes, body: bytes) -> str:
    """The body of a refusal, as far as its length is told and it comes."""
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = min(int(lengths[0]), HEAD_MOST_BYTES) if lengths else 0
    while len(body) < wanted:
        piece = connection.recv(CHUNK_BYTES)
        if not piece:
            break
        body += piece
    return body.decode(errors="replace")


def _pump(connection: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        try:
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        except PermissionError:  # a regular file is always readable: send it whole
            connection.sendall(sys.stdin.buffer.read())
        while True:
            if isinstance(connection, ssl.SSLSocket) and connection.pending():
                ready = [connection.fileno()]
            else:
                ready = [key.fd for key, _ in selector.select()]
            if sys.stdin.fileno() in ready:
                data = os.read(sys.stdin.fileno(), CHUNK_BYTES)
                if data:
                    connection.sendall(data)
                else:
                    selector.unregister(sys.stdin.fileno())
                    if not isinstance(connection, ssl.SSLSocket):
                        connection.shutdown(socket.SHUT_WR)
            if connection.fileno() in ready:
                data = connection.recv(CHUNK_BYTES)
                if not data:
                    return
                _write(sys.stdout.fileno(), data)


def _write(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]
