"""POST /servers/{id}/action: what nova0 does to a server, one function an action.

Those of the field that it does not do yet are in `server_actions_unbuilt.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova0.controller.api import validation as v
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import console, moves, security_groups
from nova0.controller.compute.moves import Move
from nova0.objects.states import VmState

PATH = "/servers/<server_id>/action"
_ANYTHING: dict[str, Any] = {}  # the field takes whatever stands there, and so it is not looked at
_NULL = {"type": "null"}
_LOCK_REASON = {
    "anyOf": [_NULL, v.obj({"locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}})],
}
_LINES = {
    "type": ["integer", "string", "null"],
    "minimum": -1,
    "maximum": 999_999_999,
    "pattern": r"-1|[0-9]+",
    "maxLength": 9,
}
_GROUP = v.obj({"name": v.NAME}, ["name"])


def _simple(name: str, move: Move, body: dict[str, Any]) -> Callable[[Request, str], None]:
    """An action that checks the state, writes the task and leaves the work to the conductor."""

    @route("POST", PATH, action=name, needs="member", success=202, body=body)
    def act(request: Request, server_id: str) -> None:
        request.store.write(lambda: moves.begin(move, server_id, request.context))

    return act


start = _simple("os-start", moves.START, _ANYTHING)
stop = _simple("os-stop", moves.STOP, _ANYTHING)
pause = _simple("pause", moves.PAUSE, _ANYTHING)
unpause = _simple("unpause", moves.UNPAUSE, _ANYTHING)


@route(
    "POST", PATH, action="reboot", needs="member", success=202,
    body=v.obj({"type": {"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}}, ["type"]),
)  # fmt: skip
def reboot(request: Request, server_id: str) -> None:
    move = moves.HARD_REBOOT if request.body["type"].upper() == "HARD" else moves.SOFT_REBOOT
    request.store.write(lambda: moves.begin(move, server_id, request.context))


@route("POST", PATH, action="lock", needs="member", success=202, body={"2.1": _ANYTHING, "2.73": _LOCK_REASON})
def lock(request: Request, server_id: str) -> None:
    reason = request.body.get("locked_reason") if request.at_least("2.73") and request.body else None
    request.store.write(lambda: moves.lock(server_id, request.context, reason))


@route("POST", PATH, action="unlock", needs="member", success=202, body=_ANYTHING)
def unlock(request: Request, server_id: str) -> None:
    request.store.write(lambda: moves.unlock(server_id, request.context))


@route("POST", PATH, action="forceDelete", needs="member", success=202, body=_ANYTHING)
def force_delete(request: Request, server_id: str) -> None:
    """Every delete here is at once."""
    request.store.write(lambda: moves.delete(server_id, request.context))


@route("POST", PATH, action="os-resetState", needs="admin", success=202,
       body=v.obj({"state": {"enum": ["active", "error"]}}, ["state"]))  # fmt: skip
def reset_state(request: Request, server_id: str) -> None:
    vm_state = VmState.ACTIVE if request.body["state"] == "active" else VmState.ERROR
    request.store.write(lambda: moves.reset_state(server_id, request.context, vm_state))


@route(
    "POST", PATH, action="os-getConsoleOutput", needs="member",
    body=v.obj({"length": _LINES}),
)  # fmt: skip
def console_output(request: Request, server_id: str) -> dict[str, Any]:
    length = request.body.get("length")
    lines = None if length is None else int(length)
    return {"output": console.output(request.services, server_id, request.context, lines)}


@route("POST", PATH, action="addSecurityGroup", needs="member", success=202, body=_GROUP)
def add_security_group(request: Request, server_id: str) -> None:
    changed = request.store.write(lambda: security_groups.add(server_id, request.context, request.body["name"]))
    request.services.guests.networks_changed(changed)


@route("POST", PATH, action="removeSecurityGroup", needs="member", success=202, body=_GROUP)
def remove_security_group(request: Request, server_id: str) -> None:
    changed = request.store.write(lambda: security_groups.remove(server_id, request.context, request.body["name"]))
    request.services.guests.networks_changed(changed)
