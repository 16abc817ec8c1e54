"""Server actions of the field that nova0 does not do yet: each says so, by name, before anything is touched."""

from __future__ import annotations

from collections.abc import Callable

from nova0.controller.api.compute.server_actions import PATH
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.compute import instances
from nova0.controller.compute.refusals import BadRequest, Gone, NotBuilt

NOT_YET = {  # action -> (first, last microversion it exists in, role it needs)
    "addFloatingIp": ("2.1", "2.43", "member"),
    "removeFloatingIp": ("2.1", "2.43", "member"),
    "addFixedIp": ("2.1", "2.43", "member"),
    "removeFixedIp": ("2.1", "2.43", "member"),
    "changePassword": ("2.1", "2.999", "member"),
    "confirmResize": ("2.1", "2.999", "member"),
    "createBackup": ("2.1", "2.999", "member"),
    "createImage": ("2.1", "2.999", "member"),
    "evacuate": ("2.1", "2.999", "admin"),
    "injectNetworkInfo": ("2.1", "2.999", "admin"),
    "migrate": ("2.1", "2.999", "manager"),
    "os-getSerialConsole": ("2.1", "2.5", "member"),
    "os-getSPICEConsole": ("2.1", "2.5", "member"),
    "os-getVNCConsole": ("2.1", "2.5", "member"),
    "os-migrateLive": ("2.1", "2.999", "manager"),
    "rebuild": ("2.1", "2.999", "member"),
    "rescue": ("2.1", "2.999", "member"),
    "resize": ("2.1", "2.999", "member"),
    "restore": ("2.1", "2.999", "member"),
    "resume": ("2.1", "2.999", "member"),
    "revertResize": ("2.1", "2.999", "member"),
    "shelve": ("2.1", "2.999", "member"),
    "shelveOffload": ("2.1", "2.999", "admin"),
    "suspend": ("2.1", "2.999", "member"),
    "trigger_crash_dump": ("2.17", "2.999", "member"),
    "unrescue": ("2.1", "2.999", "member"),
    "unshelve": ("2.1", "2.999", "member"),
}


def _unbuilt(action: str, since: str, until: str, needs: str) -> Callable[[Request, str], None]:
    @route("POST", PATH, action=action, needs=needs, since=since, until=until)
    def refuse(request: Request, server_id: str) -> None:
        request.store.read(lambda: instances.get(server_id, request.context))
        raise NotBuilt(f"nova0 does not have the server action {action} yet.")

    return refuse


refusals = {action: _unbuilt(action, *when) for action, when in NOT_YET.items()}
for _action, _function in refusals.items():
    globals()[f"unbuilt_{_action.replace('-', '_')}"] = _function  # where `routes_of` looks


@route("POST", PATH, action="resetNetwork", needs="member")
def reset_network(request: Request, server_id: str) -> None:
    raise Gone("resetNetwork was for a hypervisor the field has removed.")


@route("POST", PATH, action="os-getRDPConsole", needs="member")
def rdp_console(request: Request, server_id: str) -> None:
    raise BadRequest("RDP consoles are gone: the field removed the only driver that had them.")
