"""In which states which action may begin, as data, and the refusals in the field's words.

`check` is called inside the same transaction that writes the new task state, so of two racing actions
only one passes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nova0.controller.compute.refusals import Conflict
from nova0.controller.context import RequestContext
from nova0.controller.db.compute_tables import InstanceRow
from nova0.objects.states import TaskState, VmState

ANY = None
IDLE: frozenset[str | None] = frozenset({None})
_ESCAPE: frozenset[str | None] = frozenset(
    {  # a hard reboot may free a server from these
        None,
        TaskState.REBOOTING,
        TaskState.REBOOT_PENDING,
        TaskState.REBOOT_STARTED,
        TaskState.REBOOTING_HARD,
        TaskState.UNPAUSING,
        TaskState.PAUSING,
        TaskState.RESUMING,
        TaskState.SUSPENDING,
    }
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`vm_states`, `task_states`: those allowed, ANY for all."""

    vm_states: frozenset[str] | None
    task_states: frozenset[str | None] | None = IDLE
    lock_blocks: bool = True
    must_have_launched: bool = True
    must_have_host: bool = False


def _in(*states: str) -> frozenset[str]:
    return frozenset(states)


RULES = {
    "delete": Rule(vm_states=ANY, task_states=ANY, must_have_launched=False),
    "forceDelete": Rule(vm_states=ANY, task_states=ANY, must_have_launched=False),
    "restore": Rule(vm_states=_in(VmState.SOFT_DELETED)),
    "stop": Rule(vm_states=_in(VmState.ACTIVE, VmState.ERROR), must_have_host=True),
    "start": Rule(vm_states=_in(VmState.STOPPED), must_have_host=True),
    "reboot": Rule(vm_states=_in(VmState.ACTIVE), must_have_host=True),
    "hard reboot": Rule(
        vm_states=_in(VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR),
        task_states=_ESCAPE,
        must_have_host=True,
    ),
    "pause": Rule(vm_states=_in(VmState.ACTIVE), must_have_host=True),
    "unpause": Rule(vm_states=_in(VmState.PAUSED), must_have_host=True),
    "update_metadata": Rule(
        vm_states=_in(VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED),
        task_states=ANY,
    ),
    "update": Rule(vm_states=ANY, task_states=ANY, must_have_launched=False),
    "consoles": Rule(vm_states=ANY, task_states=ANY, lock_blocks=False, must_have_launched=False, must_have_host=True),
}
SHOWN = {"hard reboot": "reboot", "update_metadata": "update metadata of"}


def check(action: str, row: InstanceRow, context: RequestContext) -> None:
    """Raises Conflict with the field's text when `action` may not begin now."""
    rule, shown = RULES[action], SHOWN.get(action, action)
    if rule.lock_blocks and row.locked_by and not context.is_admin:
        raise Conflict(f"Instance {row.uuid} is locked")
    if rule.vm_states is not ANY and row.vm_state not in rule.vm_states:
        raise Conflict(f"Cannot '{shown}' instance {row.uuid} while it is in vm_state {row.vm_state}")
    if rule.task_states is not ANY and row.task_state not in rule.task_states:
        raise Conflict(f"Cannot '{shown}' instance {row.uuid} while it is in task_state {row.task_state}")
    if rule.must_have_launched and row.launched_at is None:
        raise Conflict(f"Cannot '{shown}' instance {row.uuid}: it never started. Delete it and create a new one")
    if rule.must_have_host and not row.host:
        raise Conflict(f"Instance {row.uuid} is not ready")
