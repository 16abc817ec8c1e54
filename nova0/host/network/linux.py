"""Networks on a Linux host: bridges, taps, VXLAN, dnsmasq and nft, all of them this cluster's own.

Puts the parts in order and remembers what was applied; how each part is done has a room of its own.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

import gevent
import msgspec
from gevent.lock import RLock

from nova0 import atomic_file
from nova0.host.network import links, nft
from nova0.host.network.bridge import Bridges
from nova0.host.network.carrier import Carrier
from nova0.host.network.dnsmasq import Dhcp
from nova0.host.network.findings import BRIDGE_NETFILTER, ENVIRONMENT, FORWARD, PATH, PROGRAMS
from nova0.objects.errors import NetworkError
from nova0.objects.network import NetworkView, Port

LOG = logging.getLogger(__name__)
FORWARD_MARK = "forwarding-was-off"  # a file: it was nova0 that turned forwarding on
TEND_S = 10.0  # how often dead DHCP servers and flushed rules are looked for


class LinuxCarrier(Carrier):
    """`state_dir`/networks/<id>/ holds each network's view, dnsmasq files and leases. `tunnel_address` is this
    host's own end of every VXLAN tunnel ("" = no tunnels). `metadata_port`: where the host's metadata server
    listens; requests to 169.254.169.254:80 from guests are redirected there."""

    def __init__(
        self, host: str, cluster_id: str, state_dir: Path, tunnel_address: str = "", *, metadata_port: int = 8775
    ) -> None:
        self.host, self.cluster_id = host, cluster_id
        self.tunnel_address, self.metadata_port = tunnel_address, metadata_port
        self.directory = state_dir / "networks"
        self._bridges = Bridges(host, cluster_id, tunnel_address)
        self._views: dict[str, NetworkView] = {}
        self._built: dict[str, NetworkView] = {}  # those this process built whole, as it last did
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
            if self._views:
                self._forward()
                self.tend()
        self._tending = gevent.spawn(self._tend_on)

    def apply(self, view: NetworkView) -> bool:
        with self._hand:
            known = self._views.get(view.id)
            if known is not None and view.revision < known.revision:
                return False
            self._forward()
            built = self._built.pop(view.id, None)
            if built is not None and built.revision < view.revision and _same_network(built, view):
                self._bridges.update(built, view)
                gone = {port.id for port in built.ports} - {port.id for port in view.ports}
                if gone:
                    self._bridges.unplug(gone)
            else:  # first time, another shape, or asked again for the same: look at everything
                self._bridges.build(view)
                self._unplug_others(view)
            # the view is recorded before what follows: a crash in between is mended by tend() or asked anew
            self._views[view.id] = view
            self._keep(view)
            self._load_rules()
            self._dhcp(view.id).serve(view)
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

    def unplug(self, port_id: str) -> None:
        with self._hand:
            self._bridges.unplug({port_id})
            for view in list(self._views.values()):
                if any(port.id == port_id for port in view.ports):
                    self._change_ports(view, tuple(port for port in view.ports if port.id != port_id))

    def forget(self, network_id: str) -> None:
        with self._hand:
            self._dhcp(network_id).stop()
            self._built.pop(network_id, None)
            self._bridges.remove(network_id)
            if self._views.pop(network_id, None) is not None or not self._views:
                self._load_rules()
            if "/" not in network_id and network_id not in ("", ".", ".."):
                shutil.rmtree(self.directory / network_id, ignore_errors=True)

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
            removed = [f"{device.kind} {device.name}" for device in here]
            rules = nft.loaded(self.cluster_id)
            for network_id in networks:
                if self._dhcp(network_id).pid() is not None:
                    removed.append(f"DHCP server of network {network_id}")
                self.forget(network_id)
            self._bridges.unplug({device.id for device in here if device.kind == "port"})
            if rules:
                nft.load(self.host, nft.ruleset(self.cluster_id, [], self.metadata_port))
                removed.append(f"firewall tables {nft.table_name(self.cluster_id)}")
            mark = self.directory / FORWARD_MARK
            if mark.exists():
                FORWARD.write_text("0")
                mark.unlink()
                removed.append("forwarding (net.ipv4.ip_forward, which nova0 had turned on)")
            return removed

    def tend(self) -> None:
        """Mend what others broke: devices that were deleted, DHCP servers that died, rules that were flushed."""
        with self._hand:
            there = links.devices(self.host, self.cluster_id)
            for network_id, view in self._views.items():
                wanted = {view.bridge, view.vxlan} if self.tunnel_address else {view.bridge}
                if self._built.get(network_id) is not None and not wanted <= set(there):
                    LOG.warning("%s: devices of network %s were gone; built again", self.host, view.name)
                    self._bridges.build(view)
                    for port in view.ports:
                        if port.tap in there:
                            self._bridges.plug(port, view.bridge)
                if view.dhcp and self._dhcp(network_id).tend():
                    LOG.warning("%s: the DHCP server of network %s had died; started again", self.host, view.name)
            if self._views and not nft.loaded(self.cluster_id):
                LOG.warning("%s: the firewall rules were gone; loaded again", self.host)
                self._load_rules()

    def close(self) -> None:
        if self._tending is not None:
            self._tending.kill()
            self._tending = None

    def _tend_on(self) -> None:
        while True:
            gevent.sleep(TEND_S)
            try:
                self.tend()
            except NetworkError as error:
                LOG.error("%s", error.message)

    def _dhcp(self, network_id: str) -> Dhcp:
        return Dhcp(self.host, self.directory / network_id)

    def _change_ports(self, view: NetworkView, ports: tuple[Port, ...]) -> None:
        changed = msgspec.structs.replace(view, ports=ports)
        self._views[view.id] = changed
        if view.id in self._built:
            self._built[view.id] = msgspec.structs.replace(self._built[view.id], ports=ports)
        self._keep(changed)
        self._load_rules()
        self._dhcp(view.id).serve(changed)

    def _unplug_others(self, view: NetworkView) -> None:
        """Taps on this bridge whose port the view does not know."""
        wanted = {port.id for port in view.ports}
        known = links.devices(self.host, self.cluster_id).values()
        gone = {d.id for d in known if d.kind == "port" and d.master == view.bridge and d.id not in wanted}
        if gone:
            self._bridges.unplug(gone)

    def _load_rules(self) -> None:
        views = sorted(self._views.values(), key=lambda view: view.id)
        nft.load(self.host, nft.ruleset(self.cluster_id, views, self.metadata_port))

    def _keep(self, view: NetworkView) -> None:
        if "/" in view.id or view.id in ("", ".", ".."):
            raise NetworkError(f"{self.host}: {view.id!r} cannot name a network's folder")
        place = self.directory / view.id
        place.mkdir(parents=True, exist_ok=True)
        atomic_file.write(place / "view.json", msgspec.json.encode(view))

    def _forward(self) -> None:
        if FORWARD.read_text().strip() != "1":
            (self.directory / FORWARD_MARK).touch()
            FORWARD.write_text("1")

    def _check(self) -> None:
        """Raises NetworkError naming the remedy where this machine can't carry networks."""
        if os.geteuid() != 0:
            raise NetworkError(f"{self.host}: networks need root: run as root, or set network_carrier=none")
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


def _same_network(one: NetworkView, other: NetworkView) -> bool:
    """Whether only revision, ports and neighbours differ."""
    blank = {"revision": 0, "ports": (), "neighbours": ()}
    return msgspec.structs.replace(one, **blank) == msgspec.structs.replace(other, **blank)
