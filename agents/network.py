"""The network agent: carries the networks of this machine's servers.

It hears that something changed and asks the store for the whole desired state; how a network is carried
is in nova0/host/network.
"""

from __future__ import annotations

from nova0.host.compute.machine import Machine
from nova0.host.network.tunnels import Tunnels
from nova0.mesh.surface import every
from nova0.objects.network import NetworkView
from nova0.rpcapi.network import NetworkAPI


class NetworkAgent(NetworkAPI):
    def __init__(self, machine: Machine) -> None:
        self.networks = machine.networks
        self.tunnels = Tunnels(machine.host)
        machine.bus.on_gap(self.missed)

    def changed(self, network_id: str, revision: int) -> None:
        applied = self.networks.carried().get(network_id)
        if applied is not None and applied < revision:
            self.networks.ask_anew()

    def apply(self, view: NetworkView) -> None:
        self.networks.apply(view)

    def connect(self, network_id: str, ip: str, port: int) -> str:
        return self.networks.connect(network_id, ip, port)

    def tunnel_open(self, network_id: str, ip: str, port: int) -> str:
        return self.tunnels.open(lambda: self.networks.socket(network_id), ip, port)

    def tunnel_write(self, tunnel: str, offset: int, data: bytes) -> None:
        self.tunnels.get(tunnel).write(offset, data)

    def tunnel_read(self, tunnel: str, offset: int) -> bytes | None:
        return self.tunnels.get(tunnel).read(offset)

    def tunnel_close(self, tunnel: str) -> None:
        self.tunnels.close(tunnel)

    def missed(self, topic: str, publisher: str) -> None:
        """Casts were lost: what they said is in the store."""
        if topic.partition("@")[0] == self.topic:
            self.networks.ask_anew()

    @every(30)
    def audit(self) -> None:
        """Compare with the store, whatever was or was not heard."""
        self.networks.ask_anew()
