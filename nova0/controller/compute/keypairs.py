"""The book of key pairs: public halves kept per user; a private half made here is told once and forgotten.

Functions that touch rows run inside a transaction of the store; `generate` and `read_public` do not.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nova0.controller.compute.refusals import BadRequest, Conflict, NotFound
from nova0.controller.db.compute_tables import KeypairRow

GENERATED_BITS = 2048
CERTIFICATE_LIFE = datetime.timedelta(days=3650)


def read_public(public_key: str, kind: str) -> str:
    """The fingerprint of an imported public key (MD5 in the ssh form, SHA-1 for x509), or BadRequest."""
    try:
        if kind == "x509":
            certificate = x509.load_pem_x509_certificate(public_key.encode())
            return _colons(hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER)).hexdigest())  # noqa: S324
        parts = public_key.split()
        if len(parts) < 2:
            raise ValueError("it has no type and data")
        data = base64.b64decode(parts[1], validate=True)
        if data[4 : 4 + len(parts[0])] != parts[0].encode():  # the data repeat their kind after a length
            raise ValueError("its type and its data differ")
        with contextlib.suppress(UnsupportedAlgorithm):  # kinds the library does not know, as security keys
            serialization.load_ssh_public_key(" ".join(parts[:2]).encode())
        return _colons(hashlib.md5(data, usedforsecurity=False).hexdigest())
    except (ValueError, binascii.Error, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise BadRequest(f"Keypair data is invalid: failed to generate fingerprint ({error})") from error


def generate(kind: str) -> tuple[str, str, str]:
    """(private key as PEM, public key, fingerprint). Takes tens of milliseconds: call through `native.offload`."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=GENERATED_BITS)
    if kind == "x509":
        return _certified(private)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    text = public.decode() + " Generated-by-nova0"
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return pem.decode(), text, read_public(text, "ssh")


def create(user_id: str, name: str, kind: str, public_key: str, fingerprint: str) -> KeypairRow:
    if KeypairRow.get_or_none(KeypairRow.user_id == user_id, KeypairRow.name == name) is not None:
        raise Conflict(f"Key pair '{name}' already exists.")
    return KeypairRow.create(user_id=user_id, name=name, type=kind, public_key=public_key, fingerprint=fingerprint)


def get(user_id: str, name: str) -> KeypairRow:
    row = KeypairRow.get_or_none(KeypairRow.user_id == user_id, KeypairRow.name == name)
    if row is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return row


def listed(user_id: str) -> list[KeypairRow]:
    return list(KeypairRow.select().where(KeypairRow.user_id == user_id).order_by(KeypairRow.name))


def _certified(private: rsa.RSAPrivateKey) -> tuple[str, str, str]:
    """A self-signed certificate as the public half, for guests that log in by one."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nova0")])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + CERTIFICATE_LIFE)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), text, read_public(text, "x509")


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
