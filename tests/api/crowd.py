"""TEST ONLY: a store with thousands of servers, filled by SQL in a second or two.

Every server has a port with an address, a claim, tags, metadata, an image and an action; all of one project are in
its `default` group, whose rule admits its own members: what one of them may hear names all others.
"""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from pathlib import Path

FLAVOR = {
    "flavor_id": "1", "name": "m1.tiny", "vcpus": 1, "memory_mb": 512, "root_gb": 1, "ephemeral_gb": 0,
    "swap_mb": 0, "rxtx_factor": 1.0, "is_public": True, "extra_specs": {"hw:cpu_policy": "shared"},
}  # fmt: skip
STATE = {
    "hypervisor_type": "fake", "hypervisor_version": 1000000, "virt_type": "fake", "arch": "x86_64",
    "vcpus": 20000, "memory_mb": 20000 * 1024, "disk_gb": 100000, "address": "192.0.2.7", "tunnel_address": "192.0.2.7",
    "cpu_info": {"arch": "x86_64", "model": "fake"},
}  # fmt: skip
BORN = 1_780_000_000.0


def fill(path: Path, *, servers: int, hosts: list[str], images: int = 250, projects: int = 1) -> list[str]:
    """Into a store that a controller has made, and that no process has open. The first project is demo; hosts that
    are not there yet are made. The servers' uuids, in order."""
    chance = random.Random(8)
    base = sqlite3.connect(path)
    base.execute("PRAGMA synchronous = off")
    [first_vni] = base.execute("SELECT coalesce(max(vni), 1000) + 1 FROM network").fetchone()
    [demo] = base.execute("SELECT id FROM project WHERE name = 'demo'").fetchone()
    owners = [demo, *(uuid.UUID(int=chance.getrandbits(128)).hex for _ in range(projects - 1))]
    rows = _Rows(base)
    for number, owner in enumerate(owners[1:]):
        rows.add("project", id=owner, name=f"p{number}", domain_id="default", description="", enabled=1, tags="[]",
                 created_at=BORN)  # fmt: skip

    def new() -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    for number, name in enumerate(hosts):
        share = servers // len(hosts) + (number < servers % len(hosts))
        rows.add(
            "host", uuid=new(), service_uuid=new(), host=name, vcpus=20000, memory_mb=20000 * 1024, disk_gb=100000,
            state=json.dumps(STATE | {"host": name, "hypervisor_hostname": name}), vcpus_used=0, memory_mb_used=0,
            disk_gb_used=0, servers=0, disabled=0, forced_down=0, fenced=0, created_at=BORN, updated_at=BORN,
        )  # fmt: skip
        taken = "vcpus_used + ?, memory_mb_used = memory_mb_used + ?, disk_gb_used = disk_gb_used + ?"
        rows.after(
            f"UPDATE host SET vcpus_used = {taken}, servers = servers + ? WHERE host = ?",
            (share, 512 * share, share, share, name),
        )
    pictures = [new() for _ in range(images)]
    for number, picture in enumerate(pictures):
        properties = {f"os_{key}": f"{number} {key}" for key in ("distro", "version", "type", "admin_user", "shape")}
        rows.add(
            "image", id=picture, name=f"image {number}", status="active", visibility="public", owner=demo, protected=0,
            hidden=0, disk_format="qcow2", container_format="bare", size=1000 + number, sha512="ab" * 64, min_disk=0,
            min_ram=0, tags='["a", "b"]', properties=json.dumps(properties), created_at=BORN, updated_at=BORN,
        )  # fmt: skip
    places = []
    for number, owner in enumerate(owners):
        network, subnet, group = new(), new(), new()
        places.append((owner, network, subnet, group))
        rows.add(
            "network", id=network, name=f"net{number}", description="", project_id=owner, admin_state_up=1, shared=0,
            external=0, port_security_enabled=1, mtu=1450, vni=first_vni + number, gateway_mac="fa:16:3f:00:00:01",
            tags="[]", revision=1, created_at=BORN, updated_at=BORN,
        )  # fmt: skip
        rows.add(
            "subnet", id=subnet, name="s", description="", network_id=network, project_id=owner, ip_version=4,
            cidr="10.64.0.0/16", gateway_ip="10.64.0.1", enable_dhcp=1, dns_nameservers="[]", host_routes="[]",
            allocation_pools=json.dumps([{"start": "10.64.0.2", "end": "10.64.255.254"}]), tags="[]", revision=1,
            created_at=BORN, updated_at=BORN,
        )  # fmt: skip
        more = {"project_id": owner, "description": "", "revision": 1, "created_at": BORN, "updated_at": BORN}
        rows.add("security_group", id=group, name="default", stateful=1, tags="[]", **more)
        for direction, remote in (("egress", None), ("ingress", group)):
            rows.add("security_group_rule", id=new(), security_group_id=group, direction=direction, ethertype="IPv4",
                     remote_group_id=remote, **more)  # fmt: skip
    made = []
    for number in range(servers):
        owner, network, subnet, group = places[number % projects]
        server, port, host = new(), new(), hosts[number % len(hosts)]
        made.append(server)
        picture = number % images
        properties = {"os_distro": "debian", "kernel_id": "", "hw_disk_bus": "virtio"}
        rows.add(
            "instance", uuid=server, generation=1, name=f"server {number}", hostname=f"server-{number}",
            project_id=owner, user_id="u", vm_state="active", power_state=1, host=host, node=host,
            availability_zone="nova", flavor=json.dumps(FLAVOR), config_drive=0,
            image=json.dumps({"id": pictures[picture], "name": f"image {picture}", "size": 1000, "sha512": "ab" * 64,
                              "disk_format": "qcow2", "properties": properties}),
            metadata=json.dumps({f"key{n}": f"value {n} of {number}" for n in range(5)}),
            system_metadata=json.dumps({f"image_{n}": "x" * 20 for n in range(5)}),
            tags=json.dumps(["all", f"t{number % 10}", f"u{number}"]), scheduler_hints="{}",
            requested_networks=json.dumps([{"uuid": network}]), security_groups="[]", block_devices="[]",
            disk_config="MANUAL", launch_index=0, reservation_id=f"r-{number}", progress=100,
            root_device_name="/dev/vda", created_at=BORN + number, updated_at=BORN + number, launched_at=BORN + number,
        )  # fmt: skip
        rows.add(
            "port", id=port, name="", description="", network_id=network, project_id=owner,
            mac_address="fa:16:3e:" + ":".join(f"{(number >> shift) & 255:02x}" for shift in (16, 8, 0)),
            admin_state_up=1, device_id=server, device_owner="compute:nova", host=host, status="ACTIVE",
            security_groups=json.dumps([group]), allowed_address_pairs="[]", port_security_enabled=1,
            vnic_type="normal", binding_profile="{}", made_by_us=1, position=0, tags="[]", revision=1,
            created_at=BORN, updated_at=BORN,
        )  # fmt: skip
        address = number // projects + 2
        rows.add("fixed_address", subnet_id=subnet, port_id=port, ip_address=f"10.64.{address >> 8}.{address & 255}")
        rows.add("claim", instance_uuid=server, host=host, vcpus=1, memory_mb=512, disk_gb=1, created_at=BORN)
        rows.add("instance_action", instance_uuid=server, action="create", request_id=f"req-{number}", user_id="u",
                 project_id=owner, start_time=BORN, finish_time=BORN)  # fmt: skip
        rows.add(
            "operation", uuid=new(), kind="boot", subject=server, state="done", attempt=0, data="{}",
            request_id=f"req-{number}", user_id="u", project_id=owner, fence=1, not_before=0, created_at=BORN,
            finished_at=BORN,
        )  # fmt: skip
    rows.write()
    base.commit()
    base.close()
    return made


class _Rows:
    """Rows by table, written together."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base
        self._kept: dict[tuple[str, tuple[str, ...]], list[tuple[object, ...]]] = {}
        self._then: list[tuple[str, tuple[object, ...]]] = []

    def after(self, statement: str, values: tuple[object, ...]) -> None:
        """To be done when all rows are there."""
        self._then.append((statement, values))

    def add(self, table: str, **columns: object) -> None:
        self._kept.setdefault((table, tuple(columns)), []).append(tuple(columns.values()))

    def write(self) -> None:
        for (table, names), rows in self._kept.items():
            listed = ", ".join(f'"{name}"' for name in names)
            holes = ", ".join("?" * len(names))
            self._base.executemany(f'INSERT OR IGNORE INTO "{table}" ({listed}) VALUES ({holes})', rows)
        for statement, values in self._then:
            self._base.execute(statement, values)
