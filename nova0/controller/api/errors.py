"""Errors as each service of the field words them: one exception here, one body shape a service.

Nothing of a traceback, a path of this machine or a query may enter a body.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

Shape = Callable[["ApiError"], dict[str, Any]]


class ApiError(Exception):
    """Answer the request with `code` and `message` in the service's own error body.

    `kind` is Neutron's error type (NetworkNotFound ...) or the mesh's (BadArguments ...), `data` what the latter
    says more; other services don't show them.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        kind: str = "",
        headers: dict[str, str] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.kind, self.headers = code, message, kind, headers or {}
        self.data = data or {}

    @property
    def title(self) -> str:
        return HTTPStatus(self.code).phrase


def bad_request(message: str, kind: str = "BadRequest") -> ApiError:
    return ApiError(400, message, kind=kind)


def forbidden(message: str, kind: str = "Forbidden") -> ApiError:
    return ApiError(403, message, kind=kind)


def not_found(what: str, name: str, kind: str = "") -> ApiError:
    """`not_found("Network", id)`: "Network <id> could not be found."."""
    return ApiError(404, f"{what} {name} could not be found.", kind=kind or f"{what.replace(' ', '')}NotFound")


def conflict(message: str, kind: str = "Conflict") -> ApiError:
    return ApiError(409, message, kind=kind)


_COMPUTE_KEYS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def compute_shape(error: ApiError) -> dict[str, Any]:
    if error.code == 401:  # answered by the token check in front of every service, in Keystone's words
        return identity_shape(error)
    return {_COMPUTE_KEYS.get(error.code, "computeFault"): {"code": error.code, "message": error.message}}


def identity_shape(error: ApiError) -> dict[str, Any]:
    return {"error": {"code": error.code, "title": error.title, "message": error.message}}


def network_shape(error: ApiError) -> dict[str, Any]:
    if error.code == 401:
        return identity_shape(error)
    kind = error.kind or {404: "HTTPNotFound", 405: "HTTPMethodNotAllowed", 500: "HTTPInternalServerError"}.get(
        error.code, "HTTP" + error.title.replace(" ", "")
    )
    return {"NeutronError": {"type": kind, "message": error.message, "detail": ""}}


def image_shape(error: ApiError) -> dict[str, Any]:
    if error.code == 401:
        return identity_shape(error)
    return {"message": error.message, "code": f"{error.code} {error.title}", "title": error.title}


def mesh_shape(error: ApiError) -> dict[str, Any]:
    """The method's own error: its kind and data, `field` among them where an argument does not fit."""
    body = identity_shape(error)
    known = {"kind": error.kind, "field": error.data.get("field"), "data": error.data}
    body["error"] |= {name: value for name, value in known.items() if value}
    return body


SHAPES: dict[str, Shape] = {
    "compute": compute_shape,
    "identity": identity_shape,
    "network": network_shape,
    "image": image_shape,
    "mesh": mesh_shape,
}
