"""Logging in: proof (password, token, application credential) and a scope become a token's claims."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from nova0.controller.db.identity_tables import (
    ApplicationCredentialRow,
    DomainRow,
    ProjectRow,
    UserRow,
)
from nova0.controller.db.store import Store
from nova0.controller.identity import passwords
from nova0.controller.identity.attempts import Attempt
from nova0.controller.identity.tokens import LIFETIME_S, Claims, TokenInvalid, Tokens, new_audit_id, roles_of


class LoginRefused(Exception):
    """The proof or the scope does not hold. The message is for the log; the client is told nothing of why."""


Judge = Callable[[str], AbstractContextManager[Attempt]]  # given the account; see Attempts.judged


def log_in(store: Store, tokens: Tokens, auth: dict[str, Any], judge: Judge) -> Claims:
    """Claims for `auth`, the value of that key in POST auth/tokens (checked by schema). Raises LoginRefused, and
    attempts.TooMany."""
    methods = auth["identity"]["methods"]
    proved: Claims | None = None
    for method in methods:
        found = _PROOFS[method](store, tokens, auth["identity"].get(method) or {}, judge)
        if proved is not None and proved.user_id != found.user_id:
            raise LoginRefused("two methods name different users")
        proved = found
    if proved is None:
        raise LoginRefused("no method")
    if proved.credential_id:
        if auth.get("scope") and proved.methods == ["application_credential"]:
            raise LoginRefused("an application credential has its own scope")
        return proved
    scope, scope_id = store.read(lambda: _scope(auth.get("scope"), proved.user_id))
    return Claims(
        user_id=proved.user_id,
        methods=sorted({*methods, *proved.methods}),
        scope=scope,
        scope_id=scope_id,
        issued_at=time.time(),
        expires_at=proved.expires_at,
        audit_ids=proved.audit_ids,
        series=proved.series,
        ends=proved.ends,
    )


def _fresh(store: Store, user: UserRow, method: str, lasts_s: float = LIFETIME_S, **more: Any) -> Claims:
    """`user` as it was when the proof was read: a password changed since then voids the token."""
    moment = time.time()
    values: dict[str, Any] = {"scope": "", "scope_id": ""} | more
    return Claims(
        user_id=user.id,
        methods=[method],
        issued_at=moment,
        expires_at=moment + lasts_s,
        audit_ids=[new_audit_id()],
        series=user.token_series,
        ends=store.clock.now() + lasts_s,
        **values,
    )


def unknown(*names: Any) -> str:
    """What counts as the account where there is none: short, whatever was sent."""
    return "?" + hashlib.sha256(repr(names).encode(errors="surrogatepass")).hexdigest()


def _by_password(store: Store, tokens: Tokens, proof: dict[str, Any], judge: Judge) -> Claims:
    wanted = proof.get("user") or {}
    user = store.read(lambda: find_user(wanted))
    account = user.id if user else unknown(wanted.get("id"), wanted.get("name"), wanted.get("domain"))
    with judge(account) as attempt:
        if user is not None:  # it may have another password since the wait began
            user = store.read(lambda: UserRow.get_or_none(UserRow.id == account))
        passwords.verify(user.password_hash if user else None, wanted.get("password") or "", attempt)
        disabled = attempt.good and user is not None and not user.enabled
        attempt.good = attempt.good and not disabled  # the wait shall not tell that the password was right
    if disabled:
        raise LoginRefused("the user is disabled")
    if user is None or not attempt.good:
        raise LoginRefused("unknown user or wrong password")
    return _fresh(store, user, "password")


def _by_token(store: Store, tokens: Tokens, proof: dict[str, Any], judge: Judge) -> Claims:
    try:
        held = tokens.validate(proof.get("id") or "").claims
    except TokenInvalid as error:
        raise LoginRefused(f"token: {error}") from None
    moment = time.time()
    if held.credential_id:  # may not leave its scope
        return Claims(
            user_id=held.user_id,
            methods=sorted({*held.methods, "token"}),
            scope=held.scope,
            scope_id=held.scope_id,
            issued_at=moment,
            expires_at=held.expires_at,
            audit_ids=[new_audit_id(), held.audit_ids[-1]],
            credential_id=held.credential_id,
            series=held.series,
            ends=held.ends,
        )
    return Claims(
        user_id=held.user_id,
        methods=held.methods,
        scope="",
        scope_id="",
        issued_at=moment,
        expires_at=held.expires_at,
        audit_ids=[new_audit_id(), held.audit_ids[-1]],
        series=held.series,
        ends=held.ends,
    )


def _by_application_credential(store: Store, tokens: Tokens, proof: dict[str, Any], judge: Judge) -> Claims:
    def closure() -> tuple[ApplicationCredentialRow | None, UserRow | None]:
        table = ApplicationCredentialRow
        if proof.get("id"):
            row = table.get_or_none(table.id == proof["id"])
            return row, UserRow.get_or_none(UserRow.id == row.user_id) if row else None
        user = find_user(proof.get("user") or {})
        return (table.get_or_none(table.user_id == user.id, table.name == proof.get("name")) if user else None), user

    row, user = store.read(closure)
    account = row.id if row else unknown(proof.get("id"), proof.get("name"), proof.get("user"))
    with judge(account) as attempt:
        if row is not None:
            row, user = store.read(closure)
        good = passwords.verify(row.secret_hash if row else None, proof.get("secret") or "", attempt)
    if not good or row is None or user is None:
        raise LoginRefused("unknown application credential or wrong secret")
    lasts_s = min(LIFETIME_S, row.expires_at - time.time()) if row.expires_at else LIFETIME_S
    return _fresh(
        store,
        user,
        "application_credential",
        lasts_s,
        scope="project",
        scope_id=row.project_id,
        credential_id=row.id,
    )


_PROOFS = {
    "password": _by_password,
    "token": _by_token,
    "application_credential": _by_application_credential,
}


def find_user(wanted: dict[str, Any]) -> UserRow | None:
    """Inside a store closure: the user named {id} or {name, domain: {id|name}}."""
    if wanted.get("id"):
        return UserRow.get_or_none(UserRow.id == wanted["id"])
    domain_id = _domain_id(wanted.get("domain") or {})
    if not wanted.get("name") or domain_id is None:
        return None
    return UserRow.get_or_none(UserRow.name == wanted["name"], UserRow.domain_id == domain_id)


def _domain_id(wanted: dict[str, Any]) -> str | None:
    if wanted.get("id"):
        return str(wanted["id"])
    row = DomainRow.get_or_none(DomainRow.name == wanted.get("name"))
    return row.id if row else None


def _scope(wanted: Any, user_id: str) -> tuple[str, str]:
    """(kind, id) of the scope asked for; none asked: the user's default project where it has a role there."""
    if wanted is None:
        user = UserRow.get_or_none(UserRow.id == user_id)
        default = user.default_project_id if user else None
        if default and ProjectRow.get_or_none(ProjectRow.id == default) and roles_of(user_id, "project", default):
            return "project", default
        return "", ""
    if wanted == "unscoped" or "unscoped" in wanted:
        return "", ""
    if "system" in wanted:
        return "system", "all"
    if "domain" in wanted:
        domain_id = _domain_id(wanted["domain"])
        if domain_id is None:
            raise LoginRefused("no such domain")
        return "domain", domain_id
    asked = wanted["project"]
    if asked.get("id"):
        return "project", asked["id"]
    domain_id = _domain_id(asked.get("domain") or {})
    row = ProjectRow.get_or_none(ProjectRow.name == asked.get("name"), ProjectRow.domain_id == domain_id)
    if row is None:
        raise LoginRefused("no such project")
    return "project", row.id
