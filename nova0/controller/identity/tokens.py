"""Tokens: sealed (Fernet) statements of who, with what scope, until when; nothing of them is stored.

What a token may do is looked up in the books, not sealed in it, so that a role taken away or a user disabled
counts at once; a look-up is kept for moments, and dropped at any change. Taken-back tokens are kept by audit
id until they would have expired.

A clock of the day that is wrong must leave nothing behind. So a token also ends by the store's steady clock, which
nobody can set; what was taken back is forgotten by that clock alone; and a new password voids the tokens got by the
old one by a mark that they carry (`token_series`), not by the time they were issued.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from nova0 import atomic_file
from nova0.controller.db.identity_tables import (
    ApplicationCredentialRow,
    AssignmentRow,
    DomainRow,
    ProjectRow,
    RevokedTokenRow,
    RoleRow,
    UserRow,
)
from nova0.controller.db.store import Store

LIFETIME_S = 4 * 3600
CLOCKS_DIFFER_S = 300.0  # a token issued so far ahead of the clock is still taken
FORGOTTEN_AT_ONCE = 500  # of those taken back, in one transaction
KEPT_S, KEPT_MOST = 5.0, 1000  # looked-up tokens; a look-up is a third of a small request's work
IMPLIED = {"admin": ("manager",), "manager": ("member",), "member": ("reader",)}


class TokenInvalid(Exception):
    """Unknown, expired, taken back, or its user, project or roles are gone."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed in a token."""

    user_id: str
    methods: list[str]
    scope: str  # "project" | "domain" | "system" | ""
    scope_id: str
    issued_at: float
    expires_at: float
    audit_ids: list[str]
    credential_id: str = ""  # application credential it was got with
    series: str | None = None  # its user's when it was issued; None: a token of a nova0 before there were any
    ends: float | None = None  # by the store's steady clock; None as above


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A token's holder, with names looked up. `roles`: [(id, name)], implied ones included."""

    claims: Claims
    user_id: str
    user_name: str
    user_domain: tuple[str, str]  # (id, name)
    project_id: str | None = None
    project_name: str | None = None
    project_domain: tuple[str, str] | None = None
    domain: tuple[str, str] | None = None
    system: bool = False
    roles: list[tuple[str, str]] = field(default_factory=list)
    credential: dict[str, Any] | None = None

    @property
    def effective_roles(self) -> frozenset[str]:
        return frozenset(name for _, name in self.roles)


class Tokens:
    """Seals and opens tokens with the key in state_dir/token.key (made 0600 if absent)."""

    def __init__(self, store: Store, state_dir: Path) -> None:
        self._store = store
        self._fernet = Fernet(_key(state_dir / "token.key"))
        self._known: OrderedDict[str, tuple[float, Identity]] = OrderedDict()
        self._changes = 0

    def issue(self, claims: Claims) -> tuple[str, Identity]:
        """(token text, its holder). TokenInvalid when the scope gives no role."""
        identity = self._store.read(lambda: look_up(claims))
        return self._fernet.encrypt(msgspec.msgpack.encode(claims)).decode().rstrip("="), identity

    def validate(self, text: str) -> Identity:
        """The holder of a token; TokenInvalid when it is not good now. What was looked up is kept for
        KEPT_S, or until `forget`."""
        at, known = self._known.get(text, (0.0, None))
        if known is not None and time.monotonic() - at < KEPT_S:
            self._in_time(known.claims)
            return known
        claims, changes = self.open(text), self._changes
        identity = self._store.read(lambda: look_up(claims))
        if changes != self._changes:
            return identity  # what was read may be from before the change
        self._known[text] = (time.monotonic(), identity)
        while len(self._known) > KEPT_MOST:
            self._known.popitem(last=False)
        return identity

    def forget(self) -> None:
        """Something of users, projects, roles or tokens changed: look everything up anew."""
        self._changes += 1
        self._known.clear()

    def open(self, text: str) -> Claims:
        """What a token of ours says; TokenInvalid when it is none of ours, or not good at this time."""
        if len(text) > 2048:
            raise TokenInvalid("not a token of ours")
        try:
            sealed = text.encode("ascii")
            claims = msgspec.msgpack.decode(self._fernet.decrypt(sealed + b"=" * (-len(sealed) % 4)), type=Claims)
        except (InvalidToken, UnicodeEncodeError, msgspec.DecodeError):
            raise TokenInvalid("not a token of ours") from None
        self._in_time(claims)
        return claims

    def _in_time(self, claims: Claims) -> None:
        """TokenInvalid for one that has ended by either clock, or was issued by a clock that was ahead."""
        now, clock = time.time(), self._store.clock
        if claims.expires_at <= now or (claims.ends is not None and claims.ends <= clock.now()):
            raise TokenInvalid("expired")
        if claims.issued_at > now + CLOCKS_DIFFER_S:
            ahead = f"{claims.issued_at - now:.0f} s ahead of this controller's clock"
            raise TokenInvalid(f"issued {ahead}, which was or is wrong: log in again")

    def revoke(self, text: str) -> None:
        """Take a token back; forgets those that have ended by the steady clock. TokenInvalid when it is none."""
        claims = self.open(text)

        def closure() -> None:
            now = self._store.clock.now()
            ended = RevokedTokenRow.select(RevokedTokenRow.audit_id).where(RevokedTokenRow.forget_at < now)
            ended = ended.order_by(RevokedTokenRow.forget_at).limit(FORGOTTEN_AT_ONCE)
            if RevokedTokenRow.delete().where(RevokedTokenRow.audit_id.in_(ended)).execute():
                self._store.clock.keep()  # what was forgotten must stay past, also after a restart of the machine
            RevokedTokenRow.insert(
                audit_id=claims.audit_ids[0],
                expires_at=claims.expires_at,
                forget_at=claims.ends or now + max(LIFETIME_S, claims.expires_at - time.time()),
            ).on_conflict_ignore().execute()

        self._store.write(closure)
        self.forget()


def void_all(user: UserRow) -> None:
    """All tokens this user has now are void from here on; the row is to be saved by the caller."""
    user.token_series = os.urandom(9).hex()


def new_audit_id() -> str:
    return os.urandom(12).hex()


def _key(path: Path) -> bytes:
    """The key in `path`. Made so that of two processes starting together both end with the same one."""
    if not path.exists():
        atomic_file.create(path, Fernet.generate_key())
    key = path.read_bytes().strip()
    if not key:
        raise RuntimeError(f"{path} is empty: put it back from a backup, or remove it: everybody logs in again then")
    return key


def look_up(claims: Claims) -> Identity:
    """Inside a store closure: the holder as things stand now. TokenInvalid when any part of it is gone."""
    user = UserRow.get_or_none(UserRow.id == claims.user_id)
    if user is None or not user.enabled:
        raise TokenInvalid("its user is gone or disabled")
    if claims.series is None:
        void = bool(user.token_series) or claims.issued_at < user.tokens_not_before
    else:
        void = claims.series != user.token_series
    if void:
        raise TokenInvalid("its user has changed the password, or was disabled, since")
    if RevokedTokenRow.get_or_none(RevokedTokenRow.audit_id == claims.audit_ids[0]):
        raise TokenInvalid("taken back")
    more: dict[str, Any] = {}
    if claims.scope == "project":
        project = ProjectRow.get_or_none(ProjectRow.id == claims.scope_id)
        if project is None or not project.enabled:
            raise TokenInvalid("its project is gone or disabled")
        more = {
            "project_id": project.id,
            "project_name": project.name,
            "project_domain": _enabled_domain(project.domain_id),
        }
    elif claims.scope == "domain":
        more = {"domain": _enabled_domain(claims.scope_id)}
    elif claims.scope == "system":
        more = {"system": True}
    roles = roles_of(claims.user_id, claims.scope, claims.scope_id) if claims.scope else []
    if claims.credential_id:
        credential = ApplicationCredentialRow.get_or_none(ApplicationCredentialRow.id == claims.credential_id)
        if credential is None or (credential.expires_at and credential.expires_at < time.time()):
            raise TokenInvalid("its application credential is gone")
        given = implied([role["name"] for role in credential.roles])
        roles = [role for role in roles if role[1] in given]
        more["credential"] = {"id": credential.id, "name": credential.name, "restricted": not credential.unrestricted}
    if claims.scope and not roles:
        raise TokenInvalid("its user has no role there")
    return Identity(
        claims=claims,
        user_id=user.id,
        user_name=user.name,
        user_domain=_enabled_domain(user.domain_id),
        roles=roles,
        **more,
    )


def roles_of(user_id: str, target_type: str, target_id: str) -> list[tuple[str, str]]:
    """Inside a store closure: [(id, name)] of a user's roles on a target, implied ones included."""
    assigned = (
        RoleRow.select()
        .join(AssignmentRow, on=(AssignmentRow.role_id == RoleRow.id))
        .where(
            AssignmentRow.user_id == user_id,
            AssignmentRow.target_type == target_type,
            AssignmentRow.target_id == target_id,
        )
    )
    names = implied([role.name for role in assigned])
    if not names:
        return []
    return [(role.id, role.name) for role in RoleRow.select().where(RoleRow.name.in_(names)).order_by(RoleRow.name)]


def implied(names: list[str]) -> set[str]:
    """These roles and all they imply."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += IMPLIED.get(name, ())
    return found


def _enabled_domain(domain_id: str) -> tuple[str, str]:
    row = DomainRow.get_or_none(DomainRow.id == domain_id)
    if row is None or not row.enabled:
        raise TokenInvalid("its domain is gone or disabled")
    return row.id, row.name
