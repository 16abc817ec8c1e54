"""Who is asking: a token becomes a RequestContext, and a route's need is held against its roles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nova0.controller.api import connections
from nova0.controller.api.connections import GaveWay
from nova0.controller.api.errors import ApiError
from nova0.controller.context import RequestContext
from nova0.controller.identity.attempts import Attempt, TooMany
from nova0.controller.identity.tokens import Identity, TokenInvalid, Tokens

if TYPE_CHECKING:
    from nova0.controller.api.request import Request

_REQUIRED = "The request you have made requires authentication."


def unauthorized(public_url: str, message: str = _REQUIRED) -> ApiError:
    return ApiError(401, message, headers={"WWW-Authenticate": f'Keystone uri="{public_url}/identity"'})


def identify(environ: dict[str, Any], tokens: Tokens, public_url: str) -> Identity:
    """The holder of X-Auth-Token. ApiError 401 without one, or when it is unknown, expired or taken back."""
    text = environ.get("HTTP_X_AUTH_TOKEN", "").strip()
    if not text:
        raise unauthorized(public_url)
    try:
        return tokens.validate(text)
    except TokenInvalid:
        raise unauthorized(public_url) from None


@contextmanager
def judged(request: Request, account: str) -> Iterator[Attempt]:
    """Around the look at a secret that proves `account`: see Attempts.judged."""
    connection = connections.of(request.environ)
    try:
        with request.services.extras["attempts"].judged(account, connection.address, connection.wait) as attempt:
            yield attempt
    except GaveWay:
        raise ApiError(503, "Too many connections wait; send it again.", headers={"Retry-After": "1"}) from None


def too_many(error: TooMany) -> ApiError:
    seconds = math.ceil(error.retry_after_s)
    told = f"Too many attempts to log in are under way; try again in {seconds} s."
    return ApiError(429, told, headers={"Retry-After": str(seconds)})


def context_of(
    identity: Identity | None, request_id: str, global_request_id: str, traceparent: str = ""
) -> RequestContext:
    if identity is None:
        return RequestContext(request_id=request_id, global_request_id=global_request_id, traceparent=traceparent)
    return RequestContext(
        request_id=request_id,
        global_request_id=global_request_id,
        user_id=identity.user_id,
        user_name=identity.user_name,
        project_id=identity.project_id or "",
        project_name=identity.project_name or "",
        roles=identity.effective_roles,
        traceparent=traceparent,
    )


def authorize(needs: str, context: RequestContext, policy: str) -> None:
    """ApiError 403 when the roles of the token don't reach what the route needs."""
    if needs in ("public", "any") or needs in context.roles:
        return
    raise ApiError(
        403, f"Policy doesn't allow {policy} to be performed: it needs the role {needs}.", kind="PolicyNotAuthorized"
    )
