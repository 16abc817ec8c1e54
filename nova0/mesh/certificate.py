"""Who may speak: certificates over CURVE keys, signed by a signer that the cluster's root vouches for.

Three kinds of one record: `node` (a machine), `user` (a user's agent, signed by the machine it runs on)
and `operator` (a person; signs orders and tombstones, is no peer). Signatures are checked over the bytes
as received, each kind under its own prefix.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from nova0.mesh.errors import JoinRefused
from nova0.mesh.keys import public_of
from nova0.mesh.wire import BROKEN, Signed

MAX_SIGNED_BYTES = 2048
FORMAT = 1
USERS = "user/"  # topics a user's agent may have begin so
FOR_GOOD = 1 << 62  # serial of a tombstone that puts a machine out with every key it has or will have


class Certificate(Struct, array_like=True, frozen=True):
    """What a key may be and do. Does not expire; a tombstone puts it out."""

    format: int
    cluster: bytes  # the root's public key
    node_id: bytes
    host: str  # of an operator: the name
    roles: tuple[str, ...]
    topics: tuple[str, ...]  # ("*",): any
    key: bytes  # CURVE; of an operator Ed25519
    serial: int
    signer: bytes
    vouch: bytes = b""  # Ed25519 key with which this machine signs for its users' agents
    process: str = ""  # a user's agent: the only process it may be


class SignerSet(Struct, array_like=True, frozen=True):
    """Which signers count; signed by the root. A lower generation never replaces a higher."""

    format: int
    cluster: bytes
    generation: int
    signers: list[bytes]


class Chain(Struct, array_like=True, frozen=True):
    """What a node shows: its certificate and the signers it leads back through."""

    certificate: Signed
    signers: Signed
    user: Signed | None = None  # a user's agent: its own, made by the machine of `certificate`


class Tombstone(Struct, array_like=True, frozen=True):
    """A key is put out. Never taken back; its holder comes back with a new key only."""

    format: int
    cluster: bytes
    key: bytes
    node_id: bytes  # with it, certificates of that machine up to `serial` are out as well; b"": the key alone
    serial: int
    name: str  # host, agent or operator, as people know it
    reason: str
    by: str  # who said so
    at: float  # wall clock there, for people only
    signer: bytes


class Stone(Struct, array_like=True, frozen=True):
    """A tombstone as it travels; `operator` is the certificate of who signed it, None: a signer of the cluster."""

    tombstone: Signed
    operator: Signed | None = None


_read_tombstone = msgspec.msgpack.Decoder(Tombstone).decode
_read_certificate = msgspec.msgpack.Decoder(Certificate).decode
_read_signers = msgspec.msgpack.Decoder(SignerSet).decode
_encode = msgspec.msgpack.encode


def _prefix(kind: str) -> bytes:
    return b"nova0/1/" + kind.encode() + b"\0"


def sign(key: Ed25519PrivateKey, kind: str, record: Struct) -> Signed:
    body = _encode(record)
    if len(body) > MAX_SIGNED_BYTES:
        raise ValueError(f"a signed {kind} is at most {MAX_SIGNED_BYTES} bytes, this has {len(body)}")
    return Signed(body, key.sign(_prefix(kind) + body))


def check(public: bytes, kind: str, signed: Signed) -> None:
    """Raises JoinRefused unless `public` signed these bytes as that kind."""
    if len(signed.body) > MAX_SIGNED_BYTES:
        raise JoinRefused(f"signed {kind} is too long")
    try:
        _verify(public, kind, signed)
    except (InvalidSignature, ValueError):
        raise JoinRefused(f"the {kind}'s signature does not hold: it was not made by this cluster") from None


@lru_cache(maxsize=16384)  # the same bytes come with every greeting, the signers' with every certificate
def _verify(public: bytes, kind: str, signed: Signed) -> None:
    Ed25519PublicKey.from_public_bytes(public).verify(signed.signature, _prefix(kind) + signed.body)


def verify(chain: Chain, cluster: bytes, known: SignerSet | None = None) -> tuple[Certificate, SignerSet]:
    """The certificate and the newest signer set, after every check. Raises JoinRefused saying which failed.

    `known`: the signer set on disk; a signer it no longer has is refused. Of a user's agent the result is
    its own certificate, checked back through its machine's.
    """
    signers = read_signers(chain.signers, cluster)
    if signers.cluster != cluster:
        raise JoinRefused("certificate of another cluster")
    newest = signers if known is None or signers.generation > known.generation else known
    certificate = verify_kind("node", chain.certificate, cluster, newest)
    if not certificate.host or "/" in certificate.host or certificate.process:
        raise JoinRefused("certificate is malformed")
    if chain.user is not None:
        certificate = _verify_user(chain.user, certificate)
    return certificate, newest


def verify_kind(kind: str, signed: Signed, cluster: bytes, signers: SignerSet) -> Certificate:
    """A certificate that a signer of the cluster made as `kind`. Raises JoinRefused."""
    certificate = _certificate(signed)
    if certificate.cluster != cluster:
        raise JoinRefused("certificate of another cluster")
    if certificate.signer not in signers.signers:
        raise JoinRefused(f"{certificate.host}: its certificate's signer was dropped; join it again with a token")
    check(certificate.signer, kind, signed)
    if len(certificate.key) != 32:
        raise JoinRefused("certificate is malformed")
    return certificate


def _certificate(signed: Signed) -> Certificate:
    if len(signed.body) > MAX_SIGNED_BYTES:
        raise JoinRefused("certificate is too long")
    try:
        return _read_certificate(signed.body)
    except BROKEN as error:
        raise JoinRefused(f"certificate cannot be read: {error}") from None


def _verify_user(signed: Signed, machine: Certificate) -> Certificate:
    """A machine vouches for little: its own host, one process, topics of users, the role every node has."""
    user = _certificate(signed)
    if not machine.vouch or user.signer != machine.vouch:
        raise JoinRefused(f"{user.host}/{user.process}: not vouched for by the machine {machine.host}")
    check(machine.vouch, "user", signed)
    if (user.cluster, user.host, user.node_id) != (machine.cluster, machine.host, machine.node_id):
        raise JoinRefused(f"{user.host}/{user.process}: {machine.host} vouches for agents of its own only")
    if user.roles != ("member",) or user.vouch or not all(topic.startswith(USERS) for topic in user.topics):
        raise JoinRefused(f"{user.host}/{user.process}: a user's agent is a member with topics {USERS}*, no more")
    if not user.process.startswith("user-") or "/" in user.process or len(user.key) != 32 or user.key == machine.key:
        raise JoinRefused("certificate is malformed")
    return user


def issue(
    signer: Ed25519PrivateKey,
    cluster: bytes,
    host: str,
    roles: tuple[str, ...],
    key: bytes,
    *,
    topics: tuple[str, ...] = ("*",),
    serial: int = 1,
    node_id: bytes | None = None,
    vouch: bytes = b"",
    kind: str = "node",
) -> Signed:
    """A certificate; the signer must be in the cluster's signer set to be believed."""
    record = Certificate(
        FORMAT, cluster, node_id or secrets.token_bytes(16), host, roles, topics, key, serial, public_of(signer), vouch
    )
    return sign(signer, kind, record)


def vouch_for(key: Ed25519PrivateKey, machine: Certificate, user_key: bytes, process: str, serial: int) -> Signed:
    """The certificate of a user's agent on this machine; `key` is that of `machine.vouch`."""
    record = Certificate(
        FORMAT, machine.cluster, machine.node_id, machine.host, ("member",), (USERS + "*",), user_key, serial,
        machine.vouch, b"", process,
    )  # fmt: skip
    return sign(key, "user", record)


def has_topic(certificate: Certificate, topic: str) -> bool:
    """May this key answer, publish or hear `topic`?"""
    return any(a in ("*", topic) or (a.endswith("/*") and topic.startswith(a[:-1])) for a in certificate.topics)


def machine_of(chain: Chain) -> Certificate:
    """The machine's certificate of a chain that was verified."""
    return _read_certificate(chain.certificate.body)


def read_stone(stone: Stone, cluster: bytes, signers: SignerSet, out: Callable[[bytes], bool]) -> Tombstone:
    """A tombstone after every check; `out` tells of keys put out already. Raises JoinRefused."""
    tombstone = tombstone_of(stone)
    if tombstone.cluster != cluster or len(tombstone.key) != 32 or len(tombstone.reason) > 300:
        raise JoinRefused("tombstone is malformed, or of another cluster")
    if stone.operator is not None:
        operator = verify_kind("operator", stone.operator, cluster, signers)
        if operator.key != tombstone.signer or out(operator.key):
            raise JoinRefused(f"tombstone for {tombstone.name}: operator {operator.host} may not say so")
    elif tombstone.signer not in signers.signers:
        raise JoinRefused(f"tombstone for {tombstone.name}: its signer was dropped")
    check(tombstone.signer, "tombstone", stone.tombstone)
    return tombstone


def tombstone_of(stone: Stone) -> Tombstone:
    """What it says, unchecked. Raises JoinRefused on what is none."""
    if len(stone.tombstone.body) > MAX_SIGNED_BYTES:
        raise JoinRefused("tombstone is too long")
    try:
        return _read_tombstone(stone.tombstone.body)
    except BROKEN as error:
        raise JoinRefused(f"tombstone cannot be read: {error}") from None


def read_signers(signed: Signed, cluster: bytes) -> SignerSet:
    """Raises JoinRefused unless the cluster's root signed it and it can be read."""
    check(cluster, "signers", signed)
    try:
        return _read_signers(signed.body)
    except BROKEN as error:
        raise JoinRefused(f"signers cannot be read: {error}") from None
