"""One network's devices on this host: bridge, tunnel and taps, brought from what is to what a view says.

They only carry frames: the host has no address on them. What has one is in gateway.py.
"""

from __future__ import annotations

from nova0.host.network import links
from nova0.host.network.nft import VXLAN_PORT
from nova0.objects.errors import NetworkError
from nova0.objects.fields import reachable
from nova0.objects.network import NetworkView, Port


class Bridges:
    """`tunnel_address` "" makes no tunnels: the network ends at this host."""

    def __init__(self, host: str, cluster_id: str, tunnel_address: str) -> None:
        self.host, self.cluster_id, self.tunnel_address = host, cluster_id, tunnel_address

    def build(self, view: NetworkView, known: dict[str, links.Device]) -> None:
        """Bridge, tunnel, entries for what is elsewhere. `known`: this cluster's devices as they are."""
        step = f"building network {view.name}"
        self._bridge(view, known, step)
        if self.tunnel_address:
            self._tunnel(view, known, step)
            self._neighbours(view, step)

    def plug(self, port: Port, bridge: str) -> None:
        """The port's tap on its bridge, up."""
        known = links.devices(self.host, self.cluster_id).get(port.tap)
        lines = []
        if known is None:
            if links.exists(self.host, port.tap):
                raise NetworkError(f"{self.host}: plug {port.tap}: a device of that name exists and is not ours")
            lines.append(f"tuntap add dev {port.tap} mode tap")
            lines.append(f'link set dev {port.tap} alias "{links.alias(self.cluster_id, "port", port.id)}"')
            lines.append(f"link set dev {port.tap} addrgenmode none")  # the host says nothing there
        if known is None or known.master != bridge or known.mtu != port.mtu or not known.up:
            lines.append(f"link set dev {port.tap} mtu {port.mtu} master {bridge} up")
        links.change(self.host, f"plug {port.tap}", "ip", lines)

    def unplug(self, port_ids: set[str]) -> None:
        gone = [
            d.name for d in links.devices(self.host, self.cluster_id).values() if d.kind == "port" and d.id in port_ids
        ]
        links.change_where_possible(self.host, "ip", [f"link del dev {name}" for name in gone])

    def remove(self, network_id: str) -> None:
        """Bridge, tunnel, the pairs into its namespace and whatever of ours hangs on the bridge."""
        known = links.devices(self.host, self.cluster_id)
        bridges = {d.name for d in known.values() if d.kind == "network" and d.id == network_id}
        own = [d for d in known.values() if d.kind in ("tunnel", "door", "uplink") and d.id == network_id]
        gone = sorted({d.name for d in known.values() if d.master in bridges} | {d.name for d in own})
        links.change_where_possible(self.host, "ip", [f"link del dev {name}" for name in [*gone, *sorted(bridges)]])

    def _bridge(self, view: NetworkView, known: dict[str, links.Device], step: str) -> None:
        lines = []
        name, mac = view.bridge, _own_mac(view)
        if name not in known:
            if links.exists(self.host, name):
                raise NetworkError(f"{self.host}: {step}: a device {name} exists and is not ours")
            # nf_call_iptables: what is bridged here, and only here, passes the stateful rules
            kind = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0 nf_call_iptables 1"
            lines.append(f"link add name {name} address {mac} {kind}")
            lines.append(f'link set dev {name} alias "{links.alias(self.cluster_id, "network", view.id)}"')
            lines.append(f"link set dev {name} addrgenmode none")
        else:  # an earlier nova0 had the gateway's MAC and addresses, and so the host's routes, on the bridge
            lines.append(f"addr flush dev {name}")
            if known[name].mac != mac:
                lines.append(f"link set dev {name} address {mac}")
        lines.append(f"link set dev {name} type bridge nf_call_iptables 1")
        lines.append(f"link set dev {name} mtu {view.mtu} up")
        links.change(self.host, step, "ip", lines)

    def _tunnel(self, view: NetworkView, known: dict[str, links.Device], step: str) -> None:
        name = view.vxlan
        lines = []
        if name not in known:
            # no learning, no default destination: only what the store knows is sent; proxy answers ARP from it
            ends = f"local {self.tunnel_address} dstport {VXLAN_PORT}"
            lines.append(f"link add name {name} type vxlan id {view.vni} {ends} nolearning proxy ttl 64")
            lines.append(f'link set dev {name} alias "{links.alias(self.cluster_id, "tunnel", view.id)}"')
            lines.append(f"link set dev {name} addrgenmode none")
        lines.append(f"link set dev {name} mtu {view.mtu} master {view.bridge} up")
        lines.append(f"link set dev {name} type bridge_slave learning off flood off mcast_flood off")
        links.change(self.host, step, "ip", lines)

    def update(self, old: NetworkView, new: NetworkView) -> None:
        """From one view to the next where only ports and neighbours differ: no look at the kernel, and no
        process where nothing is to do, since this is on the way of every boot."""
        if self.tunnel_address:
            before, after = self._far(old), self._far(new)
            self._enter(new, before, dict.fromkeys(before[0]), after, f"updating network {new.name}")

    def _neighbours(self, view: NetworkView, step: str) -> None:
        """Forwarding (MAC -> host) and ARP (address -> MAC) entries for exactly the ports elsewhere."""
        sent: dict[str, str] = {}
        bridged: dict[str, None] = {}
        for entry in links.ask(self.host, "bridge", "-j", "fdb", "show", "dev", view.vxlan):
            if "self" in entry.get("flags", []) and "dst" in entry:
                sent[entry["mac"]] = entry["dst"]
            elif entry.get("master") and entry.get("state") == "static":
                bridged[entry["mac"]] = None
        answered = {
            entry["dst"]: str(entry.get("lladdr"))
            for entry in links.ask(self.host, "ip", "-j", "-4", "neigh", "show", "dev", view.vxlan, "nud", "permanent")
        }
        self._enter(view, (sent, answered), bridged, self._far(view), step)

    def _far(self, view: NetworkView) -> tuple[dict[str, str], dict[str, str]]:
        """What the tunnel must know: MAC -> host's tunnel address, and address -> MAC."""
        far = [
            n
            for n in view.neighbours
            if n.host != self.host
            and n.tunnel_address not in ("", self.tunnel_address)
            and reachable(n.tunnel_address, self.tunnel_address)  # else the whole batch would be refused
        ]
        return {n.mac.lower(): n.tunnel_address for n in far}, {n.ip: n.mac.lower() for n in far}

    def _enter(
        self,
        view: NetworkView,
        before: tuple[dict[str, str], dict[str, str]],
        bridged: dict[str, None],
        after: tuple[dict[str, str], dict[str, str]],
        step: str,
    ) -> None:
        (sent, answered), (to_host, to_mac) = before, after
        lines = [f"fdb del {mac} dev {view.vxlan} self" for mac, dst in sent.items() if to_host.get(mac) != dst]
        lines += [f"fdb del {mac} dev {view.vxlan} master" for mac in bridged if mac not in to_host]
        for mac, tunnel_address in to_host.items():
            if sent.get(mac) != tunnel_address:
                lines.append(f"fdb replace {mac} dev {view.vxlan} dst {tunnel_address} self permanent")
            if mac not in bridged:
                lines.append(f"fdb replace {mac} dev {view.vxlan} master static")
        links.change(self.host, step, "bridge", lines)
        lines = [f"neigh del {ip} dev {view.vxlan}" for ip in answered if ip not in to_mac]
        for ip, mac in to_mac.items():
            if answered.get(ip) != mac:
                lines.append(f"neigh replace {ip} lladdr {mac} dev {view.vxlan} nud permanent")
        links.change(self.host, step, "ip", lines)


def _own_mac(view: NetworkView) -> str:
    """Of the bridge itself, to which nobody talks: any but the gateway's, and not that of the first guest."""
    return f"0a{view.gateway_mac.lower()[2:]}"
