"""A member makes a subnet with the range of the host's LAN, another with that of a public DNS, and boots on both."""

import ctypes
import json
import os
import signal
import subprocess

BEFORE = (
    "the LAN's machines and 8.8.8.8 are behind the tenants' bridges: an HTTP server of the LAN did not answer any more"
)
NEEDS = ("root",)
CLONE_NEWNET = 0x40000000


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def machine_with_a_lan(world):
    """This process and its children get a machine of their own on 192.168.50.0/24, where 192.168.50.2 is another."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    neighbour = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    world.defer(neighbour.wait)
    world.defer(neighbour.kill)
    world.until(
        lambda: os.stat(f"/proc/{neighbour.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino, 10, "a LAN"
    )
    ip("link", "set", "lo", "up")
    ip("link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", str(neighbour.pid))
    ip("addr", "add", "192.168.50.20/24", "dev", "lan0")
    ip("link", "set", "lan0", "up")
    ip("route", "add", "default", "via", "192.168.50.1")
    inside = ["nsenter", f"--net=/proc/{neighbour.pid}/ns/net", "ip"]
    subprocess.run([*inside, "addr", "add", "192.168.50.2/24", "dev", "eth0"], check=True)
    subprocess.run([*inside, "link", "set", "eth0", "up"], check=True)
    world.defer(end_dhcp, world.folder)


def end_dhcp(folder):
    for path in folder.glob("lab*/networks/*/dnsmasq.pid"):
        try:
            os.kill(int(path.read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass


def network(cloud, cidr):
    """A network with that subnet; its id."""
    made = cloud.session.post(f"{cloud.url}/network/v2.0/networks", json={"network": {"name": cidr}}).json()["network"]
    subnet = {"network_id": made["id"], "cidr": cidr, "ip_version": 4}
    cloud.session.post(f"{cloud.url}/network/v2.0/subnets", json={"subnet": subnet}).raise_for_status()
    return made["id"]


def boot_on(cloud, network_id):
    cloud.network = network_id
    return cloud.rested(cloud.boot())


def way(address):
    """The device that this machine reaches it by."""
    return json.loads(ip("-j", "route", "get", address))[0].get("dev")


def attack(world):
    machine_with_a_lan(world)
    cloud = world.cloud(NOVA0_NETWORK_CARRIER="linux")
    servers = [boot_on(cloud, network(cloud, cidr)) for cidr in ("192.168.50.0/25", "8.8.8.0/24")]
    ways = {address: way(address) for address in ("192.168.50.1", "192.168.50.2", "8.8.8.8")}
    pinged = subprocess.run(["ping", "-c", "2", "-W", "2", "192.168.50.2"], capture_output=True).returncode == 0
    states = [server["status"] for server in servers]
    held = set(ways.values()) == {"lan0"} and pinged and states == ["ACTIVE"] * 2
    told = ", ".join(f"{address} by {device}" for address, device in ways.items())
    return held, f"{told}; 192.168.50.2 {'answers' if pinged else 'is silent'}; servers {' '.join(states)}"
