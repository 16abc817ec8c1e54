"""libvirt's lifecycle events as the driver's: heard on libvirt's thread, told in the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt

from nova0 import native
from nova0.host.virt.driver import GuestEvent

KINDS = {
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "paused",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}
CRASHES = {libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED}


def kind(event: int, detail: int) -> str | None:
    """Our word for a lifecycle event; None for what is no change of power (defined, undefined ...)."""
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED and detail in CRASHES:
        return "crashed"
    return KINDS.get(event)


class Events:
    """Tells `heard` about guests for whose uuid `ours` says yes. `paused` holds the uuids known to be
    paused: libvirt says "resumed" also of a guest that merely starts."""

    def __init__(self, ours: Callable[[str], bool], heard: Callable[[GuestEvent], None]) -> None:
        self._ours, self._heard = ours, heard
        self.paused: set[str] = set()
        self._mailbox = native.Mailbox(self._tell)

    def subscribe(self, conn: Any) -> None:
        """For every new connection; runs on a real thread."""
        conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_libvirt_thread, None)

    def close(self) -> None:
        self._mailbox.close()

    def _on_libvirt_thread(self, conn: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        word = kind(event, detail)
        if word is not None:
            self._mailbox.post(domain.UUIDString(), word)

    def _tell(self, uuid: str, word: str) -> None:
        if word == "resumed" and uuid not in self.paused:
            return
        if word == "paused":
            self.paused.add(uuid)
        else:
            self.paused.discard(uuid)
        if self._ours(uuid):
            self._heard(GuestEvent(uuid=uuid, kind=word))
