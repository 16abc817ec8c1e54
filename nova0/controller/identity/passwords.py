"""Passwords and secrets as Argon2id hashes. Hashing runs on a real thread; no secret is logged or kept."""

from __future__ import annotations

import argon2
from gevent.lock import BoundedSemaphore

from nova0.native import offload

# RFC 9106's second choice is 64 MiB and 3 passes; a controller that fits a small box takes a third of it.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=19456, parallelism=1)
_NOBODY = "$argon2id$v=19$m=19456,t=3,p=1$BnDrB6U6wZOOqpQm7Vwbyg$EsPiDLR1RhRoMQ1FEXbCvJM8+kW5x4G4Fo8LgrRMXvQ"
MOST_LENGTH = 4096
_AT_ONCE = BoundedSemaphore(2)  # each hash takes its memory: many log-ins together wait rather than swell


def hash_password(password: str) -> str:
    with _AT_ONCE:
        return offload(_HASHER.hash, password)


def verify(hashed: str | None, password: str) -> bool:
    """Whether `password` is the one. Takes as long for a user that doesn't exist (None): names can't be probed."""
    if len(password) > MOST_LENGTH:
        return False
    with _AT_ONCE:
        good = offload(_verified, hashed or _NOBODY, password)
    return good and hashed is not None


def _verified(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
