"""What a program is told of nodes: what is believed of one, what it is seen as, who called."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """What this node believes of a peer."""

    UNKNOWN = "unknown"  # not heard since our own start; nothing is concluded from it
    UP = "up"
    SUSPECT = "suspect"  # beats missed; being probed
    DOWN = "down"
    LEFT = "left"  # said goodbye


class Member(msgspec.Struct, kw_only=True):
    """One node of the cluster as seen from here."""

    node: str  # "<host>/<process>", e.g. "lab1/host"
    host: str
    roles: tuple[str, ...]
    topics: tuple[str, ...]
    address: str  # host:port of its RPC socket
    version: str
    status: Status
    beat_age_s: float | None  # seconds since last sign of life; None before the first
    load: int = 0  # calls it is working on
    detail: str = ""  # why it is not up: stopped, loop held, cut link; and who says so
    quarantine: str = ""  # why it is given no new work: two machines use its key
    protocol: int = 1  # highest it speaks, as its card says
    wrong_topics: tuple[str, ...] = ()  # offered though its certificate does not allow it: nobody asks it there


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, as certified; given by `Bus.caller()` inside a method."""

    node: str
    host: str
    roles: tuple[str, ...]
    request_id: str
    context: dict[str, Any] = {}
    operator: str = ""  # whose order it is, where `roles` has operator
