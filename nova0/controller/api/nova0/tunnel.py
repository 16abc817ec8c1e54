"""A TCP port of a server, through its own host: GET with `Upgrade: nova0-tunnel`, then raw bytes both ways."""

from __future__ import annotations

import logging
from typing import Any

import gevent
from gevent.event import Event

from nova0.controller.api import connections, errors
from nova0.controller.api.errors import ApiError
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.network import books as networks
from nova0.controller.numbers import whole
from nova0.controller.services import Tunnel

log = logging.getLogger(__name__)

PIECE = 32 * 1024
AFTER_CLIENT_S = 60.0  # a guest that says nothing for so long after its client has ended


@route("GET", "/tunnel/<server_id>/<port>", needs="member", success=101, raw=True)
def open_tunnel(request: Request, server_id: str, port: str) -> Answer:
    """101 and raw bytes; 400 no port, 404 no such server, 409 it runs on no host, 426 without the upgrade, 502 no
    answer."""
    number = whole(port, most=65535)
    if not number:
        raise errors.bad_request(f"port: {port[:80]} is no TCP port: it must be 1 to 65535.")
    if (request.header("Upgrade") or "").lower() != "nova0-tunnel":
        raise ApiError(426, "Ask with 'Connection: Upgrade' and 'Upgrade: nova0-tunnel', as `nova0 ssh` does.")

    def closure() -> tuple[str, str, str]:
        row = InstanceRow.get_or_none(InstanceRow.uuid == server_id, InstanceRow.deleted_at.is_null())
        if row is None or not request.context.can_see(row.project_id):
            raise errors.not_found("Instance", server_id)
        ports = networks.ports_of(server_id)
        if not row.host or not ports:
            raise errors.conflict(f"Instance {server_id} has no host or no address yet.")
        return row.host, ports[0].network_id, ports[0].ip

    host, network_id, ip = request.store.read(closure)
    try:
        tunnel = request.services.guests.tunnel(host, network_id, ip, number)
    except Exception as error:
        raise ApiError(502, getattr(error, "message", None) or str(error)) from error
    gone = connections.of(request.environ).gone
    request.environ["nova0.takeover"] = lambda socket, rfile: _relay(tunnel, socket, rfile, gone)
    return Answer(None, headers={"Connection": "Upgrade", "Upgrade": "nova0-tunnel"})


def _relay(tunnel: Tunnel, socket: Any, rfile: Any, gone: Event) -> None:
    """Both ways until the guest's end, the client's and what is on its way then, or until `gone`: it gave way."""
    socket.settimeout(None)
    pieces = 0

    def down() -> None:
        nonlocal pieces
        while (piece := tunnel.read()) is not None:
            socket.sendall(piece)
            pieces += 1

    def up() -> None:
        while piece := rfile.read1(PIECE):
            tunnel.write(piece)
        tunnel.write(b"")

    ways = [gevent.spawn(_quietly, way) for way in (down, up)]
    try:
        gevent.wait([*ways, gone], count=1)
        before = -1
        while not (ways[0].ready() or gone.is_set() or pieces == before):
            before = pieces
            gevent.wait([ways[0], gone], timeout=AFTER_CLIENT_S, count=1)
    finally:
        gevent.killall(ways)
        tunnel.close()


def _quietly(way: Any) -> None:
    try:
        way()
    except Exception as error:  # noqa: BLE001 - a broken stream ends; the log has why
        log.info("tunnel ended: %s", error)
