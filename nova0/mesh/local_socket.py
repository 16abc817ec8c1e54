"""Where this machine's command line speaks to its node: a UNIX socket, never a peer of its own.

Who may connect is the file's mode (0660 with the group nova0, else 0600). What comes through counts as
a member on this host, nothing more: changing something elsewhere needs an operator's certificate.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import logging
import os
import socket as sockets
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import gevent
import msgspec
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer

from nova0 import trace
from nova0.mesh import wire
from nova0.mesh.asking import Asking
from nova0.mesh.certificate import Chain
from nova0.mesh.codec import decode, encode, wire_form
from nova0.mesh.errors import BadArguments, Busy, MeshError, NotAllowed, PutOut, Unreachable
from nova0.mesh.evicting import Evicting
from nova0.mesh.identity import Identity
from nova0.mesh.local_client import MAX_BYTES
from nova0.mesh.members import Member, Status
from nova0.mesh.offers import Offers
from nova0.mesh.orders import Orders
from nova0.mesh.rekeying import Rekeying
from nova0.mesh.roster import Roster
from nova0.mesh.rotation import Rotation
from nova0.mesh.settings import MeshSettings
from nova0.mesh.tombstones import as_rows

LOG = logging.getLogger(__name__)
MOST_CLIENTS = 64
MOST_EVENTS = 1000  # waiting for one slow watcher
LONGEST_NAME = 107  # of a UNIX socket: struct sockaddr_un has 108 bytes, the last is 0


class Home(Protocol):
    """What is asked of the node here."""

    settings: MeshSettings
    host: str
    node: str
    out: str
    identity: Identity
    roster: Roster
    offers: Offers
    asking: Asking
    evicting: Evicting
    rekeying: Rekeying
    rotation: Rotation
    orders: Orders

    def card(self) -> wire.Card: ...

    def chain(self, roots_known: int = 0) -> Chain: ...

    def members(self) -> list[Member]: ...

    def on_member(self, heard: Callable[[Member, Status], None]) -> None: ...

    def on_gap(self, heard: Callable[[str, str], None]) -> None: ...

    def on_cast(self, heard: Callable[[str, str, str, bytes], None]) -> None: ...

    def publish_cast(self, topic: str, method: str, body: bytes, *, plain: bool) -> None: ...


class LocalSocket:
    def __init__(self, node: Home) -> None:
        self._node = node
        self._path = Path(node.settings.socket_path)
        self._watchers: set[_Watcher] = set()
        self._server: StreamServer | None = None
        node.on_member(self._member)
        node.on_gap(lambda topic, publisher: self._event(event="gap", topic=topic, publisher=publisher))
        node.on_cast(self._cast)

    def start(self) -> None:
        """Raises Busy when another process answers there, OSError when the kernel takes no name so long."""
        if (size := len(os.fsencode(self._path))) > LONGEST_NAME:
            raise OSError(
                f"the socket for this machine's commands, {self._path}, would have a name of {size} bytes,"
                f" and the kernel takes {LONGEST_NAME}: choose a shorter state_path"
            )
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._clear()
        listener = socket.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        try:
            os.chown(self._path, -1, grp.getgrnam(self._node.settings.socket_group).gr_gid)
            os.chmod(self._path, 0o660)
        except (KeyError, PermissionError):
            LOG.debug("%s: no group %s to share it with", self._path, self._node.settings.socket_group)
        listener.listen(16)
        self._server = StreamServer(listener, self._serve, spawn=MOST_CLIENTS)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(timeout=0.2)
            self._server = None
            self._path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """A socket file nobody answers at is left from a crash."""
        if not self._path.exists():
            return
        with socket.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._path))
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    self._path.unlink()
                    return
        raise Busy(f"{self._path}: another nova0 node answers there; stop it, or give this one another socket_path")

    def _serve(self, connection: Any, _: Any) -> None:
        pid, uid, _gid = struct.unpack("3i", connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12))
        try:
            while (body := _read(connection)) is not None:
                question = _question(body)
                if question.get("op") == "watch":
                    self._watch(connection)
                    return
                try:
                    if question.get("op") == "call":
                        with _given_up_if_closed(connection):
                            answer = {"result": self._answer(question, uid, pid)}
                    else:
                        answer = {"result": self._answer(question, uid, pid)}
                except (MeshError, TypeError, ValueError) as error:
                    answer = {"error": wire_form(error)}
                except Exception as error:  # what the called method raised
                    LOG.exception("local %s failed", question.get("op"))
                    answer = {"error": wire_form(error)}
                _write(connection, answer)
        except (OSError, _HungUp) as error:
            LOG.debug("a local client went away: %s", error)
        finally:
            connection.close()

    def _answer(self, question: dict[str, Any], uid: int, pid: int) -> Any:
        op = question.get("op")
        if op == "tombstones":
            return as_rows(self._node.roster.tombstones)
        if self._node.out:
            raise PutOut(self._node.out)
        if op == "key_of":
            return self._key_of(_text(question, "name"))
        if op == "put_out":  # whoever brings it: the signature is the authority
            stone = question.get("stone")
            LOG.info("uid %d (pid %d) brings a tombstone", uid, pid)
            return as_rows(self._node.evicting.put_out([stone if isinstance(stone, bytes) else b""]))
        if op == "challenge":
            return self._node.asking.challenge(_text(question, "agent"), _text(question, "method"))
        if op == "call_proven":
            LOG.info("uid %d (pid %d) calls %s as an operator", uid, pid, question.get("method"))
            return self._call_proven(question)
        if op == "operator":
            shown = question.get("certificate")
            return self._node.asking.operator(shown if isinstance(shown, bytes) else b"")
        if op == "vouch":
            return self._vouch(question, uid)
        if op == "members":
            return msgspec.to_builtins(self._node.members())
        if op == "ping":
            return self._node.asking.ping(_text(question, "agent"), float(question.get("timeout_s") or 5))
        if op == "everyone":
            return self._node.asking.everyone(_text(question, "method"), float(question.get("timeout_s") or 5))
        if op == "metrics":
            return self._node.asking.metrics(question.get("agent"), float(question.get("timeout_s") or 5))
        if op == "describe":
            agent = question.get("agent")
            return self._node.asking.describe(str(agent)) if agent else self._node.offers.describe()
        if op == "order":
            return self._order(_text(question, "order"), question.get("arguments") or {}, uid, pid)
        arguments = question.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise BadArguments("arguments must be a mapping of names to values", field="arguments")
        method = _text(question, "method")
        if op == "cast":
            topic = _text(question, "topic")
            LOG.info("uid %d (pid %d) casts %s.%s", uid, pid, topic, method)
            self._node.publish_cast(topic, method, encode(arguments), plain=True)
            return None
        if op == "call":
            LOG.info("uid %d (pid %d) calls %s.%s", uid, pid, question.get("agent"), method)
            return self._call(question, method, arguments)
        raise BadArguments(f"no operation {op!r} here", field="op")

    def _order(self, order: str, arguments: dict[str, Any], uid: int, pid: int) -> Any:
        """What changes the cluster or this machine's place in it; members of the group may not."""
        if uid not in (0, os.geteuid()):
            raise NotAllowed(f"{self._node.node}: {order} is for root and the user nova0 runs as: use sudo")
        orders: dict[str, Callable[..., Any]] = {
            "adopt": self._node.orders.adopt,
            "rekey": self._node.rekeying.order,
            "signers": self._node.rotation.order,
            "root": self._node.rotation.order_root,
        }
        if order not in orders:
            raise BadArguments(f"no order {order!r} here", field="order")
        LOG.warning("uid %d (pid %d) orders %s", uid, pid, order)
        return orders[order](**arguments)

    def _call_proven(self, question: dict[str, Any]) -> Any:
        body, proof = question.get("body"), question.get("proof")
        if not isinstance(body, bytes) or not isinstance(proof, bytes) or not proof:
            raise BadArguments("body and proof: bytes", field="proof")
        return self._node.asking.call_proven(
            _text(question, "node"),
            _text(question, "topic"),
            _text(question, "method"),
            body,
            _text(question, "request_id"),
            proof,
            float(question.get("timeout_s") or 60),
        )

    def _call(self, question: dict[str, Any], method: str, arguments: dict[str, Any]) -> Any:
        return self._node.asking.call(
            _text(question, "agent"),
            method,
            arguments,
            timeout_s=float(question.get("timeout_s") or 60),
            request_id=question.get("request_id"),
            context={trace.KEY: trace.received(question[trace.KEY])} if question.get(trace.KEY) else None,
        )

    def _vouch(self, question: dict[str, Any], uid: int) -> dict[str, Any]:
        """A certificate for an agent of that user, and whom it can greet. Users other than the node's own
        have their number in its name, so that nobody takes another's."""
        node, key, name = self._node, question.get("key"), _text(question, "name")
        if not isinstance(key, bytes) or len(key) != 32:
            raise BadArguments("key: 32 bytes", field="key")
        if node.roster.tombstones.is_out(key):
            raise PutOut(f"{name}: this agent's key was put out")
        chain, process = node.identity.vouch(name if uid == os.getuid() else f"{uid}-{name}", key)
        LOG.info("uid %d has %s/%s vouched for", uid, node.host, process)
        peers = [p for p in node.roster.peers.values() if p.chain is not None and p.is_controller]
        known = [(node.chain(), node.card()), *((p.chain, p.card) for p in peers[:8])]
        return {
            "host": node.host,
            "process": process,
            "cluster": node.identity.cluster,
            "chain": msgspec.msgpack.encode(chain),
            "peers": {card.node: msgspec.msgpack.encode((chain, card)) for chain, card in known},
        }

    def _key_of(self, name: str) -> dict[str, Any]:
        found = self._node.roster.key_of(name)
        if found is None:
            raise Unreachable(f"there is no host {name} here: `nova0 agents` shows who is there")
        key, node_id, machine = found
        alone = [m for m in self._node.members() if "controller" in m.roles and m.status is Status.UP]
        return {
            "key": key,
            "node_id": node_id if machine else b"",
            "cluster": self._node.identity.cluster,
            "last_controller": machine and bool(alone) and {m.host for m in alone} == {name},
        }

    # watchers

    def _watch(self, connection: Any) -> None:
        watcher = _Watcher()
        self._watchers.add(watcher)
        gone = gevent.spawn(_until_closed, connection, watcher)
        try:
            _write(connection, {"result": {"event": "watching", "node": self._node.node}})
            while not watcher.closed:
                watcher.bell.wait()
                watcher.bell.clear()
                while watcher.events and not watcher.closed:
                    _write(connection, {"result": watcher.events.popleft()})
                if watcher.lost:
                    lost, watcher.lost = watcher.lost, 0
                    _write(connection, {"result": {"event": "lost", "count": lost}})
        finally:
            self._watchers.discard(watcher)
            gone.kill(block=False)

    def _event(self, **event: Any) -> None:
        for watcher in self._watchers:
            if len(watcher.events) >= MOST_EVENTS:
                watcher.lost += 1
            else:
                watcher.events.append(event)
            watcher.bell.set()

    def _member(self, member: Member, old: Status) -> None:
        self._event(event="member", was=str(old), **msgspec.to_builtins(member))

    def _cast(self, topic: str, method: str, publisher: str, arguments: bytes) -> None:
        if self._watchers:
            try:
                shown = decode(arguments)
            except msgspec.MsgspecError:
                shown = None
            self._event(event="cast", topic=topic, method=method, publisher=publisher, arguments=shown)


class _HungUp(gevent.GreenletExit):
    """Who asked is gone (Ctrl-C)."""


@contextlib.contextmanager
def _given_up_if_closed(connection: Any) -> Iterator[None]:
    """The call made inside is given up when its client goes away, as a killed greenlet's is."""
    asking = gevent.getcurrent()

    def look() -> None:
        try:
            if connection.recv(1, sockets.MSG_PEEK):
                return  # its next question
        except OSError as error:
            LOG.debug("a local client went away: %s", error)
        gevent.kill(asking, _HungUp)

    looking = gevent.spawn(look)
    try:
        yield
    finally:
        looking.kill()  # and wait: it holds the socket's reading side


class _Watcher:
    def __init__(self) -> None:
        self.events: deque[dict[str, Any]] = deque()
        self.bell, self.lost, self.closed = Event(), 0, False


def _until_closed(connection: Any, watcher: _Watcher) -> None:
    try:
        connection.recv(1)
    except OSError as error:
        LOG.debug("a watcher went away: %s", error)
    watcher.closed = True
    watcher.bell.set()


def _question(body: bytes) -> dict[str, Any]:
    try:
        question = decode(body)
    except msgspec.MsgspecError:
        return {}
    return question if isinstance(question, dict) else {}


def _text(question: dict[str, Any], name: str) -> str:
    value = question.get(name)
    if not isinstance(value, str) or not value:
        raise BadArguments(f"{name} is missing", field=name)
    return value


def _read(connection: Any) -> bytes | None:
    head = _exactly(connection, 4)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    return None if size > MAX_BYTES else _exactly(connection, size)


def _exactly(connection: Any, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _write(connection: Any, answer: dict[str, Any]) -> None:
    body = encode(answer)
    connection.sendall(len(body).to_bytes(4, "big") + body)
