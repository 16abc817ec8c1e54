"""The metadata service at 169.254.169.254: one listener for each network, in that network's namespace.

Who asks is known by network and source address (anti-spoofing holds it true). Answers come from this
host's own records, so they go on while the controller is down. No mesh and no devices may enter.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from gevent import pywsgi, socket
from gevent.pool import Pool

from nova0.objects import metadata
from nova0.objects.instance import Instance

LOG = logging.getLogger(__name__)
AT_ONCE = 64  # requests of one network worked on; more wait, so that a guest can't exhaust the host
SLOW_S = 10.0  # a guest that says nothing for so long is hung up on
SEED_BYTES = 512

Lookup = Callable[[str, str], Instance | None]  # (network id, source address)


class Place(Protocol):
    """Where a listener is made; another `identity` is another place."""

    identity: int

    def socket(self) -> socket.socket: ...


class MetadataServer:
    """`lookup` finds the instance that asks."""

    def __init__(self, host: str, lookup: Lookup, port: int = 80, address: str = "169.254.169.254") -> None:
        self.host, self._lookup, self._port, self._address = host, lookup, port, address
        self._listeners: dict[str, _Server] = {}

    def serve(self, network_id: str, place: Place | None) -> tuple[str, int]:
        """Answer guests of the network from its namespace (None: from the machine, for tests); returns where.
        Already served there: fine. What keeps it from listening is told in the log, and it is tried again at the
        next call: a network without metadata is better than none."""
        known = self._listeners.get(network_id)
        identity = place.identity if place is not None else 0
        if known is not None and known.place == identity:
            return known.address
        self.stop(network_id)  # a namespace that was made anew is another one
        try:
            listener = self._listener(place)
        except OSError as error:
            LOG.error(
                "%s: metadata service of network %s: cannot listen on %s port %s (%s); tried again soon",
                *(self.host, network_id, self._address, self._port, error),
            )
            return ("", 0)
        server = _Server(
            listener,
            self._application(network_id),
            handler_class=_Handler,
            spawn=Pool(AT_ONCE),
            log=None,
            error_log=LOG,
        )
        server.place = identity
        server.start()
        self._listeners[network_id] = server
        return listener.getsockname()

    def stop(self, network_id: str) -> None:
        server = self._listeners.pop(network_id, None)
        if server is not None:
            server.stop(timeout=1)

    def close(self) -> None:
        for network_id in list(self._listeners):
            self.stop(network_id)

    def _listener(self, place: Place | None) -> socket.socket:
        listener = place.socket() if place is not None else socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._address, self._port))
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener

    def _application(self, network_id: str) -> Callable[..., Iterable[bytes]]:
        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            instance = self._lookup(network_id, environ["REMOTE_ADDR"])
            status, kind, body = answer(instance, environ["REQUEST_METHOD"], environ["PATH_INFO"])
            headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
            if status.startswith("405"):
                headers.append(("Allow", "GET, HEAD"))
            start_response(status, headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        return application


def answer(instance: Instance | None, method: str, path: str) -> tuple[str, str, bytes]:
    """Status, content type and body for one request of `instance` (None: nobody we know)."""
    path = "/".join(part for part in path.split("/") if part)
    if instance is None:
        return "404 Not Found", "text/plain", b"no server of this network has your address\n"
    versions = metadata.OPENSTACK_VERSIONS
    if path in [f"openstack/{version}/password" for version in versions]:
        text = b"passwords set by guests are not kept by this cloud: use a key pair\n"
        return "501 Not Implemented", "text/plain", text
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", "text/plain", b"metadata is read only\n"
    files = metadata.tree(instance, os.urandom(SEED_BYTES))
    if path in files:
        return "200 OK", _kind(path), files[path]
    listed = metadata.listing(instance, files, path)
    if listed is None:
        return "404 Not Found", "text/plain", f"there is no /{path} here\n".encode()
    return "200 OK", "text/plain; charset=utf-8", listed


def _kind(path: str) -> str:
    if path.endswith(".json"):
        return "application/json"
    return "application/octet-stream" if path.endswith(("user_data", "user-data")) else "text/plain; charset=utf-8"


class _Handler(pywsgi.WSGIHandler):
    def log_request(self) -> None:
        LOG.debug("%s %s", self.client_address, self.requestline)


class _Server(pywsgi.WSGIServer):
    place = 0  # identity of the namespace it listens in

    def handle(self, sock: Any, address: Any) -> None:
        sock.settimeout(SLOW_S)
        super().handle(sock, address)
