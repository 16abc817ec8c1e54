"""The guests of this machine, as commands count and show them."""

from __future__ import annotations

from typing import Any

from nova0.mesh.local_client import LocalClient

STATES = {0: "unfinished", 1: "RUNNING", 3: "PAUSED", 4: "SHUTDOWN", 6: "CRASHED"}


def all_of(node: LocalClient) -> list[dict[str, Any]]:
    """As objects.host.HeldGuest, in plain values, of the machine whose node that is. Raises Unreachable."""
    found: list[dict[str, Any]] = node.call(f"compute@{node.members()[0]['host']}", "held")
    return found


def name(guest: dict[str, Any]) -> str:
    """Fit for a terminal, whatever a controller made of it."""
    return "".join(c if c.isprintable() else "?" for c in guest["name"]) or "-"


def state(guest: dict[str, Any]) -> str:
    return STATES.get(guest["power_state"], str(guest["power_state"]))


def doubt(guest: dict[str, Any]) -> str:
    """Why it is kept though the cloud disowns it; "" for all others."""
    import time

    from nova0.cli.output import age

    if not guest["kept"]:
        return ""
    return f"in doubt: {guest['kept']}, says the cloud, {age(max(0.0, time.time() - guest['since']))} ago"


def count(number: int, which: str = "") -> str:
    """1 guest, these 5 guests."""
    if number == 1:
        return f"{'this ' if which else '1 '}guest"
    return f"{which + ' ' if which else ''}{number} guests"
