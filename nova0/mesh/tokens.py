"""Join tokens: what is handed to a newcomer, and the book in which a controller keeps what they allow.

Only the SHA-256 of a secret is kept. A token is shown once and never logged.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from nova0 import clock
from nova0.clock import Moment
from nova0.mesh.errors import JoinRefused
from nova0.mesh.keys import write_secret
from nova0.mesh.wire import BROKEN

MAX_TOKENS = 1000
FORGET_S = 86400.0  # one that has expired is kept so long, to answer those who ask again


class Seed(Struct, array_like=True, frozen=True):
    """Where a door is, and the CURVE key it must prove."""

    address: str
    door_port: int
    key: bytes


class Token(Struct, array_like=True, frozen=True):
    format: int
    token_id: str
    secret: bytes
    cluster: bytes
    seeds: list[Seed]
    root: bytes = b""  # which root counts, where it is not the first one any more
    root_version: int = 1

    def text(self) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")


def parse(text: str) -> Token:
    """Raises JoinRefused on anything that is not a token."""
    try:
        raw = base64.urlsafe_b64decode(text.strip() + "=" * (-len(text.strip()) % 4))
        token = msgspec.msgpack.decode(raw, type=Token)
    except BROKEN:
        raise JoinRefused("that is not a join token: copy the whole line printed by `nova0 token`") from None
    if token.format != 1 or len(token.cluster) != 32 or not token.seeds:
        raise JoinRefused("this join token is of a newer format: upgrade nova0 on this machine")
    return token


class Grant(Struct):
    """What one token allows, as kept in the book."""

    token_id: str
    secret_sha256: str
    uses_left: int
    expires_at: float  # wall clock, seconds
    roles: tuple[str, ...]
    host: str | None
    minted_by: str
    topics: tuple[str, ...] = ()  # besides those of the roles
    taken: dict[str, str] = {}  # host -> hex of the key it took a use for: a lost answer is asked again
    minted: Moment | None = None  # None: by an earlier nova0, which went by the clock of the day alone
    lifetime_s: float = 0.0

    def left_s(self) -> float:
        """Seconds it is still good for, below 0 once it is not. A clock that is set meanwhile changes nothing."""
        if self.minted is None:
            return self.expires_at - time.time()
        return self.lifetime_s - clock.since(self.minted)


class TokenBook(Protocol):
    """Where grants are kept; each method is one transaction and may block (runs on a real thread)."""

    def add(self, grant: Grant) -> None: ...

    def redeem(self, token_id: str, secret: bytes, host: str, key: bytes, known: set[str]) -> Grant:
        """Take one use for (host, key), or find it taken by the same. `known`: hosts that exist.
        Raises JoinRefused with one message for wrong, used up, expired and revoked."""
        ...

    def revoke(self, token_id: str) -> bool: ...

    def grants(self) -> list[Grant]: ...


class FileTokenBook:
    """A JSON file, 0600, on the controller."""

    def __init__(self, state_dir: str | Path) -> None:
        self._path = Path(state_dir) / "tokens.json"

    def add(self, grant: Grant) -> None:
        with self._open() as book:
            for old in [g.token_id for g in book.values() if g.left_s() < -FORGET_S]:
                del book[old]
            if len(book) >= MAX_TOKENS:
                raise JoinRefused(f"{MAX_TOKENS} tokens exist: revoke some, or wait until they expire")
            book[grant.token_id] = grant

    def redeem(self, token_id: str, secret: bytes, host: str, key: bytes, known: set[str]) -> Grant:
        refused = JoinRefused("token is wrong, used up, expired or revoked: mint a new one with `nova0 token`")
        with self._open() as book:
            grant = book.get(token_id)
            expected = grant.secret_sha256 if grant else "0" * 64
            if not hmac.compare_digest(hashlib.sha256(secret).hexdigest(), expected) or grant is None:
                raise refused
            if grant.taken.get(host) == key.hex():
                return grant
            if grant.uses_left < 1 or grant.left_s() < 0:
                raise refused
            if grant.host is not None and grant.host != host:
                raise JoinRefused(f"this token is for host {grant.host}, not {host}")
            if host in known or host in grant.taken:
                raise JoinRefused(
                    f"there is a host named {host} already: choose another name, or put the old one out first"
                )
            grant.uses_left -= 1
            grant.taken[host] = key.hex()
            return grant

    def revoke(self, token_id: str) -> bool:
        with self._open() as book:
            if token_id not in book:
                return False
            book[token_id].uses_left = 0
            return True

    def grants(self) -> list[Grant]:
        with self._open() as book:
            return list(book.values())

    @contextmanager
    def _open(self) -> Iterator[dict[str, Grant]]:
        """The book under an exclusive lock; written back unless the body raises."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._path.with_suffix(".lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._path.read_bytes() if self._path.exists() else b"{}"
            try:
                book = msgspec.json.decode(before, type=dict[str, Grant])
            except msgspec.DecodeError as error:
                raise JoinRefused(
                    f"{self._path}: the book of join tokens cannot be read ({error}): remove it, then mint new tokens"
                ) from None
            yield book
            after = msgspec.json.encode(book)
            if after != before:
                write_secret(self._path, after)


def mint(
    book: TokenBook,
    cluster: bytes,
    seeds: list[Seed],
    *,
    roles: tuple[str, ...] = ("host",),
    host: str | None = None,
    uses: int = 1,
    lifetime_s: float = 3600,
    minted_by: str = "",
    topics: tuple[str, ...] = (),
    root: tuple[bytes, int] = (b"", 1),
) -> str:
    """A new token's text; only its hash stays behind. `root`: as in `Token`, key and version."""
    secret = secrets.token_bytes(24)
    token = Token(1, secrets.token_hex(6), secret, cluster, seeds, *root)
    book.add(
        Grant(
            token_id=token.token_id,
            secret_sha256=hashlib.sha256(secret).hexdigest(),
            uses_left=uses,
            expires_at=time.time() + lifetime_s,
            minted=clock.moment(),
            lifetime_s=lifetime_s,
            roles=roles,
            host=host,
            minted_by=minted_by,
            topics=topics,
        )
    )
    return token.text()
