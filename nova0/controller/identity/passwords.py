"""Passwords and secrets as Argon2id hashes. Hashing runs on a real thread; no secret is logged or kept."""

from __future__ import annotations

import argon2

from nova0.controller.identity.attempts import Attempt, Turns
from nova0.native import Aside, offload

# RFC 9106's second choice is 64 MiB and 3 passes; a controller that fits a small box takes a third of it.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=19456, parallelism=1)
_NOBODY = "$argon2id$v=19$m=19456,t=3,p=1$BnDrB6U6wZOOqpQm7Vwbyg$EsPiDLR1RhRoMQ1FEXbCvJM8+kW5x4G4Fo8LgrRMXvQ"
MOST_LENGTH = 4096
AT_ONCE = 2  # each hash takes its memory and a processor: many log-ins together wait rather than swell
_TURNS = Turns(AT_ONCE)
_ASIDE = Aside(AT_ONCE)  # guesses shall take no time from the loop
_OURS = Attempt(("", ""), proven=True)  # a new password of somebody who has shown a token


def hash_password(password: str) -> str:
    """Raises attempts.TooMany."""
    with _TURNS.taken(_OURS):
        return offload(_HASHER.hash, password)


def verify(hashed: str | None, password: str, attempt: Attempt) -> bool:
    """Whether `password` is the one; said to `attempt`, too. Takes as long for a user that doesn't exist (None): names
    can't be probed. Raises attempts.TooMany."""
    if len(password) > MOST_LENGTH:
        hashed, password = None, ""  # wrong; and it takes its turn, or such guesses could be made by the thousand
    with _TURNS.taken(attempt):
        run = offload if attempt.proven else _ASIDE.offload
        good = run(_verified, hashed or _NOBODY, password)
    attempt.good = good and hashed is not None
    return attempt.good


def _verified(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
