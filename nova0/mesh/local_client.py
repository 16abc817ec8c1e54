"""The command line's side of the local socket. Standard library and msgspec only: quick to import,
works with gevent's patches or without.

    with connect() as client:
        for member in client.members(): ...
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from nova0.mesh.errors import Unreachable, from_wire

MAX_BYTES = 8 << 20
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def default_path() -> str:
    """Where the node that `nova0 up` started listens for this machine's users: under $NOVA0_STATE_PATH where that
    is set, else under this user's state or root's."""
    said = os.environ.get("NOVA0_STATE_PATH")
    mine = os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "nova0")
    roots = "/var/lib/nova0"
    places = [said] if said else [roots] if os.geteuid() == 0 else [mine, roots]
    paths = [f"{place}/run/mesh-{process}.sock" for place in places for process in ("host", "controller")]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def connect(path: str | None = None, timeout_s: float = 5.0) -> LocalClient:
    """`path`: by default that of this machine's node. Raises Unreachable, with the remedy, when no node listens
    there or it is not ours to use."""
    return LocalClient(default_path() if path is None else path, timeout_s)


class LocalClient:
    """One connection. AGENT is topic, topic@host, or a node's name host/process."""

    def __init__(self, path: str, timeout_s: float = 5.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except PermissionError:
            self._socket.close()
            raise Unreachable(f"{path}: not allowed: be root or in the group nova0") from None
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"{path}: no nova0 node listens here ({error.strerror}): `nova0 up` starts one") from None

    def members(self) -> list[dict[str, Any]]:
        """As mesh.bus.Member, in plain values; the first is the answering node itself."""
        return self._ask("members")

    def ping(self, agent: str, timeout_s: float = 5.0) -> dict[str, Any]:
        """{"node", "ms", "clock_s"}: who answered, how long it took, the wall clock there."""
        return self._ask("ping", timeout_s, agent=agent)

    def call(
        self,
        agent: str,
        method: str,
        arguments: dict[str, Any] | None = None,
        *,
        timeout_s: float = 60.0,
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """The method's result in plain values. Text is taken for numbers where the method wants those.
        With `traceparent` (W3C Trace Context) the call continues that trace; a malformed one begins another.
        Raises the errors of mesh.errors."""
        return self._ask(
            "call",
            timeout_s,
            agent=agent,
            method=method,
            arguments=arguments or {},
            request_id=request_id,
            traceparent=traceparent,
        )

    def cast(self, topic: str, method: str, arguments: dict[str, Any] | None = None) -> None:
        """To topic or topic@host."""
        self._ask("cast", topic=topic, method=method, arguments=arguments or {})

    def describe(self, agent: str | None = None) -> list[dict[str, Any]]:
        """Methods of the agents on this node, or of `agent`'s node."""
        return self._ask("describe", agent=agent)

    def order(self, order: str, timeout_s: float = 60.0, **arguments: Any) -> Any:
        """Have the node do something for the cluster (mesh.orders). Raises NotAllowed unless we are root or
        the user it runs as."""
        return self._ask("order", timeout_s, order=order, arguments=arguments)

    def everyone(self, method: str, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        """[{"node", "answer", "error"}]: every known node asked at once for its "totals" (mesh.counts.Totals) or
        "links" (mesh.mesh_api.LinkSeen) in plain values; who does not answer has an error instead."""
        return self._ask("everyone", timeout_s, method=method)

    def metrics(self, agent: str | None = None, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        """Every counter of the local node, or of `agent`'s: nova0.metrics.Family in plain values."""
        return self._ask("metrics", timeout_s, agent=agent)

    def challenge(self, agent: str, method: str) -> dict[str, Any]:
        """node, topic, challenge: where a call as an operator will go, and what is to be signed for it
        (mesh.operators.call does both)."""
        return self._ask("challenge", agent=agent, method=method)

    def call_proven(
        self, node: str, topic: str, method: str, body: bytes, request_id: str, proof: bytes, timeout_s: float
    ) -> Any:
        """A call with an operator's proof; `body`: the arguments, encoded as they were signed."""
        return self._ask(
            "call_proven",
            timeout_s,
            node=node,
            topic=topic,
            method=method,
            body=body,
            request_id=request_id,
            proof=proof,
        )

    def operator(self, certificate: bytes) -> bytes:
        """An operator's certificate (wire.Signed, encoded), or the one a controller made anew since
        (mesh.operators.renew). Raises JoinRefused."""
        return self._ask("operator", 30.0, certificate=certificate)

    def vouch(self, name: str, key: bytes) -> dict[str, Any]:
        """Have this machine vouch for an agent of ours that holds `key` (CURVE, 32 bytes): host, process,
        cluster, chain and peers (node -> file), as `mesh.identity.store_vouched` takes them. Raises JoinRefused."""
        return self._ask("vouch", name=name, key=key)

    def tombstones(self) -> list[dict[str, Any]]:
        """Who was put out, newest first: name, reason, by, at (seconds since 1970), key (hex), for_good."""
        return self._ask("tombstones")

    def key_of(self, name: str) -> dict[str, Any]:
        """Of a host, or of a user's agent by HOST/PROCESS: key, node_id (b"" for an agent), cluster,
        last_controller (nobody else could sign newcomers in). Raises Unreachable."""
        return self._ask("key_of", name=name)

    def put_out(self, stone: bytes) -> list[dict[str, Any]]:
        """Bring a signed tombstone; rows as in `tombstones` of what was new. Raises JoinRefused."""
        return self._ask("put_out", stone=stone)

    def watch(self) -> Iterator[dict[str, Any]]:
        """Events as they come, without end: {"event": "member", "node", "status", "was", "detail"},
        {"event": "cast", "topic", "method", "publisher", "arguments"}, {"event": "gap", "topic",
        "publisher"}, {"event": "lost", "count"} when this reader was too slow. Begins with
        {"event": "watching", "node"}."""
        self._send({"op": "watch"})
        self._socket.settimeout(None)
        while True:
            yield self._receive()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, op: str, timeout_s: float = 5.0, **more: Any) -> Any:
        self._socket.settimeout(timeout_s + 5)  # the node keeps the time; this only guards against its death
        self._send({"op": op, "timeout_s": timeout_s, **more})
        return self._receive()

    def _send(self, question: dict[str, Any]) -> None:
        body = _encode(question)
        try:
            self._socket.sendall(len(body).to_bytes(4, "big") + body)
        except OSError as error:
            raise Unreachable(f"the local node went away: {error}") from None

    def _receive(self) -> Any:
        size = int.from_bytes(self._exactly(4), "big")
        if size > MAX_BYTES:
            raise Unreachable("the local node answers garbage")
        answer = _decode(self._exactly(size))
        if "error" in answer:
            raise from_wire(answer["error"])
        return answer["result"]

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._socket.recv(size - len(parts))
            except OSError as error:
                raise Unreachable(f"the local node does not answer: {error}") from None
            if not part:
                raise Unreachable("the local node closed the connection")
            parts += part
        return bytes(parts)
