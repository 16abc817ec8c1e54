"""A member that offers, answers, casts and streams whatever it likes, by a certificate of any kind; and agents that
note who asked them, made from the surfaces' own declarations, so that a new surface is tried by itself."""

from __future__ import annotations

import enum
import types
import typing

import msgspec
from cluster import Cluster
from contract import until

from nova0 import rpcapi
from nova0.mesh import identity, keys
from nova0.mesh.bus import Status
from nova0.mesh.certificate import Chain
from nova0.mesh.codec import encode
from nova0.mesh.keys import write_public
from nova0.mesh.local_client import connect
from nova0.mesh.node import Node
from nova0.mesh.surface import Role, declared

OURS = rpcapi.surfaces()
UUID = "0b1c2d3e-4f50-4a6b-8c7d-8e9fa0b1c2d3"
TOPICS = tuple(surface.topic for surface in OURS)

# what a node may have joined with: roles and topics of its certificate
KINDS = {
    "member": (("member",), None),
    "host": (("host",), None),
    "member of before": (("member",), ("*",)),
    "host of before": (("host",), ("*",)),
    "member with every topic by name": (("member",), (*TOPICS, "*", "user/*")),
    "operator": (("operator",), ("*",)),
    "user": None,  # a user's agent, vouched for by lab1
}


SOME = (1, 100, "a", UUID, "10.0.0.1", "10.0.0.0/24", "52:54:00:00:00:01", "ingress", "IPv4")  # for types with a form


def fits(value, kind) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def example(kind):
    """Some value of that annotation."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__metadata__"):
        return next(value for value in (example(kind.__origin__), *SOME) if fits(value, kind))
    if origin in (typing.Union, types.UnionType):
        return example(inner[0])
    if origin is not None:
        if origin is tuple:
            return () if Ellipsis in inner else tuple(map(example, inner))
        return origin()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(**{f.name: example(hints[f.name]) for f in msgspec.structs.fields(kind) if f.required})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return None if kind in (None, type(None)) else kind()


def agent_of(surface, asked: list, name: str):
    """Answers every method with something, hears every cast, and notes (name, topic, method, publisher or caller)."""
    made = type(f"Every{surface.__name__}", (surface,), {})

    def method(row):
        def run(self, **arguments):
            asked.append((name, surface.topic, row.name, self.bus.caller().node))
            return example(row.returns)

        return run

    for row in surface.methods().values():
        setattr(made, row.name, method(row))
    return made()


def arguments_of(row) -> dict:
    return {name: example(kind) for name, kind in row.arguments.items() if name in row.required}


class Lab(Cluster):
    """A controller `lab0` and a host `lab1` that answer what they may, and note what they are asked."""

    def __init__(self, folder):
        super().__init__(folder, handshake_s=5.0)
        self.asked: list[tuple] = []
        self.gaps: list[tuple] = []
        self.controller_node = self.bus("lab0", "controller", ("controller",))
        self.host = self.bus("lab1", "host", ("host",), socket_path=str(folder / "lab1.sock"))
        for node in (self.controller_node, self.host):
            node.on_gap(lambda topic, publisher, node=node: self.gaps.append((node.node, topic, publisher)))
            for surface in OURS:
                if not declared(surface.topic).served_by.isdisjoint(node.identity.certificate.roles):
                    self.offer(node, surface)
            node.start()
        self.sees(self.host, self.controller_node)

    def offer(self, node, surface):
        agent = agent_of(surface, self.asked, node.node)
        agent.bus = node
        node.offers.check = lambda *_: None  # it does not ask itself whether it may
        node.offer(agent)
        del node.offers.check

    def hostile(self, kind: str, host: str = "evil", surfaces=OURS, start=True, **more) -> Node:
        """A node of that kind of certificate that offers every topic, busy with nothing."""
        node = self.users_agent() if KINDS[kind] is None else self._joined(host, *KINDS[kind], **more)
        self.nodes.append(node)
        for surface in surfaces:
            self.offer(node, surface)
        if start:
            node.start()
            self.sees(node, self.controller_node, self.host)
        return node

    def _joined(self, host, roles, topics, **more):
        settings = self.settings(host, "host", ("controller", "host", "member", "operator"), **more)
        folder, me = self.folder / host, self.controller_node.identity
        pair = keys.node_key(folder)
        vouch = keys.public_of(keys.vouching_key(folder))
        shown = encode((self.controller_node.chain(), self.controller_node.card()))
        write_public(folder / "peers" / "lab0~controller", shown)
        identity.store(folder, me.cluster, Chain(me.sign_in(host, roles, topics, pair.public, vouch), me.chain.signers))
        return Node(settings)

    def users_agent(self):
        folder = self.folder / "own"
        with connect(self.host.settings.socket_path) as client:
            identity.store_vouched(folder, client.vouch("evil", keys.node_key(folder).public))
        settings = self.settings("lab1", identity.load(folder).certificate.process, ("controller", "host", "member"))
        settings.state_dir = str(folder)
        return Node(settings)

    def sees(self, node, *others):
        """`node` and the others have proved themselves to each other."""

        def known(one, other):
            peer = one.roster.peers.get(other.node)
            return peer is not None and peer.chain is not None and peer.status is Status.UP

        for other in others:
            for one, two in ((other, node), (node, other)):
                seen = lambda one=one, two=two: known(one, two) or self._dial(one, two)  # noqa: E731
                until(seen, 15, f"{one.node} sees {two.node}")

    def _dial(self, one, other):
        """A host listens to few; it meets the others when it asks them."""
        peer = one.roster.peers.get(other.node)
        if peer is not None:
            one.link(peer).ensure()


def may(node, topic: str) -> bool:
    """By the declaration alone: the test's own reading of it."""
    certificate, served_by = node.identity.certificate, declared(topic).served_by
    return not certificate.process and (Role.MEMBER in served_by or not served_by.isdisjoint(certificate.roles))
