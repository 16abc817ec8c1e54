"""Networks and stand-in guests for carrier tests: a namespace on a veth takes the place of a machine on a tap."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import msgspec

import nova0.host.image.tiny as tiny
from nova0.host.network import links
from nova0.host.network.dnsmasq import Dhcp
from nova0.host.network.linux import LinuxCarrier
from nova0.objects.network import Neighbour, NetworkView, Port, Rule
from tests.vm.hosts import Host, run

CLUSTER = "c1a5e2f0aaaa"
DHCP_SCRIPT = Path(tiny.__file__).parent / "guest" / "dhcp.sh"
EGRESS = Rule(direction="egress")
EMPTY = {"taps": [], "bridges": [], "leases": [], "rules": []}
PING = Rule(direction="ingress", protocol="icmp")


def tcp(port: int, *remotes: str) -> Rule:
    return Rule(
        direction="ingress", protocol="tcp", port_min=port, port_max=port, remotes=remotes, any_remote=not remotes
    )


class Network:
    """What the store would know of one network, and the view each host gets of it."""

    def __init__(self, number: int = 50, mtu: int = 1400, first: str = "", length: int = 24, **more: object) -> None:
        """`first`: the first three parts of its addresses, where they are not 192.168.`number`."""
        self.id, self.number, self.mtu, self.more = str(uuid.uuid4()), number, mtu, more
        self.revision, self.ports = 0, {}
        self.first, self.length = first or f"192.168.{number}", length
        self.cidr, self.gateway = f"{self.first}.0/{length}", f"{self.first}.1"

    def port(self, host: Host, last: int, *rules: Rule, instance_uuid: str = "", **more: object) -> Port:
        made = Port(
            id=str(uuid.uuid4()),
            network_id=self.id,
            network_name=f"net{self.number}",
            instance_uuid=instance_uuid or str(uuid.uuid4()),
            mac=f"fa:16:3e:{self.number:02x}:00:{last:02x}",
            ip=f"{self.first}.{last}",
            prefix_length=self.length,
            gateway=self.gateway,
            mtu=self.mtu,
            rules=(EGRESS, *rules),
            hostname=f"g{last}",
            **more,
        )
        self.ports[made.id] = (host, made)
        return made

    def view(self, host: Host) -> NetworkView:
        self.revision += 1
        values = dict(
            id=self.id,
            name=f"net{self.number}",
            revision=self.revision,
            vni=self.number,
            cidr=self.cidr,
            gateway=self.gateway,
            gateway_mac=f"fa:16:3e:{self.number:02x}:ff:01",
            mtu=self.mtu,
            ports=tuple(port for at, port in self.ports.values() if at is host),
            neighbours=tuple(
                Neighbour(mac=port.mac, ip=port.ip, host=at.name, tunnel_address=at.address)
                for at, port in self.ports.values()
            ),
        )
        return NetworkView(**{**values, **self.more})


def carrier(host: Host, **more: str) -> LinuxCarrier:
    made = LinuxCarrier(host.name, CLUSTER, host.state_dir, host.address, **more)
    with host.inside():
        made.open()
    made.tends_itself(False)  # this process is in one namespace at a time, and it need not be the host's
    return made


class StandIn:
    """A namespace in a guest's place: its device eth0 is the other end of the port's tap."""

    def __init__(self, host: Host, carrier: LinuxCarrier, port: Port) -> None:
        self.host, self.port = host, port
        self.namespace = f"{host.namespace}-{port.mac[-2:]}{port.mac[9:11]}"
        run("ip", "netns", "add", self.namespace)
        host.run("ip", "link", "add", port.tap, "type", "veth", "peer", "eth0", "netns", self.namespace)
        host.run("ip", "link", "set", port.tap, "alias", links.alias(CLUSTER, "port", port.id))
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.namespace, "link", "set", "eth0", "address", port.mac, "mtu", str(port.mtu), "up")
        with host.inside():
            carrier.plug(port)

    def run(self, *command: str, check: bool = False) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, check=check)

    def dhcp(self) -> bool:
        """Ask as the tiny guest does, with its own script."""
        script = self.host.state_dir / "dhcp.sh"
        script.write_bytes(DHCP_SCRIPT.read_bytes())
        script.chmod(0o755)
        done = subprocess.run(
            (
                f"ip netns exec {self.namespace} busybox udhcpc -i eth0 -s {script} "
                "-f -q -n -t 3 -T 1 -A 1 -O staticroutes -O mtu"
            ).split(),
            capture_output=True,
            text=True,
        )
        return done.returncode == 0

    def configure(self) -> None:
        """The address without DHCP."""
        run("ip", "-n", self.namespace, "addr", "add", f"{self.port.ip}/24", "dev", "eth0")
        run("ip", "-n", self.namespace, "route", "add", "default", "via", str(self.port.gateway))

    def sends(self, *frames: bytes) -> None:
        """Whole frames, as they are."""
        code = "import socket,sys\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind(('eth0',0))\n"
        code += "for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))"
        self.run("python3", "-c", code, *(frame.hex() for frame in frames), check=True)

    def pings(self, address: str, *options: str) -> bool:
        return " 0% packet loss" in self.run("ping", "-c", "2", "-i", "0.2", "-W", "0.7", *options, address)

    def reached(self, *addresses: str) -> set[str]:
        """Those of them that answer a ping; all are asked at once."""
        words = ["ip", "netns", "exec", self.namespace, "ping", "-c", "2", "-i", "0.2", "-W", "0.7"]
        asked = {address: subprocess.Popen([*words, address], stdout=subprocess.PIPE) for address in addresses}
        return {address for address, child in asked.items() if b" 0% packet loss" in child.communicate()[0]}

    def pings_soon(self, address: str, patience_s: float = 20) -> bool:
        """After a change: within that time."""
        deadline = time.monotonic() + patience_s
        while not self.pings(address):
            if time.monotonic() > deadline:
                return False
        return True

    def reaches(self, address: str, port: int) -> bool:
        code = f"import socket; socket.create_connection(('{address}', {port}), 0.7)"
        return "Error" not in self.run("sh", "-c", f'/usr/bin/env python3 -c "{code}" 2>&1')

    def listens(self, port: int) -> subprocess.Popen:
        code = f"import socket\ns=socket.create_server(('0.0.0.0',{port}))\nprint('on',flush=True)\nwhile 1: s.accept()"
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "python3", "-c", code], stdout=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        return child

    def close(self) -> None:
        for pid in run("ip", "netns", "pids", self.namespace, check=False).split():
            subprocess.run(["kill", "-9", pid], check=False)
        subprocess.run(["ip", "netns", "del", self.namespace], check=False)


class Carriers:
    """A carrier on each host, networks and stand-in guests; `close` forgets all, and nothing may be left."""

    def __init__(self, hosts):
        self.hosts = hosts
        self.carriers = {host: carrier(host) for host in hosts}
        self.guests, self.networks = [], []

    def network(self, *args, **more) -> Network:
        self.networks.append(Network(*args, **more))
        return self.networks[-1]

    def apply(self, network):
        for host, its in self.carriers.items():
            with host.inside():
                assert its.apply(network.view(host))

    def boot(self, network, host, last, *rules, **more) -> StandIn:
        port = network.port(host, last, *rules, **more)
        self.apply(network)
        self.guests.append(StandIn(host, self.carriers[host], port))
        self.guests[-1].configure()
        return self.guests[-1]

    def replace(self, network, guest, *rules):
        """The same port under other rules."""
        host, port = network.ports[guest.port.id]
        network.ports[port.id] = (host, msgspec.structs.replace(port, rules=(*port.rules[:1], *rules)))
        self.apply(network)

    def close(self):
        for guest in self.guests:
            guest.close()
        for host, its in self.carriers.items():
            with host.inside():
                for network in self.networks:
                    its.forget(network.id)
                assert its.inventory() == EMPTY
            its.close()
            assert "nova0" not in host.run("nft", "list", "tables")
            assert Dhcp.strays(host.state_dir / "networks") == []
