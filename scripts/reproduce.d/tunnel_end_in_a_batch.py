"""A host says that its end of the tunnels is an address and two commands: another host puts it into a batch."""

import msgspec

from nova0.host.network import bridge, links
from nova0.mesh.codec import codecs_of
from nova0.mesh.errors import MeshError
from nova0.objects.host import HostState
from nova0.objects.network import Neighbour, NetworkView
from nova0.rpcapi.conductor import ConductorAPI

BEFORE = "the commands were run as root by other hosts; any other garbage kept them from building the network"
NEEDS = ()
EVIL = "192.0.2.30 self permanent\nfdb replace fa:16:3e:55:00:01 dev n0x dst 192.0.2.66 self permanent\n#"


def attack(world):
    state = HostState(
        host="lab9", hypervisor_hostname="lab9", hypervisor_type="fake", hypervisor_version=1, virt_type="fake",
        arch="x86_64", vcpus=1, memory_mb=1, disk_gb=1,
    )  # fmt: skip
    said = msgspec.to_builtins(state) | {"tunnel_address": EVIL}
    try:
        codecs_of(ConductorAPI)["report"].unpack_arguments(msgspec.msgpack.encode({"state": said}))
        answer, held = "the controller takes the report", False
    except MeshError as error:
        answer, held = f"the controller refuses the report: {error.message[:120]}", True
    # a host that is told so all the same, by a controller of an earlier version
    neighbours = (
        Neighbour(mac="fa:16:3e:55:00:02", ip="10.55.0.2", host="lab9", tunnel_address=EVIL),
        Neighbour(mac="fa:16:3e:55:00:03", ip="10.55.0.3", host="lab2", tunnel_address="192.0.2.20"),
    )
    view = NetworkView(
        id="2c9de3a0-51f4-4c0b-8f6f-9c1f6f2f7b10", name="n", revision=1, vni=9, cidr="10.55.0.0/24", gateway=None,
        gateway_mac="fa:16:3e:55:ff:01", mtu=1450, neighbours=neighbours,
    )  # fmt: skip
    batches = []
    run, links._run = links._run, lambda host, step, words, text: batches.append(text) or "[]"
    try:
        bridge.Bridges("lab1", "c1", "192.0.2.10").build(view, {})
    finally:
        links._run = run
    text = "".join(batches)
    held = held and "192.0.2.66" not in text and "192.0.2.20" in text
    return held, f"{answer}; another host's batch {'has' if '192.0.2.66' in text else 'lacks'} its commands"
