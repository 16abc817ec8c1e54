"""The metadata service in real namespaces: two networks with the same addresses, told apart by where they ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUESTS = ("nDg1", "nDg2")

SERVER = """
from gevent import monkey; monkey.patch_all()
import subprocess, sys
from gevent.fileobject import FileObject
from nova0.host.metadata.server import MetadataServer
from nova0.host.network.namespace import Namespace
from tests.unit.host.lab import an_instance
server = MetadataServer("lab1", lambda network, ip: an_instance(int(network)) if ip == "10.99.0.5" else None)
for number in ("1", "2"):
    namespace = Namespace.made()
    words = f"ip link add leg netns {namespace.path} type veth peer name eth0 netns nDg{number}"
    subprocess.run(words.split(), check=True)
    for words in ("addr add 169.254.169.254/32 dev leg", "addr add 10.99.0.1/24 dev leg", "link set leg up"):
        subprocess.run(["nsenter", f"--net={namespace.path}", "ip", *words.split()], check=True)
    assert server.serve(number, namespace) == ("169.254.169.254", 80)
    assert server.serve(number, namespace) == ("169.254.169.254", 80)
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
def guests():
    try:
        for name in GUESTS:
            run("ip", "netns", "add", name)
        yield GUESTS
    finally:
        for name in GUESTS:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)


@pytest.mark.root
@pytest.mark.covers("S078", "S227")
def test_each_guest_hears_of_itself_though_both_have_one_address(guests):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout.readline().strip() == "ready"
        for guest in guests:
            for words in ("addr add 10.99.0.5/24 dev eth0", "link set eth0 up", "route add default via 10.99.0.1"):
                run("ip", "-n", guest, *words.split())
        answers = [run(*inside(guest, sys.executable, "-c", ASK)).strip() for guest in guests]
        assert answers == ["vm1", "vm2"]
    finally:
        server.stdin.close()
        server.wait(timeout=10)


CONNECT = """
from gevent import monkey; monkey.patch_all()
import os, sys, types
from nova0.host.compute.networks import Networks
from nova0.host.network.carrier import Carrier
from nova0.host.network.namespace import Namespace
from nova0.mesh.errors import MeshError
from nova0.objects.errors import NetworkError
def namespace(network_id):
    if network_id == "3":
        raise NetworkError("lab1: network 3 is not carried here")
    return Namespace(os.open(f"/run/netns/nDg{network_id}", os.O_RDONLY))
carrier = types.SimpleNamespace(namespace=namespace)
networks = Networks("lab1", carrier, fetch=list, in_use=set, metadata=object())
for network, port in (("2", 22), ("2", 23), ("1", 22), ("3", 22)):
    try:
        print(networks.connect(network, "127.0.0.1", port))
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
def test_a_guests_port_is_proved_from_its_own_namespace(guests):
    for guest in guests:
        run("ip", "-n", guest, "link", "set", "lo", "up")
    words = inside(GUESTS[1], sys.executable, "-c", BANNER)
    guest = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert guest.stdout.readline().strip() == "ready"
        said = run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", CONNECT).splitlines()
        assert said[0] == "SSH-2.0-tiny"
        assert said[1].startswith("NetworkError lab1: connect to 127.0.0.1 port 23") and "security groups" in said[1]
        assert said[2].startswith("NetworkError lab1: connect to 127.0.0.1 port 22")
        assert "is not carried here" in said[3]
    finally:
        guest.stdin.close()
        guest.wait(timeout=10)
