"""Keys on disk: the machine's CURVE pair, a controller's signer, the cluster's root.

Secrets are 0600; all are written whole or not at all (`nova0.atomic_file`).
"""

from __future__ import annotations

import fcntl
from functools import lru_cache
from pathlib import Path
from typing import IO

import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from zmq.utils import z85

from nova0 import atomic_file
from nova0.mesh.errors import Busy


class CurvePair:
    """`public` is 32 bytes (the machine's key); `public_text`, `secret_text` are as libzmq wants them."""

    def __init__(self, secret_text: bytes) -> None:
        self.secret_text = secret_text
        self.public_text = zmq.curve_public(secret_text)
        self.public = z85.decode(self.public_text)

    def __repr__(self) -> str:  # never the secret
        return f"<CURVE key {key_name(self.public)}>"


def key_name(key: bytes) -> str:
    """Short text for logs and tables."""
    return key.hex()[:12]


@lru_cache(16384)  # Z85 is Python: 12 us, for every beat heard
def key_text(key: bytes) -> str:
    """The Z85 form libzmq and ZAP's User-Id use."""
    return z85.encode(key).decode()


@lru_cache(maxsize=16384)
def key_bytes(text: str) -> bytes:
    """Back from `key_text`; empty for what is none."""
    return z85.decode(text.encode()) if len(text) == 40 else b""


def write_secret(path: Path, body: bytes) -> None:
    atomic_file.write(path, body, 0o600)


def write_public(path: Path, body: bytes) -> None:
    atomic_file.write(path, body, 0o644)


def node_key(state_dir: Path) -> CurvePair:
    """The machine's pair; made at first use, by whichever process is first."""
    path = state_dir / "node.key"
    if not path.exists():
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _, secret = zmq.curve_keypair()
        atomic_file.create(path, secret)  # does not replace: two processes end up with one key
    return read_pair(path)


def read_pair(path: Path) -> CurvePair:
    return CurvePair(path.read_bytes().strip())


def new_pair(path: Path) -> CurvePair:
    """A pair of its own, kept there."""
    _, secret = zmq.curve_keypair()
    write_secret(path, secret)
    return CurvePair(secret)


def new_signing_key(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    write_secret(path, key.private_bytes_raw())
    return key


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Raises FileNotFoundError where this machine holds no such key."""
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def vouching_key(state_dir: Path) -> Ed25519PrivateKey:
    """With which this machine signs for its users' agents; made at first use."""
    try:
        return signing_key(state_dir / "vouch.key")
    except FileNotFoundError:
        return new_signing_key(state_dir / "vouch.key")


def public_of(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def only_one(state_dir: Path, process: str, taken: str = "") -> IO[str]:
    """A lock held while this process of this machine runs. Raises Busy when another holds it."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = open(state_dir / f"lock.{process}", "a")  # noqa: SIM115  (held for the process's life)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Busy(taken or f"{state_dir}: a {process} process runs here already; `nova0 down` ends it") from None
    return lock


def next_boot(state_dir: Path, process: str, step: int = 1) -> int:
    """The number of this start; grows with each, also through a crash. Peers refuse a lower one. `step`: far
    enough ahead of any copy of this machine, to be heard."""
    path = state_dir / f"boot.{process}"
    try:
        last = int(path.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    write_secret(path, str(last + step).encode())
    return last + step
