"""What libzmq tells of connections: on a bound socket who was turned away and who stays too long,
on a dialled one whether it is up, refused or cut.
"""

from __future__ import annotations

import _socket
import logging
import os
import socket as sockets
import struct
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import zmq

from nova0.mesh.addresses import with_scope
from nova0.mesh.driven import Driven
from nova0.mesh.refusals import Refusals
from nova0.mesh.zap import plain_address
from nova0.native import offload

LOG = logging.getLogger(__name__)
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
NAME_S = 1.0
CLOSING = {"04", "05", "06", "0B"}  # FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSING
SLOW_S = 1.0  # a peer with another key ends a handshake at once; who takes longer has much to do
UNKNOWN_KEY = 400  # the ZAP status, as libzmq hands it to the client


def _watch(context: zmq.Context, watched: zmq.Socket[bytes], events: int, heard: Callable[[int, int], None]) -> Driven:
    """Drive the monitor of a socket: `heard(event, value)` runs in the hub."""
    name = f"inproc://monitor-{id(watched)}-{time.monotonic_ns()}"
    watched.monitor(name, events)
    pair = context.socket(zmq.PAIR)
    pair.connect(name)
    return _MonitorDriven(pair, heard)


class _MonitorDriven(Driven):
    def __init__(self, socket: zmq.Socket[bytes], event: Callable[[int, int], None]) -> None:
        self._event = event
        super().__init__(socket, lambda to, frame: None)

    def _take_one(self) -> None:
        event, value = struct.unpack("=hi", self.socket.recv_multipart(zmq.NOBLOCK)[0])
        try:
            self._event(event & 0xFFFF, value)
        except Exception:  # a monitor that is read no more fills up, and then libzmq's own thread waits for it
            LOG.exception("an event of a connection could not be handled")


class Gate:
    """Watches a bound socket. Logs who fails the handshake; at a door cuts who stays longer than
    `life_s` and who holds more than `most` connections from one address."""

    def __init__(
        self,
        context: zmq.Context,
        socket: zmq.Socket[bytes],
        refusals: Refusals,
        life_s: float | None = None,
        most: int | None = None,
        gone: Callable[[int, int], None] | None = None,
    ) -> None:
        """`gone(descriptor, inode)`: a connection that had been accepted is no more; the number may be taken
        by the next one already, the inode is not. 0: it went before it was seen."""
        self._refusals, self._life_s, self._most, self._gone = refusals, life_s, most, gone
        self._open: dict[int, tuple[str, float, int]] = {}  # descriptor -> (address, since, inode)
        self._failing = self._unnamed = ""
        self._closed = False
        self._watched = socket
        self._driven = _watch(context, socket, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | FAILED, self._event)

    def close(self) -> None:
        self._closed = True
        self._watched.disable_monitor()
        self._driven.close()

    def catch_up(self) -> None:
        """Hear now what has happened already."""
        self._driven.drain()

    def _name_later(self, why: str) -> None:
        """It was turned away before its address could be read. Programs that try again are mostly caught
        at a later try; else the kernel still knows whom it closed a connection with."""
        if not self._unnamed:
            self._unnamed = why
            gevent.spawn_later(NAME_S, self._name_now)

    def _name_now(self) -> None:
        if self._unnamed and not self._closed:
            port = int(self._watched.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").rpartition(":")[2])  # type: ignore[union-attr]
            for address in offload(closing_with, port)[:3] or ["an unknown address"]:
                self._refusals.note(address, f"{self._unnamed} (not a nova0 node of this cluster)")
        self._unnamed = ""

    def sweep(self) -> None:
        """Cut connections that are older than their life; call now and then."""
        if self._life_s is not None:
            oldest = time.monotonic() - self._life_s
            for descriptor, (_, since, _) in list(self._open.items()):
                if since < oldest:
                    self._cut(descriptor)

    def _event(self, event: int, value: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            self._accepted(value)
        elif event & FAILED:
            # libzmq names no descriptor here; the disconnection of the same peer follows at once
            self._failing = "wrong key" if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH else "no CURVE handshake"
        else:
            address, _, inode = self._open.pop(value, ("", 0.0, 0))
            if self._gone is not None:
                self._gone(value, inode)
            failing, self._failing = self._failing, ""
            if failing and address:
                self._unnamed = ""
                self._refusals.note(address, f"{failing} (not a nova0 node of this cluster)")
            elif failing:
                self._name_later(failing)

    def _accepted(self, descriptor: int) -> None:
        connection = _connection(descriptor)
        if connection is None:
            return
        try:
            address = plain_address(with_scope(connection.getpeername()))
            inode = os.fstat(connection.fileno()).st_ino
        except (OSError, IndexError):
            return
        finally:
            connection.close()
        self._open[descriptor] = (address, time.monotonic(), inode)
        if self._most is not None and sum(a == address for a, _, _ in self._open.values()) > self._most:
            self._refusals.note(address, f"more than {self._most} connections at the door")
            self._cut(descriptor)

    def _cut(self, descriptor: int) -> None:
        """Shut one TCP connection without touching libzmq's hold on it."""
        _, _, inode = self._open.pop(descriptor)
        shut(descriptor, inode)


class Lines:
    """The live connections of one bound socket by the key that spoke on them, so that they can be cut:
    ZAP is asked at the handshake only. As many entries as this process has descriptors, at most."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[str, int]] = {}  # descriptor -> (User-Id, inode)

    def note(self, user: str, frame: zmq.Frame) -> None:
        """This frame came over a connection of that key."""
        try:
            descriptor = int(frame.get("__fd"))
            self._of[descriptor] = user, os.fstat(descriptor).st_ino
        except (zmq.ZMQError, ValueError, OSError):
            return  # gone already

    def cut(self, user: str) -> int:
        """Cut all of that key; how many."""
        found = [(descriptor, inode) for descriptor, (whose, inode) in self._of.items() if whose == user]
        for descriptor, inode in found:
            del self._of[descriptor]
            shut(descriptor, inode)
        return len(found)


def shut(descriptor: int, inode: int) -> None:
    """Shut one TCP connection without touching libzmq's hold on it; nothing where it is another by now."""
    connection = _connection(descriptor)
    if connection is None:
        return
    try:
        if os.fstat(connection.fileno()).st_ino == inode:
            connection.shutdown(sockets.SHUT_RDWR)
    except OSError:
        return  # gone by itself
    finally:
        connection.close()


def _connection(descriptor: int) -> _socket.socket | None:
    """A socket object over a copy of a descriptor of libzmq's. None: closed meanwhile, and its number perhaps
    taken by something that is no socket. Not gevent's class, which would watch it."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        return _socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def closing_with(port: int) -> list[str]:
    """Addresses this machine has just closed TCP connections of local `port` with, from /proc."""
    found: dict[str, None] = {}
    for path, family in (("/proc/net/tcp", sockets.AF_INET), ("/proc/net/tcp6", sockets.AF_INET6)):
        try:
            rows = Path(path).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in (row for row in rows if f":{port:04X} " in row):  # a controller has thousands
            _, local, remote, state, *_ = row.split()
            if int(local.rpartition(":")[2], 16) == port and state in CLOSING:
                raw = bytes.fromhex(remote.partition(":")[0])
                words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
                found[sockets.inet_ntop(family, words)] = None
    return list(found)


class Dialled:
    """Watches one connecting socket: `cut(reason)` is called once, when it cannot be or is no more."""

    def __init__(self, context: zmq.Context, socket: zmq.Socket[bytes], cut: Callable[[str, bool], None]) -> None:
        self._cut, self._said = cut, False
        self.reached = self.up = False  # TCP stands; the handshake is done
        self._since = time.monotonic()  # not since TCP stood: of that a busy process hears late
        self._watched = socket
        self._driven = _watch(
            context,
            socket,
            zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_SUCCEEDED | FAILED,
            self._event,
        )

    def close(self) -> None:
        self._said = True
        if not self._watched.closed:
            self._watched.disable_monitor()
        self._driven.close()

    def _event(self, event: int, value: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.up = True
        elif event == zmq.EVENT_CONNECTED:
            self.reached = True
        elif not self._said:
            self._said = True
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._cut("does not know our key", value == UNKNOWN_KEY)
            elif event & FAILED and time.monotonic() - self._since > SLOW_S:
                self._cut("does not complete the handshake in time: it is busy, or stopped", False)
            elif event & FAILED:
                self._cut("does not complete the handshake: another key, or not nova0", True)
            elif event == zmq.EVENT_CLOSED:
                self._cut("nothing listens there: its process ended", False)
            else:
                self._cut("link cut" if self.up else "closed during the handshake", False)
