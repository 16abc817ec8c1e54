"""The caller's side of a surface: an object whose methods send what they are given.

Needs from its bus two functions, `_send_call` and `_send_cast`; knows nothing of how they travel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nova0 import log
from nova0.mesh.codec import MethodCodec, codecs_of
from nova0.mesh.surface import Surface


class Sender(Protocol):
    """What a stub needs of a bus."""

    def _send_call(self, stub: Stub, codec: MethodCodec, body: bytes) -> Any: ...

    def _send_cast(self, stub: Stub, codec: MethodCodec, body: bytes) -> None: ...


class Stub:
    """Where and how to send; subclasses made by `stub_class` add the methods."""

    __slots__ = ("bus", "context", "host", "on_progress", "request_id", "timeout_s", "topic")

    def __init__(
        self,
        bus: Sender,
        topic: str,
        host: str | None,
        request_id: str | None = None,
        timeout_s: float | None = None,
        context: dict[str, Any] | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> None:
        self.bus, self.topic, self.host = bus, topic, host
        self.request_id, self.timeout_s, self.on_progress = request_id, timeout_s, on_progress
        # a call made for a user's request carries that request's ids unless told otherwise
        self.context: dict[str, Any] = context if context is not None else dict(log.request.get() or {})

    def __repr__(self) -> str:
        return f"<stub of {self.topic}{'@' + self.host if self.host else ''}>"


_classes: dict[type[Surface], type[Stub]] = {}


def stub_class(surface: type[Surface]) -> type[Stub]:
    """A Stub with one sending method for each method of the surface."""
    made = _classes.get(surface)
    if made is None:
        body: dict[str, Any] = {name: _sending(codec) for name, codec in codecs_of(surface).items()}
        body["__slots__"] = ()
        made = _classes[surface] = type(f"{surface.__name__}Stub", (Stub,), body)
    return made


def _sending(codec: MethodCodec) -> Callable[..., Any]:
    row = codec.row
    if row.kind == "cast":

        def cast(self: Stub, *args: Any, **kwargs: Any) -> None:
            self.bus._send_cast(self, codec, codec.pack_arguments(args, kwargs))

        cast.__name__, cast.__doc__ = row.name, row.doc
        return cast

    def call(self: Stub, *args: Any, **kwargs: Any) -> Any:
        return self.bus._send_call(self, codec, codec.pack_arguments(args, kwargs))

    call.__name__, call.__doc__ = row.name, row.doc
    return call
