"""Who may speak: certificates over CURVE keys, signed by a signer that the cluster's root vouches for.

Three kinds of one record: `node` (a machine), `user` (a user's agent, signed by the machine it runs on)
and `operator` (a person; signs orders and tombstones, is no peer). Signatures are checked over the bytes
as received, each kind under its own prefix.

The cluster's name is the public key of its first root, for good. Which root counts is another matter: each
hands over to the next by a record both have signed, and who knows the name can follow the records.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from nova0.mesh.errors import JoinRefused
from nova0.mesh.keys import public_of
from nova0.mesh.surface import topics_of
from nova0.mesh.wire import BROKEN, Signed

MAX_SIGNED_BYTES = 2048
FORMAT = 1
USERS = "user/"  # topics a user's agent may have begin so
MOST_ROOTS = 64  # in the life of a cluster
FOR_GOOD = 1 << 62  # serial of a tombstone that puts a machine out with every key it has or will have


class Certificate(Struct, array_like=True, frozen=True):
    """What a key may be and do. Does not expire; a tombstone puts it out."""

    format: int
    cluster: bytes  # the first root's public key
    node_id: bytes
    host: str  # of an operator: the name
    roles: tuple[str, ...]
    topics: tuple[str, ...]  # those of its roles, and others it was given; what they count for: mesh.entitlement
    key: bytes  # CURVE; of an operator Ed25519
    serial: int
    signer: bytes
    vouch: bytes = b""  # Ed25519 key with which this machine signs for its users' agents
    process: str = ""  # a user's agent: the only process it may be


class SignerSet(Struct, array_like=True, frozen=True):
    """Which signers count; signed by the root. A lower generation never replaces a higher, nor an earlier
    root's word that of a later."""

    format: int
    cluster: bytes
    generation: int
    signers: list[bytes]
    root: int = 1  # version of the root that signed it

    @property
    def age(self) -> tuple[int, int]:
        """The higher counts."""
        return self.root, self.generation


class Root(Struct, array_like=True, frozen=True):
    """From here on the root is another."""

    format: int
    cluster: bytes
    version: int  # of the new one; the first has 1
    key: bytes  # Ed25519, its public half


class Handover(Struct, array_like=True, frozen=True):
    """Signed by the root before, and by the new one over the same bytes."""

    root: Signed
    accepted: bytes


class Trust(Struct, array_like=True, frozen=True):
    """Whom a node believes, in the form nodes tell each other."""

    roots: tuple[Handover, ...]
    signers: Signed


class Chain(Struct, array_like=True, frozen=True):
    """What a node shows: its certificate and the signers it leads back through."""

    certificate: Signed
    signers: Signed
    user: Signed | None = None  # a user's agent: its own, made by the machine of `certificate`
    roots: tuple[Handover, ...] = ()  # from the first root, or from one the reader knows, to the present one


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
_read_root = msgspec.msgpack.Decoder(Root).decode
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


@dataclass(frozen=True)
class Roots:
    """The cluster's roots, from the first to the present one, and the records that lead there."""

    keys: tuple[bytes, ...]
    records: tuple[Handover, ...] = ()

    @property
    def cluster(self) -> bytes:
        return self.keys[0]

    @property
    def key(self) -> bytes:
        """The root that counts."""
        return self.keys[-1]

    @property
    def version(self) -> int:
        return len(self.keys)

    def follow(self, records: Iterable[Handover]) -> Roots:
        """With what these records say besides, in order; those known are passed over. Raises JoinRefused."""
        keys, taken = list(self.keys), list(self.records)
        for record in records:
            if len(record.root.body) > MAX_SIGNED_BYTES:
                raise JoinRefused("a change of root is too long")
            try:
                root = _read_root(record.root.body)
            except BROKEN as error:
                raise JoinRefused(f"a change of root cannot be read: {error}") from None
            if root.cluster != self.cluster or root.version < 2:
                raise JoinRefused("a change of root is malformed, or of another cluster")
            if root.version <= len(keys):
                if keys[root.version - 1] != root.key:
                    raise JoinRefused(
                        f"shows another root (version {root.version}) than the one known here: somebody else may hold "
                        "an earlier root's key; see docs/keys.md"
                    )
                continue
            if root.version > len(keys) + 1 or root.version > MOST_ROOTS or root.key in keys:
                raise JoinRefused(f"a change of root to version {root.version} does not follow on {len(keys)}")
            check(keys[-1], "root", record.root)
            check(root.key, "root", Signed(record.root.body, record.accepted))
            keys.append(root.key)
            taken.append(record)
        return Roots(tuple(keys), tuple(taken))


def hand_over(old: Ed25519PrivateKey, new: Ed25519PrivateKey, roots: Roots) -> Handover:
    """`old` is the root that counts; from this record on it is `new`. Raises JoinRefused."""
    if roots.version >= MOST_ROOTS:
        raise JoinRefused(f"the root was changed {roots.version - 1} times, and no more are taken: make a new cluster")
    signed = sign(old, "root", Root(FORMAT, roots.cluster, roots.version + 1, public_of(new)))
    return Handover(signed, new.sign(_prefix("root") + signed.body))


def verify(chain: Chain, roots: Roots, known: SignerSet | None = None) -> tuple[Certificate, SignerSet]:
    """The certificate and the newest signer set, after every check. Raises JoinRefused saying which failed.

    `roots`: those known; further ones that the chain leads to are followed. `known`: the signer set on disk;
    a signer it no longer has is refused. Of a user's agent the result is its own certificate, checked back
    through its machine's.
    """
    cluster, followed = roots.cluster, roots.follow(chain.roots)
    signers = read_signers(chain.signers, followed)
    if signers.cluster != cluster:
        raise JoinRefused("certificate of another cluster")
    if signers.root != followed.version and (known is None or followed.version > roots.version):
        raise JoinRefused("its signers are by the word of an earlier root, which counts no more")
    newest = signers if known is None or signers.age > known.age else known
    certificate = verify_kind("node", chain.certificate, cluster, newest)
    if not certificate.host or "/" in certificate.host or certificate.process:
        raise JoinRefused("certificate is malformed")
    if chain.user is not None:
        certificate = _verify_user(chain.user, certificate)
    return certificate, newest


def verify_kind(kind: str, signed: Signed, cluster: bytes, signers: SignerSet) -> Certificate:
    """A certificate that a signer of the cluster made as `kind`. Raises JoinRefused."""
    certificate = read_certificate(signed)
    if certificate.cluster != cluster:
        raise JoinRefused("certificate of another cluster")
    if certificate.signer not in signers.signers:
        remedy = "join it again with a token" if kind == "node" else "`nova0 operator renew` while a controller is up"
        raise JoinRefused(f"{certificate.host}: its certificate's signer was dropped; {remedy}")
    check(certificate.signer, kind, signed)
    if len(certificate.key) != 32:
        raise JoinRefused("certificate is malformed")
    return certificate


def read_certificate(signed: Signed) -> Certificate:
    """What it says, unchecked. Raises JoinRefused on what is none."""
    if len(signed.body) > MAX_SIGNED_BYTES:
        raise JoinRefused("certificate is too long")
    try:
        return _read_certificate(signed.body)
    except BROKEN as error:
        raise JoinRefused(f"certificate cannot be read: {error}") from None


def _verify_user(signed: Signed, machine: Certificate) -> Certificate:
    """A machine vouches for little: its own host, one process, topics of users, the role every node has."""
    user = read_certificate(signed)
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
    topics: tuple[str, ...] | None = None,
    serial: int = 1,
    node_id: bytes | None = None,
    vouch: bytes = b"",
    kind: str = "node",
) -> Signed:
    """A certificate; the signer must be in the cluster's signer set to be believed. `topics` default to those of
    its roles."""
    topics = role_topics(roles) if topics is None else topics
    record = Certificate(
        FORMAT, cluster, node_id or secrets.token_bytes(16), host, roles, topics, key, serial, public_of(signer), vouch
    )
    return sign(signer, kind, record)


def role_topics(roles: tuple[str, ...], more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What a new certificate says: the topics that take one of these roles, any member's, and those given besides."""
    return tuple(dict.fromkeys((*topics_of(roles), USERS + "*", *more)))


def renewed_topics(old: Certificate) -> tuple[str, ...]:
    """Of a certificate made anew: as `role_topics`, with what the old one named besides; never `*`."""
    return role_topics(old.roles, tuple(topic for topic in old.topics if topic != "*"))


def vouch_for(key: Ed25519PrivateKey, machine: Certificate, user_key: bytes, process: str, serial: int) -> Signed:
    """The certificate of a user's agent on this machine; `key` is that of `machine.vouch`."""
    record = Certificate(
        FORMAT, machine.cluster, machine.node_id, machine.host, ("member",), (USERS + "*",), user_key, serial,
        machine.vouch, b"", process,
    )  # fmt: skip
    return sign(key, "user", record)


def has_topic(certificate: Certificate, topic: str) -> bool:
    """Does the certificate name `topic`, itself or by a pattern? What that counts for: mesh.entitlement."""
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


def read_signers(signed: Signed, roots: Roots) -> SignerSet:
    """Raises JoinRefused unless the root it names signed it and it can be read. An earlier root's is read as
    well: a member that was away shows it; `SignerSet.age` says which counts."""
    if len(signed.body) > MAX_SIGNED_BYTES:
        raise JoinRefused("signed signers are too long")
    try:
        signers = _read_signers(signed.body)
    except BROKEN as error:
        raise JoinRefused(f"signers cannot be read: {error}") from None
    if not 1 <= signers.root <= roots.version:
        raise JoinRefused(f"signers by the word of root {signers.root}; known here are those up to {roots.version}")
    check(roots.keys[signers.root - 1], "signers", signed)
    return signers
