"""What is alike in every bus, however it sends: making stubs, and what a running method asks about its own call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, cast

from nova0.mesh import offers as dispatch
from nova0.mesh.codec import MethodCodec
from nova0.mesh.members import Caller
from nova0.mesh.stub import Stub, stub_class
from nova0.mesh.surface import Surface

S = TypeVar("S", bound=Surface)


class BaseBus(ABC):
    """See `mesh.bus.Bus` for what each promises."""

    def stub(
        self,
        surface: type[S],
        host: str | None = None,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        context: dict[str, Any] | None = None,
        on_progress: Callable[[Any], None] | None = None,
    ) -> S:
        made = stub_class(surface)(self, surface.topic, host, request_id, timeout_s, context, on_progress)
        return cast(S, made)

    def cancelled(self) -> bool:
        return bool(dispatch.running().taken_back)

    def check_cancelled(self) -> None:
        dispatch.running().check()

    def wait_cancelled(self, timeout_s: float) -> bool:
        return dispatch.running().wait(timeout_s)

    def time_left(self) -> float | None:
        return dispatch.time_left()

    def caller(self) -> Caller:
        return dispatch.running().caller

    def progress(self, value: Any) -> None:
        dispatch.running().progress(value)

    @abstractmethod
    def _send_call(self, stub: Stub, codec: MethodCodec, body: bytes) -> Any: ...

    @abstractmethod
    def _send_cast(self, stub: Stub, codec: MethodCodec, body: bytes) -> None: ...
