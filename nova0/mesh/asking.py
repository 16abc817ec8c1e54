"""What people and programs that are no agents ask through a node: methods by name, with plain values.

Behind the machine's own socket and behind a controller's REST bridge. Who asks counts as a member and never
as the node itself; whoever lets them in says what more they are (`lent`).
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Protocol

import msgspec
from gevent.pool import Pool

from nova0.mesh.calling import Calling
from nova0.mesh.certificate import Signed, read_certificate, verify_kind
from nova0.mesh.codec import codecs_of, decode, encode
from nova0.mesh.describing import Described
from nova0.mesh.errors import BadArguments, JoinRefused, MeshError, Unreachable
from nova0.mesh.identity import Identity
from nova0.mesh.members import Member, Status
from nova0.mesh.mesh_api import MeshAPI
from nova0.mesh.roster import Roster
from nova0.mesh.surface import SHORT, Timeout
from nova0.mesh.wire import BROKEN

LOG = logging.getLogger(__name__)
MOST_ASKED = 128  # nodes asked at once for one client
ASKED_OF_ALL = ("describe", "links", "totals")
SILENCE_S = 10.0
_read_signed = msgspec.msgpack.Decoder(Signed).decode


class Home(Protocol):
    """What asking needs of its node."""

    node: str
    identity: Identity
    roster: Roster
    calling: Calling

    def members(self) -> list[Member]: ...


class Asking:
    """AGENT is a topic, topic@host, or a node's name host/process. All raise the errors of mesh.errors."""

    def __init__(self, node: Home) -> None:
        self._node = node

    def call(
        self,
        agent: str,
        method: str,
        arguments: dict[str, Any],
        *,
        timeout_s: float,
        request_id: str | None = None,
        context: dict[str, Any] | None = None,
        lent: tuple[str, ...] = (),
    ) -> Any:
        """The result in plain values. Text is taken for numbers where the method wants those."""
        topic, host, node = self._addressed(agent, method)
        body = self._node.calling.ask(
            topic,
            host,
            method,
            encode(arguments),
            patience=Timeout("asked", SILENCE_S, timeout_s),
            request_id=f"person/{request_id}" if request_id else None,  # none of the node's own
            acknowledge=not request_id,
            node=node,
            context=context,
            lax=True,
            plain=True,
            lent=lent,
        )
        return decode(body)

    def challenge(self, agent: str, method: str) -> dict[str, Any]:
        """Where a call with an operator's authority will go, and what that node wants signed: node, topic,
        challenge."""
        topic, host, node = self._addressed(agent, method)
        target = self._node.calling.target(topic, host, node)
        return {"node": target, "topic": topic, "challenge": decode(self._mesh("challenge", target))}

    def call_proven(
        self, node: str, topic: str, method: str, body: bytes, request_id: str, proof: bytes, timeout_s: float
    ) -> Any:
        """A call with an operator's proof. Its id stays with the callee for a day, so that nobody has it run twice."""
        answer = self._node.calling.ask(
            topic,
            None,
            method,
            body,
            patience=Timeout("asked", SILENCE_S, timeout_s),
            request_id=request_id,
            node=node,
            lax=True,
            plain=True,
            proof=proof,
        )
        return decode(answer)

    def operator(self, shown: bytes) -> bytes:
        """An operator's certificate (Signed, encoded), or the one a controller made anew since; nobody is asked
        about one of the newest signer. Raises JoinRefused where none is to be had that counts."""
        mine = self._node.identity
        try:
            held = read_certificate(_read_signed(shown))
        except BROKEN as error:
            raise JoinRefused(f"that is no certificate: {error}") from None
        if self._node.roster.tombstones.is_out(held.key):
            raise JoinRefused(f"operator {held.host} was put out")
        if held.signer != mine.signers.signers[-1]:
            for node in [m.node for m in self._node.members() if "controller" in m.roles and m.status is Status.UP]:
                try:
                    signed = _read_signed(self._mesh("operator", node, key=held.key))
                    if verify_kind("operator", signed, mine.cluster, mine.signers).key == held.key:
                        return encode(signed)
                except MeshError as error:
                    LOG.debug("%s has no certificate of operator %s: %s", node, held.host, error)
        verify_kind("operator", _read_signed(shown), mine.cluster, mine.signers)
        return shown

    def _addressed(self, agent: str, method: str) -> tuple[str, str | None, str | None]:
        """(topic, host, node) of an AGENT."""
        if not self.is_node(agent):
            topic, _, at = agent.partition("@")
            return topic, at or None, None
        rows = self._described(agent, SHORT.total_s)
        topics = sorted({row["agent"] for row in rows if row["method"] == method and row["kind"] == "call"})
        if len(topics) != 1:
            raise BadArguments(
                f"{agent} has {len(topics)} agents with a method {method!r}: {', '.join(topics) or 'none'}; "
                "name the agent as topic@host",
                field="agent",
            )
        return topics[0], None, agent

    def ping(self, agent: str, timeout_s: float) -> dict[str, Any]:
        node = self._find(agent)
        started = time.monotonic()
        body = self._mesh("ping", node, timeout_s)
        return {"node": node, "ms": (time.monotonic() - started) * 1000, "clock_s": decode(body)}

    def metrics(self, agent: str | None, timeout_s: float) -> list[dict[str, Any]]:
        """nova0.metrics.Family in plain values, of `agent`'s node or of this one."""
        return self._decoded("metrics", self._find(agent) if agent else self._node.node, timeout_s)

    def describe(self, agent: str) -> list[dict[str, Any]]:
        """Rows of nova0.mesh.describing: of that agent, or of all on a node."""
        rows = self._described(self._find(agent), SHORT.total_s)
        topic = "" if self.is_node(agent) else agent.partition("@")[0]
        return [row for row in rows if topic in ("", row["agent"])]

    def everyone(self, method: str, timeout_s: float) -> list[dict[str, Any]]:
        """[{"node", "answer", "error"}]: every known node is asked at once; who does not answer is there with why."""
        if method not in ASKED_OF_ALL:
            raise BadArguments(f"{method!r} is not asked of everyone: {', '.join(ASKED_OF_ALL)}", field="method")

        def ask(node: str) -> dict[str, Any]:
            try:
                ask_one = self._described if method == "describe" else partial(self._decoded, method)
                return {"node": node, "answer": ask_one(node, timeout_s), "error": None}
            except MeshError as error:
                return {"node": node, "answer": None, "error": error.message}

        return Pool(MOST_ASKED).map(ask, [member.node for member in self._node.members()])

    def _decoded(self, method: str, node: str, timeout_s: float) -> Any:
        """What a node answers to one of the mesh's own questions, in plain values. Raises RemoteError where that is
        not what its signature says: it is shown beside the answers of others."""
        return msgspec.to_builtins(codecs_of(MeshAPI)[method].unpack_result(self._mesh(method, node, timeout_s)))

    def _described(self, node: str, timeout_s: float) -> list[dict[str, Any]]:
        """What a node says it offers, without what it may not answer. Raises BadArguments where that says nothing."""
        rows = self._decoded("describe", node, timeout_s)
        try:
            msgspec.convert(rows, list[Described])
        except msgspec.ValidationError as error:
            raise BadArguments(f"{node}: what it says of its agents cannot be read: {error}", field="agent") from None
        peer = self._node.roster.peers.get(node)
        if peer is None:
            return rows
        return [row for row in rows if not self._node.roster.not_asked(peer, row["agent"])]

    def is_node(self, agent: str) -> bool:
        """Users' topics have a slash too (user/...), so the shape does not tell."""
        return any(agent == member.node for member in self._node.members())

    def _mesh(self, method: str, node: str, timeout_s: float | None = None, **arguments: Any) -> Any:
        """The encoded answer of a node to a question of the mesh's own."""
        return self._node.calling.ask(
            MeshAPI.topic, None, method, encode(arguments), patience=SHORT, total_s=timeout_s, node=node, plain=True
        )

    def _find(self, agent: str) -> str:
        """A node's name for node, host, topic@host or topic. Raises Unreachable."""
        topic, _, host = agent.partition("@")
        found = [
            m
            for m in self._node.members()
            if agent in (m.node, m.host) or (topic in (*m.topics, MeshAPI.topic) and host in ("", m.host))
        ]
        up = [m for m in found if m.status is Status.UP] or found
        if not up:
            raise Unreachable(f"{agent}: no such node or agent is known here; see `nova0 agents`")
        return up[0].node
