"""libvirt's states of a domain, and the field's power states they are shown as."""

from __future__ import annotations

from nova0.objects.states import PowerState

POWER = {
    0: PowerState.NOSTATE,  # VIR_DOMAIN_NOSTATE
    1: PowerState.RUNNING,
    2: PowerState.RUNNING,  # BLOCKED on a resource: Xen's way to say it idles
    3: PowerState.PAUSED,
    4: PowerState.SHUTDOWN,  # shutting down; may still run
    5: PowerState.SHUTDOWN,  # SHUTOFF
    6: PowerState.CRASHED,
    7: PowerState.SUSPENDED,  # PMSUSPENDED
}
STOPPED = (5, 6)  # states in which a domain has no process


def power_state(state: int) -> PowerState:
    """A state of a newer libvirt that is unknown here says nothing: NOSTATE."""
    return POWER.get(state, PowerState.NOSTATE)
