"""Networks on a Linux host: bridges, taps, VXLAN, namespaces, dnsmasq and nft, all this cluster's own.

Puts the parts in order and remembers what was applied; how each part is done has a room of its own.
"""

from __future__ import annotations

import _socket
import contextlib
import ipaddress
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import gevent
import msgspec
from gevent.lock import RLock

from nova0 import atomic_file
from nova0.host.network import links, nft
from nova0.host.network.bridge import Bridges
from nova0.host.network.carrier import Carrier
from nova0.host.network.dnsmasq import Dhcp, Place
from nova0.host.network.findings import BRIDGE_NETFILTER, ENVIRONMENT, FORWARD, PATH, PROGRAMS
from nova0.host.network.gateway import Gateways
from nova0.host.network.namespace import Namespace
from nova0.objects.errors import NetworkError
from nova0.objects.network import NetworkView, Port

LOG = logging.getLogger(__name__)
FORWARD_MARK = "forwarding-was-off"  # a file: it was nova0 that turned forwarding on; it holds the boot's id
MEMBERS = "members"  # a file: addresses of the cluster's machines as last heard, good until they are heard anew
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TEND_S = 10.0  # how often deleted devices, dead DHCP servers and flushed rules are looked for


class LinuxCarrier(Carrier):
    """`state_dir`/networks/<id>/ holds each network's view, number, dnsmasq files and leases. `tunnel_address` is
    this host's own end of every VXLAN tunnel ("" = no tunnels). `guest_nat`: what guests reach beyond their network
    (see the option)."""

    def __init__(
        self, host: str, cluster_id: str, state_dir: Path, tunnel_address: str = "", *, guest_nat: str = nft.INTERNET
    ) -> None:
        super().__init__()
        self.host, self.cluster_id = host, cluster_id
        self.tunnel_address, self.guest_nat = tunnel_address, guest_nat
        self.directory = state_dir / "networks"
        self._bridges = Bridges(host, cluster_id, tunnel_address)
        self._gateways = Gateways(host, cluster_id, self.directory, nat=guest_nat != nft.NONE)
        self._views: dict[str, NetworkView] = {}
        self._built: dict[str, NetworkView] = {}  # those this process built whole, as it last did
        self._namespaces: dict[str, Namespace] = {}
        self._members: frozenset[str] = frozenset()
        self._plugged: set[str] = set()  # taps that were there, seen or made by this process
        self._lost: set[str] = set()  # taps somebody deleted, told once
        self._hand = RLock()
        self._tending: gevent.Greenlet | None = None

    def open(self) -> None:
        self._check()
        self.directory.mkdir(parents=True, exist_ok=True)
        there = {d.id for d in links.devices(self.host, self.cluster_id).values() if d.kind == "network"}
        with self._hand:
            for path in self.directory.glob("*/view.json"):
                try:
                    view = msgspec.json.decode(path.read_bytes(), type=NetworkView)
                except (OSError, msgspec.DecodeError) as error:
                    LOG.warning("%s: %s cannot be read (%s); its network is asked for anew", self.host, path, error)
                    continue
                if view.id != path.parent.name:
                    LOG.warning("%s: %s is of another network; it is asked for anew", self.host, path)
                elif view.id in there:  # else the machine was restarted: asked for anew
                    self._views[view.id] = view
            with contextlib.suppress(OSError):
                self._members = _ipv4((self.directory / MEMBERS).read_text().split())
            if self._views:
                self.tend()
                try:
                    self._load_rules()
                except NetworkError as error:  # what is loaded stays, and each network is taken up by itself
                    LOG.error("%s; all networks are asked for anew", error)
                    self._views.clear()
        self.tends_itself(True)

    def apply(self, view: NetworkView) -> bool:
        with self._hand:
            known = self._views.get(view.id)
            if known is not None and view.revision < known.revision:
                return False
            built = self._built.pop(view.id, None)
            small = built is not None and built.revision < view.revision and _same_network(built, view)
            if built is not None and small and self._place(view) is not None:
                self._bridges.update(built, view)
                gone = {port.id for port in built.ports} - {port.id for port in view.ports}
                if gone:
                    self._bridges.unplug(gone)
            else:  # first time, another shape, or asked again for the same: look at everything
                self._build(view)
                self._unplug_others(view)
            # the view is recorded before what follows: a crash in between is mended by tend() or asked anew
            self._views[view.id] = view
            self._keep(view)
            try:
                self._load_rules()
            except NetworkError:  # rules are loaded for all networks at once: this one must not keep others from theirs
                self._put_back(view.id, known)
                raise
            self._serve(view)
            self._built[view.id] = view
            return True

    def plug(self, port: Port) -> None:
        with self._hand:
            view = self._views.get(port.network_id)
            if view is None:
                raise NetworkError(
                    f"{self.host}: plug {port.tap}: network {port.network_name} is not carried here: apply it first"
                )
            if all(other.id != port.id for other in view.ports):  # else the view knows its rules better
                self._change_ports(view, (*view.ports, port))
            self._bridges.plug(port, view.bridge)
            self._plugged.add(port.tap)

    def unplug(self, port_id: str) -> None:
        with self._hand:
            self._bridges.unplug({port_id})
            self._plugged -= {port.tap for view in self._views.values() for port in view.ports if port.id == port_id}
            for view in list(self._views.values()):
                if any(port.id == port_id for port in view.ports):
                    self._change_ports(view, tuple(port for port in view.ports if port.id != port_id))

    def forget(self, network_id: str) -> None:
        with self._hand:
            self._dhcp(network_id).stop()
            self._built.pop(network_id, None)
            self._bridges.remove(network_id)
            self._gateways.forget(network_id)
            held = self._namespaces.pop(network_id, None)
            if held is not None:
                held.close()
            if self._views.pop(network_id, None) is not None or not self._views:
                self._load_rules()
            if "/" not in network_id and network_id not in ("", ".", ".."):
                shutil.rmtree(self.directory / network_id, ignore_errors=True)

    def namespace(self, network_id: str) -> Namespace:
        held = self._namespaces.get(network_id)
        if held is None:
            raise NetworkError(f"{self.host}: network {network_id} is not carried here: ask a host that has it")
        return held

    def shield(self, addresses: frozenset[str]) -> None:
        with self._hand:
            members = _ipv4(addresses)
            if members == self._members:
                return
            before, self._members = self._members, members
            try:
                if self._views:
                    self._load_rules()
            except NetworkError:
                self._members = before
                raise
            text = "".join(f"{address}\n" for address in sorted(members))
            atomic_file.write(self.directory / MEMBERS, text, 0o644, sync=False)

    def carried(self) -> dict[str, int]:
        return {view.id: view.revision for view in self._views.values()}

    def inventory(self) -> dict[str, list[str]]:
        known = links.devices(self.host, self.cluster_id).values()
        macs = {mac for path in self.directory.glob("*") for mac in Dhcp(self.host, path).macs()}
        rules = (
            {port.id for view in self._views.values() for port in view.ports} if nft.loaded(self.cluster_id) else set()
        )
        return {
            "taps": sorted(device.name for device in known if device.kind == "port"),
            "bridges": sorted(device.name for device in known if device.kind == "network"),
            "leases": sorted(macs),
            "rules": sorted(rules),
        }

    def sweep(self) -> list[str]:
        """Take everything of this cluster off the machine, also what no record tells of; needs no `open`.
        Returns a line for each thing removed. Forwarding is turned off again if it was nova0 that turned it on."""
        with self._hand:
            here = links.devices(self.host, self.cluster_id).values()
            kept = [path.name for path in self.directory.glob("*") if path.is_dir()]
            networks = sorted({device.id for device in here if device.kind != "port"} | set(kept))
            strays = Dhcp.strays(self.directory)
            removed = [f"{device.kind} {device.name}" for device in here]
            rules = nft.loaded(self.cluster_id)
            for network_id in networks:
                if self._dhcp(network_id).pid() is not None:
                    removed.append(f"DHCP server of network {network_id}")
                self.forget(network_id)
            for pid in strays:  # also those whose files are lost
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._bridges.unplug({device.id for device in here if device.kind == "port"})
            if rules:
                nft.load(self.host, nft.ruleset(self.cluster_id, [], nft.Ways()))
                removed.append(f"firewall tables {nft.table_name(self.cluster_id)}")
            mark = self.directory / FORWARD_MARK
            if mark.exists():
                ours = mark.read_text() in ("", BOOT_ID.read_text())
                mark.unlink()
            else:
                ours = False
            if ours:
                FORWARD.write_text("0")
                removed.append("forwarding (net.ipv4.ip_forward, which nova0 had turned on)")
            return removed

    def tend(self) -> None:
        """Mend what others broke: devices that were deleted, DHCP servers that died, rules that were flushed. A
        tap cannot be mended, since its guest holds on to the one that is gone: that is told."""
        with self._hand:
            there = links.devices(self.host, self.cluster_id)
            for view in list(self._views.values()):
                try:
                    self._mend(view, there)
                except (NetworkError, OSError) as error:
                    LOG.error("%s: network %s: %s", self.host, view.name, error)
            self._tell_lost_taps(there)
            if self._views and not nft.loaded(self.cluster_id):
                LOG.warning("%s: the firewall rules were gone; loaded again", self.host)
                self._load_rules()

    def _mend(self, view: NetworkView, there: dict[str, links.Device]) -> None:
        if not self._is_whole(view, there):
            LOG.warning("%s: devices of network %s were gone; built again", self.host, view.name)
            self._build(view)
            for port in view.ports:
                if port.tap in there:
                    self._bridges.plug(port, view.bridge)
            self._serve(view)
        elif self._serve(view):
            LOG.warning("%s: the DHCP server of network %s had died; started again", self.host, view.name)

    def tends_itself(self, on: bool) -> None:
        """Whether `tend` is called every TEND_S from now on; it is from `open` to `close`."""
        if self._tending is not None:
            self._tending.kill()
        self._tending = gevent.spawn(self._tend_on) if on else None

    def close(self) -> None:
        self.tends_itself(False)
        for held in self._namespaces.values():
            held.close()
        self._namespaces.clear()

    def _tend_on(self) -> None:
        while True:
            gevent.sleep(TEND_S)
            try:
                self.tend()
            except (NetworkError, OSError) as error:
                LOG.error("%s: looking after networks: %s", self.host, error)

    def _is_whole(self, view: NetworkView, there: dict[str, links.Device]) -> bool:
        wanted = {view.bridge} | self._gateways.devices(view) | ({view.vxlan} if self.tunnel_address else set())
        extra = view.uplink in there and not self._gateways.has_uplink(view)
        return wanted <= set(there) and not extra and self._place(view) is not None

    def _tell_lost_taps(self, there: dict[str, links.Device]) -> None:
        wanted = {port.tap: port for view in self._views.values() for port in view.ports}
        self._plugged = (self._plugged | set(there)) & set(wanted)
        lost = self._plugged - set(there)
        for tap in sorted(lost - self._lost):
            LOG.error(
                "%s: the tap %s of server %s was deleted: it has no network until it is rebooted (reboot --hard)",
                *(self.host, tap, wanted[tap].instance_uuid),
            )
        self._lost = lost

    def _build(self, view: NetworkView) -> None:
        """Everything of a network but DHCP and the host's rules."""
        if self._gateways.has_uplink(view):
            self._forward()
        known = links.devices(self.host, self.cluster_id)
        found = self._held(view.id)
        try:
            namespace = self._namespaces[view.id] = found or Namespace.made()
        except OSError as error:
            raise NetworkError(f"{self.host}: building network {view.name}: {error}") from error
        self._bridges.build(view, known)
        self._gateways.build(view, known, namespace)
        if found is None:
            self.on_rebuilt(view.id)

    def _held(self, network_id: str) -> Namespace | None:
        """The network's namespace, as held by this process or kept by an earlier one's dnsmasq."""
        held = self._namespaces.get(network_id)
        if held is None:
            pid = self._dhcp(network_id).pid()
            held = Namespace.of_process(pid) if pid is not None else None
            if held is not None:
                self._namespaces[network_id] = held
        return held

    def _place(self, view: NetworkView) -> Place | None:
        """Where DHCP is served; None while there is no namespace or no leg in it."""
        held = self._held(view.id)
        if held is None:
            return None
        try:
            return Place.of(held.path, held.identity, held.run(lambda: _socket.if_nametoindex(view.leg)))
        except OSError:
            return None

    def _serve(self, view: NetworkView) -> bool:
        """DHCP as the view says; returns whether there was none on that device."""
        place, dhcp = self._place(view), self._dhcp(view.id)
        if place is None:  # deleted a moment ago
            self._build(view)
            place = self._place(view)
        if place is None:
            raise NetworkError(f"{self.host}: network {view.name}: its gateway is deleted again and again: by whom?")
        missing = not dhcp.serves(place)
        dhcp.serve(view, place)
        return missing

    def _dhcp(self, network_id: str) -> Dhcp:
        return Dhcp(self.host, self.directory / network_id)

    def _change_ports(self, view: NetworkView, ports: tuple[Port, ...]) -> None:
        changed = msgspec.structs.replace(view, ports=ports)
        self._views[view.id] = changed
        if view.id in self._built:
            self._built[view.id] = msgspec.structs.replace(self._built[view.id], ports=ports)
        self._keep(changed)
        try:
            self._load_rules()
        except NetworkError:
            self._put_back(view.id, view)
            raise
        self._serve(changed)

    def _unplug_others(self, view: NetworkView) -> None:
        """Taps on this bridge whose port the view does not know."""
        wanted = {port.id for port in view.ports}
        known = links.devices(self.host, self.cluster_id).values()
        gone = {d.id for d in known if d.kind == "port" and d.master == view.bridge and d.id not in wanted}
        if gone:
            self._bridges.unplug(gone)

    def _load_rules(self) -> None:
        views = sorted(self._views.values(), key=lambda view: view.id)
        carried = [nft.Carried(view, self._gateways.number(view.id), self._gateways.pair(view)) for view in views]
        ends = _ipv4(neighbour.tunnel_address for view in views for neighbour in view.neighbours)
        ways = nft.Ways(self.guest_nat, self._members | ends, self._forwards_alone())
        nft.load(self.host, nft.ruleset(self.cluster_id, carried, ways))

    def _keep(self, view: NetworkView) -> None:
        if "/" in view.id or view.id in ("", ".", ".."):
            raise NetworkError(f"{self.host}: {view.id!r} cannot name a network's folder")
        place = self.directory / view.id
        place.mkdir(parents=True, exist_ok=True)
        atomic_file.write(place / "view.json", msgspec.json.encode(view))

    def _put_back(self, network_id: str, before: NetworkView | None) -> None:
        """What was carried before a view whose rules the kernel refused."""
        self._built.pop(network_id, None)
        if before is not None:
            self._views[network_id] = before
            self._keep(before)
        else:
            del self._views[network_id]
            (self.directory / network_id / "view.json").unlink(missing_ok=True)

    def _forward(self) -> None:
        if FORWARD.read_text().strip() != "1":
            atomic_file.write(self.directory / FORWARD_MARK, BOOT_ID.read_text(), 0o644)
            FORWARD.write_text("1")

    def _forwards_alone(self) -> bool:
        """Whether nobody but nova0 wanted this host to forward, since it was started. Where all bridged frames of
        the machine pass the rules, they are others' and look as if forwarded: then it is not."""
        try:
            mine = (self.directory / FORWARD_MARK).read_text() == BOOT_ID.read_text()
        except OSError:
            return False
        return mine and BRIDGE_NETFILTER.read_text().strip() != "1"

    def _check(self) -> None:
        """Raises NetworkError naming the remedy where this machine can't carry networks."""
        if os.geteuid() != 0:
            raise NetworkError(f"{self.host}: networks need root: run as root, or set network_carrier=none")
        try:
            Namespace.made().close()
        except OSError as error:
            raise NetworkError(
                f"{self.host}: no network namespace can be made here ({error}): networks need CAP_SYS_ADMIN; give it, "
                "or set network_carrier=none"
            ) from error
        for program, package in PROGRAMS:
            if shutil.which(program, path=PATH) is None:
                raise NetworkError(f"{self.host}: no {program} here: install {package}")
        if not BRIDGE_NETFILTER.exists():
            subprocess.run(["modprobe", "br_netfilter"], env=ENVIRONMENT, capture_output=True, check=False)
            if not BRIDGE_NETFILTER.exists():
                raise NetworkError(
                    f"{self.host}: this kernel has no br_netfilter, so rules cannot hold between guests: "
                    "modprobe br_netfilter"
                )
            for family in ("iptables", "ip6tables", "arptables"):  # loading it must not change others' bridges
                BRIDGE_NETFILTER.with_name(f"bridge-nf-call-{family}").write_text("0")


def _ipv4(texts: Iterable[str]) -> frozenset[str]:
    """Those that are IPv4 addresses."""
    found = set()
    for text in texts:
        with contextlib.suppress(ValueError):
            found.add(str(ipaddress.IPv4Address(text)))
    return frozenset(found)


def _same_network(one: NetworkView, other: NetworkView) -> bool:
    """Whether only revision, ports and neighbours differ."""
    blank = {"revision": 0, "ports": (), "neighbours": ()}
    return msgspec.structs.replace(one, **blank) == msgspec.structs.replace(other, **blank)
