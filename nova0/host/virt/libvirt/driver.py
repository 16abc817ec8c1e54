"""The libvirt driver: a guest is a libvirt domain of the same uuid, its disk a qcow2 overlay.

Only what the contract asks; XML, connection, events, capacity and disks have rooms of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import libvirt
from oslo_config import cfg

from nova0 import native
from nova0.config import CONF, declare
from nova0.host.disk import overlay, ownership
from nova0.host.disk.ownership import Owner
from nova0.host.virt.driver import Driver, Found, GuestDisks
from nova0.host.virt.libvirt import capacity, confinement, console_log, guest_xml, kvm_probe
from nova0.host.virt.libvirt.connection import Connection
from nova0.host.virt.libvirt.events import Events
from nova0.host.virt.libvirt.power import STOPPED, power_state
from nova0.objects.errors import DriverError, ImageUnusable, InstanceNotFound, NoSpace
from nova0.objects.host import HostState
from nova0.objects.instance import Instance
from nova0.objects.states import PowerState

T = TypeVar("T")

declare(
    [
        cfg.StrOpt(
            "connection_uri",
            default="",
            help="libvirt's address. Empty: the machine's libvirtd where one runs, else (as root, without systemd) "
            "one of nova0's own; 'own': always nova0's own.",
        ),
        cfg.StrOpt("virt_type", default="auto", choices=["auto", "kvm", "qemu"], help="auto: KVM where it answers."),
        cfg.BoolOpt("vnc", default=True, help="Give guests a screen: VNC on a UNIX socket in their folder."),
    ],
    group="libvirt",
)

_INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class LibvirtDriver(Driver):
    """`state_dir` holds instances/<uuid>/, nova0's own libvirtd (where one is needed) and the KVM answer.
    Arguments left None come from the options of the group libvirt."""

    name: ClassVar[str] = "libvirt"

    def __init__(
        self,
        host: str,
        cluster_id: str,
        state_dir: Path,
        *,
        connection_uri: str | None = None,
        virt_type: str | None = None,
        vnc: bool | None = None,
        address: str = "",
        tunnel_address: str = "",
    ) -> None:
        super().__init__(host, cluster_id, state_dir)
        self._wanted_type = CONF.libvirt.virt_type if virt_type is None else virt_type
        self._vnc = CONF.libvirt.vnc if vnc is None else vnc
        self.address, self.tunnel_address = address, tunnel_address
        self.notes: list[str] = []
        self._machine: guest_xml.Machine | None = None
        self._owner = ownership.ours()
        self._ours: set[str] = set()  # uuids seen as ours; which of libvirt's events are for us
        self._events: Events | None = None
        uri = CONF.libvirt.connection_uri if connection_uri is None else connection_uri
        self.connection = Connection(host, state_dir, uri, self._subscribe)

    def open(self) -> list[str]:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        virt_type, note = self._wanted_type, ""
        if virt_type == "auto":
            works, note = kvm_probe.answers(self.state_dir)
            virt_type = "kvm" if works else "qemu"
        self._events = self._events or Events(self._ours.__contains__, lambda event: self.listener.heard(event))
        self.connection.daemon.without_kvm = virt_type != "kvm"
        self.connection.open()
        arch = self._call("reading its capabilities", lambda conn: conn.getInfo()[0])
        emulator = self._call("reading its capabilities", lambda conn: capacity.emulator(conn, arch))
        if emulator is None:
            raise DriverError(f"{self.host}: libvirt has no emulator for {arch}: install qemu-system-x86 or its like")
        self._machine = guest_xml.Machine(
            cluster_id=self.cluster_id,
            virt_type=virt_type,
            emulator=emulator,
            arch=arch,
            vnc=self._vnc,
            host_cpu=virt_type == "kvm",
        )
        self.notes = [note] if note else []
        self._owner = self._call("asking whose guests are", capacity.owner)
        self._call("looking at its guests' screens", self._close_screens)
        self._events.paused = {guest.uuid for guest in self.found() if guest.power_state == PowerState.PAUSED}
        return list(self.notes)

    def close(self) -> None:
        self._machine = None
        self.connection.close()
        if self._events is not None:
            self._events.close()
            self._events = None

    def host_state(self) -> HostState:
        virt_type = self._opened().virt_type
        state = self._call("reading its capacity", lambda c: capacity.read(c, self.host, self.state_dir, virt_type))
        state.address, state.tunnel_address, state.notes = self.address, self.tunnel_address, list(self.notes)
        for log in (self.state_dir / "instances").glob(f"*/{guest_xml.CONSOLE_LOG}"):
            console_log.trim(log)
        return state

    def define(self, instance: Instance, disks: GuestDisks) -> None:
        step = f"defining {instance.domain_name}"
        known = self._call(step, lambda conn: _lookup(conn, instance.uuid))
        if known is not None:
            about = self._call(step, lambda conn: self._about(known))
            if about is None:
                raise DriverError(
                    f"{self.host}: {step}: libvirt has a guest {instance.uuid} that is not this cluster's"
                )
            if self._call(step, lambda conn: known.state()[0]) not in STOPPED:
                return
        owner = self.owner()
        owner.folder(disks.directory)
        if disks.base is not None or instance.flavor.root_gb:
            try:
                overlay.make(
                    disks.directory / guest_xml.ROOT_DISK, disks.base, disks.base_format, instance.flavor.root_gb
                )
            except (DriverError, ImageUnusable, NoSpace) as error:
                raise type(error)(f"{self.host}: {step}: {error.message}") from error
            owner.file(disks.directory / guest_xml.ROOT_DISK)
        owner.file(disks.directory / guest_xml.CONSOLE_LOG)
        text = guest_xml.guest_xml(instance, disks, self._opened())
        self._ours.add(instance.uuid)
        self._call(step, lambda conn: conn.defineXML(text) and None)

    def start(self, uuid: str) -> None:
        def work(domain: Any) -> None:
            if domain.state()[0] in STOPPED:
                domain.create()
                confinement.bound(domain)
            ownership.close_socket(self._screen(domain, uuid))

        self._give_files("starting", uuid)
        self._on_guest("starting", uuid, work)

    def shut_down(self, uuid: str) -> None:
        def work(domain: Any) -> None:
            if domain.state()[0] not in STOPPED:
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        self._on_guest("shutting down", uuid, work)

    def cut_power(self, uuid: str) -> None:
        self._on_guest("cutting the power of", uuid, _destroy)

    def reset(self, uuid: str) -> None:
        def work(domain: Any) -> None:
            if domain.state()[0] in STOPPED:
                domain.create()
                confinement.bound(domain)
            ownership.close_socket(self._screen(domain, uuid))

        self._on_guest("resetting", uuid, _destroy)
        self._give_files("resetting", uuid)
        self._on_guest("resetting", uuid, work)

    def pause(self, uuid: str) -> None:
        def work(domain: Any) -> None:
            if domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
                domain.suspend()

        self._on_guest("pausing", uuid, work)

    def unpause(self, uuid: str) -> None:
        def work(domain: Any) -> None:
            if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
                domain.resume()

        self._on_guest("unpausing", uuid, work)

    def remove(self, uuid: str) -> None:
        def work(conn: Any) -> str | None:
            domain = _lookup(conn, uuid)
            about = self._about(domain) if domain is not None else None
            if domain is None or about is None:
                return None
            _destroy(domain)
            domain.undefineFlags(_UNDEFINE)
            return about.get("directory")

        directory = self._call(f"removing guest {uuid}", work)
        for path in {Path(directory or self._directory(uuid)), self._directory(uuid)}:
            if path.name == uuid:  # never anything but a directory that is one guest's
                native.offload(shutil.rmtree, path, ignore_errors=True)
        self._ours.discard(uuid)

    def find(self, uuid: str) -> Found | None:
        def work(conn: Any) -> Found | None:
            domain = _lookup(conn, uuid)
            return self._found(domain) if domain is not None else None

        return self._call(f"looking for guest {uuid}", work)

    def found(self) -> list[Found]:
        every = self._call("listing guests", lambda conn: [self._found(domain) for domain in conn.listAllDomains()])
        ours = [guest for guest in every if guest is not None]
        self._ours.update(guest.uuid for guest in ours)
        return ours

    def console_log(self, uuid: str, most_bytes: int) -> bytes:
        about: dict[str, str] = self._on_guest("reading the console of", uuid, lambda domain: self._about(domain) or {})
        directory = Path(about.get("directory") or self._directory(uuid))
        return native.offload(console_log.tail, directory / guest_xml.CONSOLE_LOG, most_bytes)

    def sweep(self) -> list[str]:
        """Take every guest of this cluster off the machine, and nova0's own libvirtd; opens what it needs.
        Returns a line for each thing removed."""
        removed = []
        if self._machine is None:
            self.open()
        for guest in self.found():
            self.remove(guest.uuid)
            removed.append(f"guest {guest.uuid}")
        self.close()
        if self.connection.uses_own:
            self.connection.daemon.stop()
            removed.append("nova0's own libvirtd")
        return removed

    def owner(self) -> Owner:
        return self._owner

    def _close_screens(self, conn: Any) -> None:
        """Guests of an earlier version have their VNC on TCP: from their next start on it is a socket of theirs."""
        for domain in conn.listAllDomains():
            about = self._about(domain)
            if about is None:
                continue
            folder = Path(about.get("directory") or self._directory(domain.UUIDString()))
            mended = guest_xml.with_own_screen(domain.XMLDesc(_INACTIVE), folder)
            if mended is not None:
                conn.defineXML(mended)
            ownership.close_socket(folder / guest_xml.SCREEN)

    def _screen(self, domain: Any, uuid: str) -> Path:
        about = self._about(domain) or {}
        return Path(about.get("directory") or self._directory(uuid)) / guest_xml.SCREEN

    def _give_files(self, doing: str, uuid: str) -> None:
        """A stopped guest's files may be of an earlier version, when guests ran as root: QEMU's user gets them."""

        def work(domain: Any) -> tuple[str, str] | None:
            if domain.state()[0] not in STOPPED:
                return None
            about = self._about(domain) or {}
            return domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), about.get("directory", "")

        found = self._on_guest(doing, uuid, work)
        if found is not None:
            folder = Path(found[1] or self._directory(uuid))
            try:
                confinement.hand_over(found[0], folder, self._owner)
            except OSError as error:
                raise DriverError(f"{self.host}: the files of guest {uuid}: {error}: mend {folder}") from error

    def _directory(self, uuid: str) -> Path:
        return self.state_dir / "instances" / uuid

    def _opened(self) -> guest_xml.Machine:
        if self._machine is None:
            raise DriverError(f"{self.host}: the libvirt driver is not open")
        return self._machine

    def _subscribe(self, conn: Any) -> None:
        if self._events is not None:
            self._events.subscribe(conn)

    def _call(self, step: str, work: Callable[[Any], T]) -> T:
        return self.connection.call(step, work)

    def _on_guest(self, doing: str, uuid: str, work: Callable[[Any], T]) -> T:
        """`work(domain)` on a real thread, if the guest is there and ours."""

        def find_and_work(conn: Any) -> T:
            domain = _lookup(conn, uuid)
            if domain is None or self._about(domain) is None:
                raise InstanceNotFound(f"{self.host}: {doing} guest {uuid}: there is none here")
            return work(domain)

        return self._call(f"{doing} guest {uuid}", find_and_work)

    def _about(self, domain: Any) -> dict[str, str] | None:
        """Our element of its metadata; None for a guest that is not this cluster's."""
        try:
            text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, guest_xml.NAMESPACE)
        except libvirt.libvirtError as error:
            if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
                return None
            raise
        about = guest_xml.metadata_xml(text)
        return about if about.get("cluster") == self.cluster_id else None

    def _found(self, domain: Any) -> Found | None:
        about = self._about(domain)
        if about is None:
            return None
        try:
            power: PowerState = power_state(domain.state()[0])
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:  # removed meanwhile
                return None
            raise
        return Found(uuid=domain.UUIDString(), power_state=power, generation=int(about.get("generation", 0)))


def _lookup(conn: Any, uuid: str) -> Any:
    try:
        return conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _destroy(domain: Any) -> None:
    if domain.state()[0] not in STOPPED:
        try:
            domain.destroy()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # it stopped by itself meanwhile
                raise
