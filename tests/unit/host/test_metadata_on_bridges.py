"""The metadata service on real devices: two networks with the same addresses, told apart by their bridge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOST, GUESTS = "nDhost", ("nDg1", "nDg2")

SERVER = """
from gevent import monkey; monkey.patch_all()
import sys
from gevent.fileobject import FileObject
from nova0.host.metadata.server import MetadataServer
from tests.unit.host.lab import an_instance
server = MetadataServer("lab1", lambda network, ip: an_instance(int(network)) if ip == "10.99.0.5" else None)
for number in ("1", "2"):
    assert server.serve(number, f"nDbr{number}") != ("", 0)
print("ready", flush=True)
FileObject(sys.stdin).read()  # the loop runs on meanwhile
"""

ASK = """
import urllib.request
print(urllib.request.urlopen("http://169.254.169.254/latest/meta-data/hostname", timeout=30).read().decode())
"""


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=20).stdout


def inside(namespace: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *words]


@pytest.fixture
def two_networks():
    """A host with two bridges of the same addresses, a guest behind each."""
    try:
        for name in (HOST, *GUESTS):
            run("ip", "netns", "add", name)
        for number, guest in enumerate(GUESTS, 1):
            bridge, tap = f"nDbr{number}", f"nDt{number}"
            run(*inside(HOST, "ip", "link", "add", bridge, "type", "bridge"))
            run(*inside(HOST, "ip", "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", guest))
            run(*inside(HOST, "ip", "link", "set", tap, "master", bridge, "up"))
            run(*inside(HOST, "ip", "address", "add", "10.99.0.1/24", "dev", bridge))
            run(*inside(HOST, "ip", "link", "set", bridge, "up"))
            run(*inside(guest, "ip", "address", "add", "10.99.0.5/24", "dev", "eth0"))
            run(*inside(guest, "ip", "link", "set", "eth0", "up"))
            run(*inside(guest, "ip", "route", "add", "default", "via", "10.99.0.1"))
        run(*inside(HOST, "nft", "add table ip t; add chain ip t p { type nat hook prerouting priority dstnat; }"))
        redirect = "add rule ip t p ip daddr 169.254.169.254 tcp dport 80 redirect to :8775"
        run(*inside(HOST, "nft", redirect))
        yield
    finally:
        for name in (HOST, *GUESTS):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)


@pytest.mark.root
@pytest.mark.covers("S078", "S227")
def test_each_guest_hears_of_itself_though_both_have_one_address(two_networks):
    server = subprocess.Popen(
        inside(HOST, sys.executable, "-c", SERVER), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout.readline().strip() == "ready"
        answers = [run(*inside(guest, sys.executable, "-c", ASK)).strip() for guest in GUESTS]
        assert answers == ["vm1", "vm2"]
    finally:
        server.stdin.close()
        server.wait(timeout=10)


CONNECT = """
from gevent import monkey; monkey.patch_all()
import sys, types
import nova0.host.compute.networks as room
from nova0.mesh.errors import MeshError
room.bridge_name = lambda network_id: f"nDbr{network_id}"
carrier = types.SimpleNamespace(carried=lambda: {"1": 1, "2": 1})
networks = room.Networks("lab1", carrier, fetch=list, in_use=set, metadata=object())
for network, port in (("2", 22), ("2", 23), ("3", 22)):
    try:
        print(networks.connect(network, "10.99.0.5", port))
    except MeshError as error:
        print(type(error).__name__, error)
"""

BANNER = """
import socket
listener = socket.create_server(("0.0.0.0", 22))
print("ready", flush=True)
listener.accept()[0].sendall(b"SSH-2.0-tiny\\r\\nmore")
input()
"""


@pytest.mark.root
def test_a_guests_port_is_proved_through_its_own_bridge(two_networks):
    words = inside(GUESTS[1], sys.executable, "-c", BANNER)
    guest = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert guest.stdout.readline().strip() == "ready"
        said = run(*inside(HOST, "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", CONNECT)).splitlines()
        assert said[0] == "SSH-2.0-tiny"
        assert said[1].startswith("NetworkError lab1: connect to 10.99.0.5 port 23") and "security groups" in said[1]
        assert "is not carried here" in said[2]
    finally:
        guest.stdin.close()
        guest.wait(timeout=10)
