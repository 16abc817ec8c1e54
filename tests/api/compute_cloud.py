"""TEST ONLY: the served cloud of conftest with one compute host, an image, a network and the stand-in conductor."""

import time
from dataclasses import dataclass

import pytest
from conductor_stand_in import HOST, StandIn, network

from nova0.controller.compute.flavors import seed_flavors
from nova0.controller.db.compute_tables import HostRow
from nova0.controller.db.identity_tables import ProjectRow
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.services import HostLife

STATE = {
    "host": HOST, "hypervisor_hostname": HOST, "hypervisor_type": "fake", "hypervisor_version": 1000000,
    "virt_type": "fake", "arch": "x86_64", "vcpus": 16, "memory_mb": 65536, "disk_gb": 1000,
    "address": "192.0.2.7", "disk_free_gb": 900, "cpu_info": {"arch": "x86_64", "model": "fake"},
    "uptime": " 12:00:00 up 1 day,  load average: 0.00",
}  # fmt: skip


@dataclass
class Compute:
    """Ids of what every test may use, and servers made in a word."""

    cloud: object
    conductor: StandIn
    image_id: str
    network_id: str
    flavor_id: str = "42"

    def body(self, name: str, networks="none", **more) -> dict:
        return {
            "server": {
                "name": name,
                "imageRef": self.image_id,
                "flavorRef": self.flavor_id,
                "networks": networks,
                **more,
            }
        }

    def boot(self, name: str, http=None, version: str = "2.37", wait: bool = True, **more) -> str:
        """The id of a new server; ACTIVE when `wait`."""
        http = http or self.cloud.demo
        answer = http.post("/v2.1/servers", self.body(name, **more), version=version)
        assert answer.status_code == 202, answer.text
        uuid = answer.json()["server"]["id"]
        if wait:
            self.wait(uuid, "ACTIVE", http)
        return uuid

    def wait(self, uuid: str, status: str, http=None, within_s: float = 5) -> dict:
        """Until the server is `status` with nothing under way."""
        http, end = http or self.cloud.demo, time.monotonic() + within_s
        while True:
            answer = http.get(f"/v2.1/servers/{uuid}")
            if answer.status_code == 404 and status == "gone":
                return {}
            server = answer.json()["server"]
            if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
                return server
            assert time.monotonic() < end, f"{uuid} is {server['status']}, not {status}"
            time.sleep(0.01)

    def act(self, uuid: str, action: str, value=None, http=None, **more):
        return (http or self.cloud.demo).post(f"/v2.1/servers/{uuid}/action", {action: value}, **more)


@pytest.fixture(scope="module")
def compute(cloud):
    def rows():
        seed_flavors()
        HostRow.create(host=HOST, state=STATE, vcpus=16, memory_mb=65536, disk_gb=1000)
        image = ImageRow.create(
            name="tiny", status="active", visibility="public", disk_format="qcow2", container_format="bare",
            size=1000, sha512="ab", owner="x", properties={"os_distro": "debian"},
        )  # fmt: skip
        demo = ProjectRow.get(ProjectRow.name == "demo")
        return image.id, network(demo.id)

    image_id, network_id = cloud.store.write(rows)
    cloud.hosts.lives[HOST] = HostLife(host=HOST, alive=True, status="up", age_s=0.2)
    conductor = StandIn(cloud.store, HOST)
    yield Compute(cloud, conductor, image_id, network_id)
    conductor.stop()
