"""The cloud's own certificate authority and the API server's certificate: made once, kept, renewed on change.

No framework, no socket: files in, files out.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nova0 import atomic_file

CA_DAYS = 3650
SERVER_DAYS = 825  # what the strictest clients accept
RENEW_BEFORE_DAYS = 30
CLOCK_SKEW = datetime.timedelta(days=1)  # lab boxes start with clocks that lie


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the authority clients trust, and what the API server shows."""

    ca: Path
    certificate: Path
    key: Path


def ensure(folder: Path, names: list[str]) -> TlsFiles:
    """Files for a server reached as `names` (addresses or host names), made or renewed where needed.

    The authority stays the same for the life of `folder`, so that clients need to be told only once."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    files = TlsFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key_path = folder / "ca.key"
    if not (files.ca.exists() and ca_key_path.exists()):
        ca_key = ec.generate_private_key(ec.SECP256R1())
        atomic_file.write(ca_key_path, _private(ca_key), 0o600)
        atomic_file.write(files.ca, _authority(ca_key).public_bytes(serialization.Encoding.PEM), 0o644)
    wanted = sorted({*names, "localhost", "127.0.0.1", socket.gethostname()})
    if _serves(files, wanted):
        return files
    ca_key_read = serialization.load_pem_private_key(ca_key_path.read_bytes(), password=None)
    assert isinstance(ca_key_read, ec.EllipticCurvePrivateKey)
    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _server(authority, ca_key_read, key, wanted)
    atomic_file.write(files.key, _private(key), 0o600)
    atomic_file.write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return files


def _serves(files: TlsFiles, wanted: list[str]) -> bool:
    if not (files.certificate.exists() and files.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    have = {str(name.value) for name in names}
    return left.days > RENEW_BEFORE_DAYS and set(wanted) <= have


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"nova0 CA of {socket.gethostname()}"[:64])])
    return (
        _certificate(name, name, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip


def _server(
    authority: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey, names: list[str]
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nova0 API")])
    return (
        _certificate(subject, authority.subject, key, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
