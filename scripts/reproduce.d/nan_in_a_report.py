"""A joined host reports NaN as its load; then somebody boots servers."""

from nova0.mesh.errors import MeshError
from nova0.mesh.joining import join, mint_token
from nova0.mesh.node import Node
from nova0.mesh.settings import MeshSettings
from nova0.rpcapi.conductor import ConductorAPI

BEFORE = "every boot of the cloud ended in ERROR, also after a restart of the controller and an eviction of the host"
NEEDS = ()
REPORT = {
    "host": "lab9",
    "hypervisor_hostname": "lab9",
    "hypervisor_type": "fake",
    "hypervisor_version": 1,
    "vcpus": 64,
    "virt_type": "fake",
    "arch": "x86_64",
    "memory_mb": 65536,
    "disk_gb": 1000,
    "metrics": {"cpu.percent": float("nan")},
}


def attack(world):
    cloud = world.cloud(hosts=1)
    mesh = {"mdns": False, "listen": "127.0.0.1", "advertise": "127.0.0.1"}
    token = mint_token(cloud._settings("ctl", "controller", door_port=cloud.door), uses=1)
    settings = MeshSettings(state_dir=str(world.folder / "lab9"), host="lab9", process="host", roles=("host",), **mesh)
    join(settings, token)
    node = Node(settings)
    node.start()
    world.defer(node.stop)
    conductor = node.stub(ConductorAPI)
    world.until(lambda: any("conductor" in member.topics for member in node.members()), 20, "the controller is met")
    try:
        conductor.report(REPORT)
        answer = "the report is taken"
    except MeshError as error:
        answer = f"the report is refused: {error.message}"
    statuses = [(cloud.rested(cloud.boot()) or {}).get("status") for _ in range(3)]
    held = statuses == ["ACTIVE"] * 3
    try:
        conductor.report(REPORT | {"metrics": {"cpu.percent": 0.5}})  # a good one is taken, from the same host
    except MeshError as error:
        return False, f"a good report is refused: {error.message}"
    return held, f"{answer}; three boots: {' '.join(map(str, statuses))}"
