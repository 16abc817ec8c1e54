"""Records on their way to a host, held to what that host will take: what it would refuse harms only itself.

What a store of an earlier version holds may not fit today's types (`objects.fields`). Inside or outside of a closure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from nova0.objects import fields
from nova0.objects.network import NetworkPiece, NetworkView

LOG = logging.getLogger(__name__)
REFUSED = (msgspec.MsgspecError, ValueError, TypeError)
T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")


def fitting_view(view: NetworkView) -> NetworkView:
    """The view without neighbours that its host would refuse. Raises msgspec.ValidationError where that is not all:
    a port of that host left out would be unplugged."""
    try:
        return fields.checked(view)
    except REFUSED:
        kept = tuple(one for one in view.neighbours if _fits(one))
        _tell_once(f"network {view.id}", f"{len(view.neighbours) - len(kept)} of its ports elsewhere are left out")
        return fields.checked(msgspec.structs.replace(view, neighbours=kept))


def fitting_piece(piece: NetworkPiece) -> NetworkPiece:
    """As `fitting_view`, for a piece of one."""
    try:
        return fields.checked(piece)
    except REFUSED:
        return fields.checked(msgspec.structs.replace(piece, view=fitting_view(piece.view)))


def each(what: str, rows: Iterable[R], name: Callable[[R], str], make: Callable[[R], T]) -> list[T]:
    """What can be made of the rows and fits; of the others a line in the log, once, and nothing else."""
    made: list[T] = []
    for row in rows:
        try:
            made.append(fields.checked(make(row)))
        except REFUSED as error:
            _tell_once(f"{what} {name(row)}", f"{type(error).__name__}: {error}")
    return made


def _fits(record: Any) -> bool:
    try:
        fields.checked(record)
    except REFUSED:
        return False
    return True


@lru_cache(4096)
def _tell_once(what: str, why: str) -> None:
    LOG.error("%s: its record in the store does not fit what hosts take, and is not sent to them: %s", what, why)
