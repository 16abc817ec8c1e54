"""A false controller names a DNS server of two lines: the second is a line of dnsmasq's configuration."""

import msgspec

from nova0.host.network.dnsmasq import Dhcp, Place
from nova0.mesh.codec import codecs_of
from nova0.mesh.errors import MeshError
from nova0.objects.network import NetworkView
from nova0.rpcapi.conductor import ConductorAPI

BEFORE = "dhcp-script=/x.sh stood in dnsmasq.conf, and dnsmasq ran it as root"
NEEDS = ()


def attack(world):
    view = NetworkView(
        id="6b1f0c52-7d0e-4a86-9a57-0d3f5c1e8a21",
        name="n",
        revision=1,
        vni=9,
        cidr="10.44.0.0/24",
        gateway="10.44.0.1",
        gateway_mac="fa:16:3e:44:00:01",
        mtu=1450,
        dns=(f"9.9.9.9\ndhcp-script={world.folder}/x.sh",),
    )
    said = []
    try:  # as it comes over the wire: the answer to ConductorAPI.networks_of
        codecs_of(ConductorAPI)["networks_of"].unpack_result(msgspec.msgpack.encode([view]))
        said.append("the host takes it")
    except MeshError as error:
        said.append(f"the host refuses it: {error.message}")
    place = world.folder / "network"
    try:  # and at the writer, had it been taken
        Dhcp("lab1", place).serve(view, Place.of("/proc/self/ns/net", 1, 1))
        said.append("dnsmasq was started")
    except MeshError as error:
        said.append(f"not written: {error.message}")
    config = place / "dnsmasq.conf"
    written = config.exists() and "\ndhcp-script" in config.read_text()
    return not written and said[0].startswith("the host refuses"), "; ".join(said)
