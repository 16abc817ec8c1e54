"""auth/*: tokens are given, shown and taken back here; the catalog and where one may go with a token."""

from __future__ import annotations

import logging
from typing import Any

from nova0.controller.api import authentication, errors
from nova0.controller.api import validation as v
from nova0.controller.api.bodies import JSON_MOST_BYTES
from nova0.controller.api.errors import ApiError
from nova0.controller.api.identity import domains, projects
from nova0.controller.api.identity.listing import collection
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.api.times import iso_micro_z
from nova0.controller.db.identity_tables import AssignmentRow, DomainRow, ProjectRow
from nova0.controller.identity import catalog as books
from nova0.controller.identity import passwords
from nova0.controller.identity.login import LoginRefused, log_in
from nova0.controller.identity.tokens import Identity, TokenInvalid, Tokens

LOG = logging.getLogger(__name__)

_TEXT = {"type": "string", "minLength": 1, "maxLength": 4096}
_REF = v.obj({"id": _TEXT, "name": _TEXT}, extra=True)
_PASSWORD = {"type": "string", "maxLength": JSON_MOST_BYTES}  # too long a one is a wrong one, and looks like it
_USER = v.obj({"id": _TEXT, "name": _TEXT, "password": _PASSWORD, "domain": _REF}, extra=True)
_AUTH = v.obj(
    {
        "auth": v.obj(
            {
                "identity": v.obj(
                    {
                        "methods": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 3,
                            "uniqueItems": True,
                            "items": {"enum": ["password", "token", "application_credential"]},
                        },
                        "password": v.obj({"user": _USER}, ["user"], extra=True),
                        "token": v.obj({"id": _TEXT}, ["id"], extra=True),
                        "application_credential": v.obj(
                            {"id": _TEXT, "name": _TEXT, "secret": _TEXT, "user": _USER}, ["secret"], extra=True
                        ),
                    },
                    ["methods"],
                    extra=True,
                ),
                "scope": {
                    "anyOf": [
                        {"const": "unscoped"},
                        v.obj({"unscoped": v.obj({}, extra=True)}, ["unscoped"]),
                        v.obj(
                            {"project": v.obj({"id": _TEXT, "name": _TEXT, "domain": _REF}, extra=True)}, ["project"]
                        ),
                        v.obj({"domain": _REF}, ["domain"]),
                        v.obj({"system": v.obj({"all": {"const": True}}, ["all"])}, ["system"]),
                    ]
                },
            },
            ["identity"],
            extra=True,
        )
    },
    ["auth"],
    extra=True,
)
_NOCATALOG = {"nocatalog": v.TEXT}


def _tokens(request: Request) -> Tokens:
    return request.services.extras["tokens"]


def view(request: Request, identity: Identity, *, with_catalog: bool = True) -> dict[str, Any]:
    """The body of a token."""
    claims = identity.claims
    token: dict[str, Any] = {
        "methods": claims.methods,
        "user": {
            "id": identity.user_id,
            "name": identity.user_name,
            "domain": dict(zip(("id", "name"), identity.user_domain, strict=True)),
            "password_expires_at": None,
        },
        "audit_ids": claims.audit_ids,
        "expires_at": iso_micro_z(claims.expires_at),
        "issued_at": iso_micro_z(claims.issued_at),
    }
    if identity.project_id and identity.project_domain:
        token["project"] = {
            "id": identity.project_id,
            "name": identity.project_name,
            "domain": dict(zip(("id", "name"), identity.project_domain, strict=True)),
        }
        token["is_domain"] = False
    elif identity.domain:
        token["domain"] = dict(zip(("id", "name"), identity.domain, strict=True))
    elif identity.system:
        token["system"] = {"all": True}
    if claims.scope:
        token["roles"] = [{"id": id, "name": name} for id, name in identity.roles]
        if with_catalog:
            token["catalog"] = books.catalog(request.services.public_url, request.services.region)
    if identity.credential:
        token["application_credential"] = identity.credential
    return {"token": token}


_NAMED: dict[str, Any] = {"id": None, "name": None}
_NAMED_IN_DOMAIN = _NAMED | {"domain": _NAMED}
_IDENTITY = {
    "methods": None,
    "password": {"user": _NAMED_IN_DOMAIN | {"password": None}},
    "token": {"id": None},
    "application_credential": _NAMED | {"secret": None, "user": _NAMED_IN_DOMAIN},
}
_SCOPE = {"project": _NAMED_IN_DOMAIN, "domain": _NAMED, "system": {"all": None}}


def _essential(auth: dict[str, Any]) -> dict[str, Any]:
    """What a log-in looks at, without what else was sent."""
    found: dict[str, Any] = {"identity": _shaped(auth["identity"], _IDENTITY)}
    if "scope" in auth:
        scope = auth["scope"]
        unscoped = scope == "unscoped" or "unscoped" in scope
        found["scope"] = "unscoped" if unscoped else _shaped(scope, _SCOPE)
    return found


def _shaped(value: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in shape.items():
        held = value.get(key)
        if isinstance(held, dict) and inner:
            found[key] = _shaped(held, inner)
        elif isinstance(held, str):
            found[key] = held[: passwords.MOST_LENGTH + 1]  # one more is too long as well
        elif held is not None and not isinstance(held, dict):
            found[key] = held
    return found


@route("POST", "/auth/tokens", needs="public", success=201, body=_AUTH, query=_NOCATALOG)
def issue(request: Request) -> Answer:
    auth = _essential(request.body["auth"])
    request.body.clear()  # the log-in may have to wait, and shall hold little
    try:
        claims = log_in(request.store, _tokens(request), auth, lambda account: authentication.judged(request, account))
        text, identity = _tokens(request).issue(claims)
    except (LoginRefused, TokenInvalid) as error:
        LOG.info("log-in from %s refused: %s", request.environ.get("REMOTE_ADDR", "-"), error)
        raise authentication.unauthorized(request.services.public_url) from None
    body = view(request, identity, with_catalog="nocatalog" not in request.query)
    return Answer(body, headers={"X-Subject-Token": text, "Vary": "X-Auth-Token"})


def _subject(request: Request) -> tuple[str, Identity]:
    """The token asked about. Its holder may ask, and an admin or a service; ApiError 404 when it is not good."""
    text = request.header("X-Subject-Token")
    if not text:
        raise errors.bad_request("The header X-Subject-Token is missing.")
    try:
        subject = _tokens(request).validate(text)
    except TokenInvalid:
        raise ApiError(404, "Could not find token.") from None
    if subject.user_id != request.who.user_id and not request.context.roles & {"admin", "service"}:
        raise errors.forbidden("You are not authorized to perform the requested action: identity:validate_token.")
    return text, subject


@route("GET", "/auth/tokens", needs="any", query=_NOCATALOG | {"allow_expired": v.TEXT})
def check(request: Request) -> Answer:
    text, identity = _subject(request)
    body = view(request, identity, with_catalog="nocatalog" not in request.query)
    return Answer(body, headers={"X-Subject-Token": text, "Vary": "X-Auth-Token"})


@route("DELETE", "/auth/tokens", needs="any", success=204)
def revoke(request: Request) -> None:
    text, _ = _subject(request)
    _tokens(request).revoke(text)


@route("GET", "/auth/catalog", needs="any")
def show_catalog(request: Request) -> dict[str, Any]:
    if not request.who.claims.scope:
        raise errors.forbidden("A token without a scope has no catalog.")
    found = books.catalog(request.services.public_url, request.services.region)
    return {"catalog": found, "links": {"self": f"{request.prefix}/auth/catalog", "previous": None, "next": None}}


def _targets(user_id: str, kind: str) -> Any:
    return AssignmentRow.select(AssignmentRow.target_id).where(
        AssignmentRow.user_id == user_id, AssignmentRow.target_type == kind
    )


@route("GET", "/auth/projects", needs="any")
def my_projects(request: Request) -> dict[str, Any]:
    table = ProjectRow
    rows = request.store.read(
        lambda: list(table.select().where(table.id.in_(_targets(request.who.user_id, "project")), table.enabled))
    )
    return collection(request, "projects", [projects.view(request, row) for row in rows])


@route("GET", "/auth/domains", needs="any")
def my_domains(request: Request) -> dict[str, Any]:
    table = DomainRow
    rows = request.store.read(
        lambda: list(table.select().where(table.id.in_(_targets(request.who.user_id, "domain")), table.enabled))
    )
    return collection(request, "domains", [domains.view(request, row) for row in rows])


@route("GET", "/auth/system", needs="any")
def my_system(request: Request) -> dict[str, Any]:
    found = request.store.read(lambda: _targets(request.who.user_id, "system").exists())
    return collection(request, "system", [{"all": True}] if found else [])
