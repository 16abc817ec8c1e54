"""Operators: people whose certificate lets them change things on any host, and put machines out.

An operator's Ed25519 key is no peer. A call made with it goes by way of a member, with a proof: the
certificate, and a signature over callee, challenge, request id, method and arguments. The challenge comes
from the callee and is good once, for a minute: no clock of another machine is trusted.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import secrets
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from nova0.mesh import keys, wire
from nova0.mesh.certificate import FORMAT, Certificate, Signed, check, issue, sign, verify_kind
from nova0.mesh.codec import encode
from nova0.mesh.errors import BadArguments, JoinRefused, NotAllowed
from nova0.mesh.identity import Identity
from nova0.mesh.members import Caller
from nova0.mesh.surface import Role
from nova0.mesh.tombstones import Tombstones

if TYPE_CHECKING:
    from nova0.mesh.local_client import LocalClient

LOG = logging.getLogger(__name__)
LIFE_S = 60.0
MOST_OF_ONE = 16  # challenges kept for one member; a new one displaces its oldest
FOLDER = "operators"  # on the controller that made them: their certificates, by name


class OperatorKey(Struct, array_like=True, frozen=True):
    """What lies in the operator's file: secret key and certificate."""

    format: int
    cluster: bytes
    name: str
    secret: bytes
    certificate: Signed

    def __repr__(self) -> str:  # never the secret
        return f"<operator {self.name}>"

    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)


class Order(Struct, array_like=True, frozen=True):
    """What an operator signs: this call, there, once."""

    format: int
    cluster: bytes
    node: str
    challenge: bytes
    request_id: str
    topic: str
    method: str
    arguments_sha256: bytes


class Proof(Struct, array_like=True, frozen=True):
    """As it travels in `wire.Call.proof`."""

    order: Signed
    certificate: Signed


_read_proof = msgspec.msgpack.Decoder(Proof).decode
_read_order = msgspec.msgpack.Decoder(Order).decode


def create(identity: Identity, name: str, path: Path) -> OperatorKey:
    """Make an operator on a controller; key and certificate go to `path` (0600). Raises JoinRefused where
    this machine cannot sign, FileExistsError where there is such a file or operator."""
    if (
        not 1 <= len(name) <= 64
        or name[0] == "."
        or not all(c.isascii() and (c.isalnum() or c in "-._@") for c in name)
    ):
        raise JoinRefused(f"operator {name!r}: letters, digits, '-', '.', '_' and '@' only, at most 64, no '.' first")
    kept = identity.state_dir / FOLDER / name
    for taken in (path, kept):
        if taken.exists():
            raise FileExistsError(f"{taken} exists: choose another name or file, or revoke that operator and remove it")
    key = Ed25519PrivateKey.generate()
    certificate = issue(
        identity.signer(),
        identity.cluster,
        name,
        (str(Role.OPERATOR),),
        keys.public_of(key),
        topics=(),
        kind="operator",
    )
    made = OperatorKey(FORMAT, identity.cluster, name, key.private_bytes_raw(), certificate)
    keys.write_public(kept, msgspec.msgpack.encode(certificate))
    _write(path, made)
    return made


def _write(path: Path, held: OperatorKey) -> None:
    keys.write_secret(path, base64.b64encode(msgspec.msgpack.encode(held)) + b"\n")


def load(path: Path) -> OperatorKey:
    """Raises JoinRefused on a file that is no operator's key, OSError on one that cannot be read."""
    try:
        return msgspec.msgpack.decode(base64.b64decode(path.read_bytes(), validate=False), type=OperatorKey)
    except wire.BROKEN:
        raise JoinRefused(f"{path} is no operator's key: `nova0 operator create` on a controller makes one") from None


def renewed(client: LocalClient, held: OperatorKey) -> OperatorKey:
    """With the certificate that a controller made anew since, where there is one. Raises JoinRefused where none
    for this key counts any more."""
    try:
        signed = msgspec.msgpack.decode(client.operator(msgspec.msgpack.encode(held.certificate)), type=Signed)
    except BadArguments:  # the node here is of an earlier nova0, not started anew since the upgrade
        return held
    return held if signed == held.certificate else msgspec.structs.replace(held, certificate=signed)


def save(path: Path, held: OperatorKey) -> None:
    """In place of what is in that file; it stays its owner's. Raises OSError."""
    real = path.resolve()
    owner = real.stat()
    _write(real, held)
    if owner.st_uid != os.geteuid():  # root, for somebody else
        os.chown(real, owner.st_uid, owner.st_gid)


def known(identity: Identity) -> list[Certificate]:
    """The operators made on this controller."""
    return [certificate for certificate, _ in _kept(identity)]


def _kept(identity: Identity) -> Iterator[tuple[Certificate, Signed]]:
    for path in sorted((identity.state_dir / FOLDER).glob("[!.]*")):  # not what a crash left half written
        signed = msgspec.msgpack.decode(path.read_bytes(), type=Signed)
        yield msgspec.msgpack.decode(signed.body, type=Certificate), signed


def certificate_of(identity: Identity, key: bytes) -> Signed:
    """That of an operator made on this controller, by the public key. Raises JoinRefused."""
    for certificate, signed in _kept(identity):
        if certificate.key == key:
            return signed
    raise JoinRefused(f"{identity.certificate.host}: no operator with that key was made here")


def reissue(identity: Identity, tombstones: Tombstones) -> list[str]:
    """Another signer counts on this controller: the operators made here and not revoked get certificates of
    it, which wait here until their keys are used (`renewed`). Their names. Raises OSError."""
    signer = identity.signer()
    made = []
    for old, _ in _kept(identity):
        if old.signer == keys.public_of(signer) or tombstones.is_out(old.key):
            continue
        signed = issue(
            signer, old.cluster, old.host, old.roles, old.key, topics=old.topics, serial=old.serial,
            node_id=old.node_id, kind="operator",
        )  # fmt: skip
        keys.write_public(identity.state_dir / FOLDER / old.host, msgspec.msgpack.encode(signed))
        made.append(old.host)
    return made


def call(
    client: LocalClient,
    operator: OperatorKey,
    agent: str,
    method: str,
    arguments: dict[str, Any],
    *,
    timeout_s: float = 60.0,
) -> Any:
    """As `LocalClient.call`, with the operator's authority."""
    target = client.challenge(agent, method)
    body, request_id = encode(arguments), f"operator/{uuid.uuid4().hex}"
    order = Order(
        FORMAT, operator.cluster, target["node"], target["challenge"], request_id, target["topic"], method,
        hashlib.sha256(body).digest(),
    )  # fmt: skip
    proof = Proof(sign(operator.private(), "order", order), operator.certificate)
    return client.call_proven(
        target["node"], target["topic"], method, body, request_id, msgspec.msgpack.encode(proof), timeout_s
    )


class Operators:
    """The callee's side, of one node."""

    def __init__(self, identity: Identity, tombstones: Tombstones, node: str) -> None:
        self._identity, self._tombstones, self._node = identity, tombstones, node
        self._given: dict[str, dict[bytes, tuple[float, bytes]]] = {}  # member -> challenge -> (until, its proof)

    def challenge(self, member: str) -> bytes:
        """For a call that this member will bring within a minute."""
        now = time.monotonic()
        self._given = {m: left for m, given in self._given.items() if (left := _fresh(given, now))}
        given = self._given.setdefault(member, {})
        while len(given) >= MOST_OF_ONE:
            del given[next(iter(given))]
        made = secrets.token_bytes(16)
        given[made] = now + LIFE_S, b""
        return made

    def admit(self, caller: Caller, call: wire.Call) -> Caller:
        """The caller with the role its proof gives. Raises NotAllowed saying what is wrong with the proof."""
        try:
            proof = _read_proof(call.proof)
            order = _read_order(proof.order.body)
        except wire.BROKEN:
            raise NotAllowed(f"{self._node}: that is no operator's proof") from None
        now = time.monotonic()
        until, used = self._given.get(caller.node, {}).get(order.challenge, (0.0, b""))
        if until < now or (used and used != call.proof):  # asked again over a new link it is the same proof
            raise NotAllowed(f"{self._node}: the operator's order is not fresh: call again")
        try:
            operator = verify_kind("operator", proof.certificate, self._identity.cluster, self._identity.signers)
            check(operator.key, "order", proof.order)
        except JoinRefused as error:
            raise NotAllowed(f"{self._node}: {error.message}") from None
        if self._tombstones.is_out(operator.key):
            raise NotAllowed(f"{self._node}: operator {operator.host} was put out")
        about = (self._identity.cluster, self._node, call.request_id, call.topic, call.method)
        digest = hashlib.sha256(call.arguments).digest()
        if (order.cluster, order.node, order.request_id, order.topic, order.method) != about or (
            order.arguments_sha256 != digest
        ):
            raise NotAllowed(f"{self._node}: operator {operator.host} ordered something else")
        self._given[caller.node][order.challenge] = until, call.proof
        LOG.info("operator %s, by way of %s, calls %s.%s", operator.host, caller.node, call.topic, call.method)
        return msgspec.structs.replace(caller, roles=(*caller.roles, str(Role.OPERATOR)), operator=operator.host)


def _fresh(given: dict[bytes, tuple[float, bytes]], now: float) -> dict[bytes, tuple[float, bytes]]:
    return {challenge: (until, used) for challenge, (until, used) in given.items() if until >= now}
