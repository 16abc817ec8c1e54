"""What can go wrong between two nodes, and how an application's own errors cross the wire.

An error travels as {"kind", "message", "data"}; a kind registered with `wire_error` is raised as its
own class at the caller, any other as `RemoteError`. Tracebacks never travel: they stay in the debug
log of the node where they happened.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar


class MeshError(Exception):
    """Root of everything the mesh raises. `data` is a small mapping that travels with the message."""

    kind: ClassVar[str] = "MeshError"

    def __init__(self, message: str = "", **data: Any) -> None:
        super().__init__(message or self.kind)
        self.message = message or self.kind
        self.data = data


MOST_MESSAGE, MOST_KIND = 16_384, 64  # characters taken of a peer's words: they end in logs and stores
_KINDS: dict[str, type[Exception]] = {}
E = TypeVar("E", bound=type[Exception])


def wire_error(cls: E) -> E:
    """Let `cls` cross the wire under its own name. The class takes (message, **data)."""
    cls.kind = cls.__name__  # type: ignore[attr-defined]
    _KINDS[cls.__name__] = cls
    return cls


def to_wire(error: BaseException) -> dict[str, Any]:
    """The travelling form of any exception: kind, message, data."""
    return {
        "kind": getattr(error, "kind", type(error).__name__),
        "message": getattr(error, "message", None) or str(error) or type(error).__name__,
        "data": getattr(error, "data", {}),
    }


def kind_of(error: BaseException) -> str:
    """The kind of any error, from the closed set of those that cross the wire: fit for a label."""
    kind = getattr(error, "kind", "")
    return kind if kind in _KINDS else "RemoteError"


def from_wire(body: dict[str, Any]) -> Exception:
    """The exception to raise at the caller for what `to_wire` made, or a peer that made it up."""
    kind, message = str(body.get("kind", "RemoteError"))[:MOST_KIND], str(body.get("message", ""))[:MOST_MESSAGE]
    told = body.get("data")
    data = {k: v for k, v in told.items() if isinstance(k, str)} if isinstance(told, dict) else {}
    known = _KINDS.get(kind)
    if known is not None:
        try:
            return known(message, **data)
        except TypeError:  # a peer's data need not fit the class
            return known(message)
    return RemoteError(message, remote_kind=kind)


@wire_error
class RemoteError(MeshError):
    """The method failed on the other side with an error this side has no class for."""


@wire_error
class CallTimeout(MeshError):
    """No answer within the time allowed. The work may or may not have been done."""


@wire_error
class Unreachable(MeshError):
    """There is no such peer now, or the link to it is down: the call was not started there."""


@wire_error
class Busy(MeshError):
    """A bound was reached (queue, calls in flight, records): nothing was started; ask again later."""


@wire_error
class NotAllowed(MeshError):
    """The caller's certified role may not call this method."""


@wire_error
class UnknownMethod(MeshError):
    """The peer's surface has no such method."""


@wire_error
class BadArguments(MeshError):
    """The arguments do not fit the method's signature; `field` names the first that does not."""


@wire_error
class OutcomeUnknown(MeshError):
    """The method was started before the peer restarted and its end was not recorded.

    The mesh never runs it again under this request id: look at the thing itself and decide."""


@wire_error
class Cancelled(MeshError):
    """The caller took the request back."""


@wire_error
class StoreDoubted(MeshError):
    """A destructive call from a controller whose store is older than, or another than, the one this host
    has worked for: nothing was started. `nova0 adopt` there says that it is the right one."""


@wire_error
class JoinRefused(MeshError):
    """A newcomer's token or certificate was not accepted."""


@wire_error
class PutOut(MeshError):
    """That key was put out of the cluster. `data["stone"]`: the tombstone, for whom it concerns."""


@wire_error
class Incompatible(MeshError):
    """Two nodes speak protocol versions too far apart; the message says which side to upgrade."""


@wire_error
class StreamRefused(MeshError):
    """A ticket was not taken: unknown here, another peer's, used, expired; or the node is no longer a member."""


@wire_error
class StreamBroken(MeshError):
    """A stream ended before both sides were done: link cut, peer down or stopped, or closed by one side."""


@wire_error
class FileIncomplete(MeshError):
    """A file could not be fetched whole; what came is kept, and the next fetch goes on from there."""
