"""Who may speak: certificates over CURVE keys, signed by a signer that the cluster's root vouches for.

Signatures are checked over the bytes as received, each kind under its own prefix.
"""

from __future__ import annotations

import secrets

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from nova0.mesh.errors import JoinRefused
from nova0.mesh.keys import public_of
from nova0.mesh.wire import BROKEN, Signed

MAX_SIGNED_BYTES = 2048
FORMAT = 1


class Certificate(Struct, array_like=True, frozen=True):
    """One machine: what its key may be and do. Does not expire; a tombstone puts it out."""

    format: int
    cluster: bytes  # the root's public key
    node_id: bytes
    host: str
    roles: tuple[str, ...]
    topics: tuple[str, ...]  # ("*",): any
    key: bytes
    serial: int
    signer: bytes


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
        Ed25519PublicKey.from_public_bytes(public).verify(signed.signature, _prefix(kind) + signed.body)
    except (InvalidSignature, ValueError):
        raise JoinRefused(f"the {kind}'s signature does not hold: it was not made by this cluster") from None


def verify(chain: Chain, cluster: bytes, known: SignerSet | None = None) -> tuple[Certificate, SignerSet]:
    """The certificate and the newest signer set, after every check. Raises JoinRefused saying which failed.

    `known`: the signer set on disk; a signer it no longer has is refused.
    """
    signers = read_signers(chain.signers, cluster)
    try:
        certificate = _read_certificate(chain.certificate.body)
    except BROKEN as error:  # read before its signature can be checked: it names its signer
        raise JoinRefused(f"certificate cannot be read: {error}") from None
    if signers.cluster != cluster or certificate.cluster != cluster:
        raise JoinRefused("certificate of another cluster")
    newest = signers if known is None or signers.generation > known.generation else known
    if certificate.signer not in newest.signers:
        raise JoinRefused(f"{certificate.host}: its certificate's signer was dropped; join it again with a token")
    check(certificate.signer, "node", chain.certificate)
    if len(certificate.key) != 32 or not certificate.host or "/" in certificate.host:
        raise JoinRefused("certificate is malformed")
    return certificate, newest


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
) -> Signed:
    """A node certificate; the signer must be in the cluster's signer set to be believed."""
    record = Certificate(
        FORMAT, cluster, node_id or secrets.token_bytes(16), host, roles, topics, key, serial, public_of(signer)
    )
    return sign(signer, "node", record)


def read_signers(signed: Signed, cluster: bytes) -> SignerSet:
    """Raises JoinRefused unless the cluster's root signed it and it can be read."""
    check(cluster, "signers", signed)
    try:
        return _read_signers(signed.body)
    except BROKEN as error:
        raise JoinRefused(f"signers cannot be read: {error}") from None
