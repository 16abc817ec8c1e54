"""POST /call: one method of one agent, with plain values, as member and operator."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from nova0 import log
from nova0.controller.api import validation as v
from nova0.controller.api.errors import ApiError
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.services import Mesh

LOG = logging.getLogger(__name__)

_WORD = r"[^\s\pZ@\x00-\x1f\x7f]+"
AGENT = {"type": "string", "pattern": rf"{_WORD}(@{_WORD})?", "maxLength": 300}
TIMEOUT_S, MOST_TIMEOUT_S = 30.0, 300.0
_CALL = v.obj(
    {
        "agent": AGENT,
        "topic": {"type": "string", "pattern": _WORD, "maxLength": 200},
        "host": {"type": "string", "pattern": _WORD, "maxLength": 100},
        "method": {"type": "string", "pattern": r"[A-Za-z][A-Za-z0-9_]*", "maxLength": 100},
        "arguments": v.obj({}, extra=True),
        "timeout_s": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_TIMEOUT_S},
        "request_id": {"type": "string", "pattern": r"[\x21-\x7e]+", "maxLength": 128},
    },
    ["method"],
)

_CODES = {  # of the mesh's own errors; what the method itself raises is 422, or 502 when it is no declared error
    "BadArguments": 400,
    "NotAllowed": 403,
    "UnknownMethod": 404,
    "OutcomeUnknown": 409,
    "Cancelled": 409,
    "StoreDoubted": 409,
    "RemoteError": 502,
    "Incompatible": 502,
    "Unreachable": 503,
    "Busy": 503,
    "CallTimeout": 504,
}


@route("POST", "/call", needs="admin", body=_CALL)
def call(request: Request) -> Answer:
    """{"result": ...}. With `request_id` a repeated request runs at most once and gets the same answer, for a day."""
    wanted = request.body
    mesh = mesh_of(request)
    agent = _agent(wanted)
    user, given = request.context.user_id, wanted.get("request_id")
    LOG.info("%s calls %s.%s by HTTP", user, agent, wanted["method"])
    with raised():
        result = mesh.call(
            agent,
            wanted["method"],
            wanted.get("arguments", {}),
            timeout_s=float(wanted.get("timeout_s", TIMEOUT_S)),
            request_id=f"http/{user}/{given}" if given else None,  # nobody's id is another's, nor a node's own
            context=dict(log.request.get() or {}),
        )
    try:
        body = msgspec.json.encode({"result": result})
    except (TypeError, ValueError, OverflowError) as error:
        raise ApiError(502, f"{agent}.{wanted['method']}: its answer has no form in JSON: {error}") from None
    return Answer(body, headers={"Content-Type": "application/json"})


def _agent(wanted: dict[str, Any]) -> str:
    """TOPIC, TOPIC@HOST or HOST/PROCESS."""
    if ("agent" in wanted) == ("topic" in wanted) or ("agent" in wanted and "host" in wanted):
        raise ApiError(
            400,
            "Say whom to ask: either agent (TOPIC, TOPIC@HOST or HOST/PROCESS), or topic and perhaps host.",
            kind="BadArguments",
            data={"field": "agent"},
        )
    if "agent" in wanted:
        return str(wanted["agent"])
    return "@".join(filter(None, [wanted["topic"], wanted.get("host")]))


def mesh_of(request: Request) -> Mesh:
    """ApiError 503 where this process has no node."""
    if request.services.mesh is None:
        raise ApiError(503, "This API process has no node on the mesh.")
    return request.services.mesh


@contextmanager
def raised() -> Iterator[None]:
    """What an agent or the mesh raises, as an answer: its kind, its message, and its data (`field` ...)."""
    try:
        yield
    except Exception as error:
        kind = getattr(error, "kind", "")
        if not kind:
            if isinstance(error, OverflowError):
                raise ApiError(400, f"arguments: {error}", kind="BadArguments") from None
            raise
        code = _CODES.get(kind, 422)
        headers = {"Retry-After": "1"} if kind == "Busy" else None
        message, data = getattr(error, "message", str(error)), getattr(error, "data", {})
        raise ApiError(code, message, kind=kind, headers=headers, data=data) from error
