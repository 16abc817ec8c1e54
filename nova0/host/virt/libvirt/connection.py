"""The one connection to libvirt: opened, kept alive, opened again; every call runs on a real thread.

Nothing of guests may enter; `Connection.call` hands the open virConnect to a function.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import gevent
import libvirt
from gevent.lock import RLock

from nova0 import native
from nova0.host.virt.libvirt.own_daemon import OwnDaemon
from nova0.objects.errors import DriverError

LOG = logging.getLogger(__name__)
T = TypeVar("T")

OWN = "own"  # value of libvirt.connection_uri: always nova0's own libvirtd
SYSTEM = "qemu:///system"
SYSTEM_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
SYSTEMD = Path("/run/systemd/system")
SYSTEM_UNITS = tuple(
    f"{folder}/systemd/system/{unit}.service"
    for folder in ("/etc", "/lib", "/usr/lib")
    for unit in ("libvirtd", "virtqemud")
)
KEEPALIVE_S, KEEPALIVE_MISSES = 5, 3
AGAIN_S = 3.0  # at most between attempts to open a lost connection again
LOST = {
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_SYSTEM_ERROR,
}

_event_loop_runs = False


def run_event_loop() -> None:
    """libvirt's event loop in a real thread, once per process, before the first connection."""
    global _event_loop_runs
    if _event_loop_runs:
        return
    _event_loop_runs = True
    libvirt.registerErrorHandler(lambda context, error: None, None)  # errors are raised; not printed too
    libvirt.virEventRegisterDefaultImpl()

    def loop() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    native.thread(loop)


class Connection:
    """`uri` "" finds one: the machine's libvirtd if it answers, else nova0's own. `opened` is called with
    every new virConnect, on a real thread (to subscribe to events)."""

    def __init__(self, host: str, state_dir: Path, uri: str, opened: Callable[[Any], None]) -> None:
        self.host, self._uri, self._opened = host, uri, opened
        self.daemon = OwnDaemon(host, state_dir)
        self._conn: Any = None
        self._hand = RLock()
        self._closed = False
        self._gone: native.Mailbox | None = None
        self.uses_own = False

    def open(self) -> None:
        """Connect. Raises DriverError saying what was tried and what to do."""
        run_event_loop()
        self._closed = False
        with self._hand:
            self._gone = self._gone or native.Mailbox(self._heard_it_closed)
            if self._conn is None:
                uri = self._find()
                conn, trouble = native.offload(_attempt, _open, uri)
                if trouble is None:
                    _, trouble = native.offload(_attempt, self._prepare, conn)
                if trouble is not None:
                    raise DriverError(f"{self.host}: cannot connect to libvirt at {uri}: {trouble}: {_remedy()}")
                self._conn = conn

    def close(self) -> None:
        self._closed = True
        with self._hand:
            conn, self._conn = self._conn, None
        if conn is not None:
            native.offload(_close, conn)
        if self._gone is not None:
            self._gone.close()
            self._gone = None

    def call(self, step: str, work: Callable[[Any], T]) -> T:
        """`work(virConnect)` on a real thread. A lost connection is opened again and the work done once
        more: work must bear repeating. libvirt's other errors become DriverError with its words."""
        for last in (False, True):
            self.open()
            conn = self._conn
            outcome, error = native.offload(_attempt, work, conn)
            if error is None:
                return cast(T, outcome)
            if not isinstance(error, libvirt.libvirtError):
                raise error
            if last or not self._is_lost(conn, error):
                raise DriverError(f"{self.host}: {step}: {error}") from error
            LOG.warning("%s: the connection to libvirt was lost (%s); opening it again", self.host, error)
            self._drop(conn)
        raise AssertionError("unreachable")

    def _prepare(self, conn: Any) -> None:
        """On a real thread, for each new connection: events, and word when it breaks."""
        gone = self._gone
        if gone is not None:
            conn.registerCloseCallback(lambda closed, reason, opaque: gone.post(conn), None)
        self._opened(conn)

    def _drop(self, conn: Any) -> None:
        with self._hand:
            if self._conn is conn:
                self._conn = None
                native.offload(_close, conn)

    def _heard_it_closed(self, conn: Any) -> None:
        """In the loop, once libvirt says the connection is gone though nobody asked anything: without one
        there are no events, so it is opened again at once, then every few seconds."""
        if conn is self._conn:
            gevent.spawn(self._open_again, conn)

    def _open_again(self, conn: Any) -> None:
        self._drop(conn)
        wait_s = 0.2
        while not self._closed and self._conn is None:
            try:
                self.open()
            except DriverError as error:
                LOG.warning("%s; trying again", error.message)
                gevent.sleep(wait_s)
                wait_s = min(wait_s * 2, AGAIN_S)

    @staticmethod
    def _is_lost(conn: Any, error: libvirt.libvirtError) -> bool:
        if error.get_error_code() not in LOST and error.get_error_domain() != libvirt.VIR_FROM_RPC:
            return False
        answers, trouble = native.offload(_attempt, _answers, conn)
        return trouble is not None or not answers

    def _find(self) -> str:
        if self._uri and self._uri != OWN:
            return self._uri
        if not self._uri and self._system_answers():
            self.uses_own = False
            return SYSTEM
        self.daemon.start()  # waits by sleeping: the loop goes on
        self.uses_own = True
        return self.daemon.uri

    def _system_answers(self) -> bool:
        if not any(Path(path).exists() for path in SYSTEM_SOCKETS):
            # Debian's libvirt-daemon alone brings no service: then there is nobody's daemon to wait for.
            if SYSTEMD.is_dir() and any(Path(unit).exists() for unit in SYSTEM_UNITS):
                raise DriverError(f"{self.host}: no libvirtd runs here: systemctl enable --now libvirtd")
            return False
        conn, error = native.offload(_attempt, _open, SYSTEM)
        if error is not None:
            if SYSTEMD.is_dir() or os.geteuid() != 0:
                raise DriverError(f"{self.host}: libvirtd does not answer: {error}: {_remedy()}") from error
            return False  # a socket left behind by a daemon that is gone
        native.offload(_close, conn)
        return True


def _attempt(work: Callable[..., T], *arguments: Any) -> tuple[T, None] | tuple[None, Exception]:
    """What came of `work`; errors as values, since a thread pool prints those that are raised."""
    try:
        return work(*arguments), None
    except Exception as error:  # noqa: BLE001  raised again by whoever asked
        return None, error


def _open(uri: str) -> Any:
    """On a real thread, where nothing is logged: log handlers belong to the loop."""
    conn = libvirt.open(uri)
    with contextlib.suppress(libvirt.libvirtError):  # a driver without a daemon has nothing to keep alive
        conn.setKeepAlive(KEEPALIVE_S, KEEPALIVE_MISSES)
    return conn


def _close(conn: Any) -> None:
    for step in (conn.unregisterCloseCallback, conn.close):  # a broken connection refuses both
        with contextlib.suppress(libvirt.libvirtError):
            step()


def _answers(conn: Any) -> bool:
    return bool(conn.isAlive()) and conn.getHostname() is not None


def _remedy() -> str:
    if os.geteuid() == 0:
        return "start libvirtd, or set libvirt.connection_uri"
    return "add this user to the group libvirt (adduser $USER libvirt, then log in anew)"
