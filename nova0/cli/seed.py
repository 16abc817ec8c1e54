"""What a new cloud is given so that the first server can be booted: image, network, key, rules.

An ordinary client of the HTTP API; what is there already by name is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nova0.cli import free_range, ssh_key
from nova0.cli.cloud import Cloud

IMAGE, NETWORK, KEY = "tiny", "private", "nova0"
SEEDED = "nova0_seeded"  # property of images that `up` made
FAKE_IMAGE_BYTES = 64 * 1024
Say = Callable[[str], None]


def image(admin: Cloud, folder: Path, fake: bool, say: Say) -> None:
    """The public image `tiny`: built if absent, or for the fake driver a few zeroes. Raises what the builder
    raises (CannotBuild, with a remedy)."""
    if any(found["status"] == "active" for found in admin.pages("image", "/images", "images", name=IMAGE)):
        return
    for left in list(admin.pages("image", "/images", "images", name=IMAGE)):
        if left.get(SEEDED) == "yes":  # an upload of ours that was cut short
            admin.delete("image", f"/images/{left['id']}")
    if fake:
        upload(admin, IMAGE, "raw", "bare", bytes(FAKE_IMAGE_BYTES), {"os_distro": "nova0-fake"})
        return
    manifest_path = folder / "tiny.json"
    if not manifest_path.exists():
        from nova0.host.image.tiny.build import build

        build(folder, say)
    manifest = json.loads(manifest_path.read_text())
    say("uploading")
    properties = dict(manifest["properties"])
    for part in ("kernel", "ramdisk"):
        entry = manifest[part]
        properties[f"{part}_id"] = upload(
            admin, f"{IMAGE}-{part}", entry["disk_format"], entry["container_format"], folder / entry["file"], {}
        )
    disk = manifest["disk"]
    properties.update(min_ram=manifest.get("min_ram_mb", 0), min_disk=manifest.get("min_disk_gb", 0))
    upload(admin, IMAGE, disk["disk_format"], disk["container_format"], folder / disk["file"], properties)


def upload(admin: Cloud, name: str, disk: str, container: str, data: bytes | Path, properties: dict[str, Any]) -> str:
    """Make a public image and give it its bytes. Returns its id."""
    body = {"name": name, "disk_format": disk, "container_format": container, "visibility": "public", SEEDED: "yes"}
    body |= properties
    image_id = str(admin.post("image", "/images", body)["id"])
    if isinstance(data, bytes):
        admin.put_bytes(f"/images/{image_id}/file", data)
    else:
        with open(data, "rb") as file:
            admin.put_bytes(f"/images/{image_id}/file", file)
    return image_id


def network(demo: Cloud) -> str:
    """The demo project's network with one DHCP subnet on a free range. Returns the range, "" if it was there."""
    if list(demo.pages("network", "/networks", "networks", name=NETWORK)):
        return ""
    taken = free_range.routed_here()
    taken += [
        free_range.Network(s["cidr"]) for s in demo.pages("network", "/subnets", "subnets") if s["ip_version"] == 4
    ]
    cidr = str(free_range.choose(taken))
    made = demo.post("network", "/networks", {"network": {"name": NETWORK}})["network"]
    subnet = {"network_id": made["id"], "name": f"{NETWORK}-v4", "ip_version": 4, "cidr": cidr, "enable_dhcp": True}
    demo.post("network", "/subnets", {"subnet": subnet})
    return cidr


def keypair(demo: Cloud, public_key: str) -> bool:
    """The caller's key under the name `nova0`; one that an earlier `up` put there is replaced when the caller's key is
    another now. False: somebody's own key has that name, and stays."""
    pairs = {entry["keypair"]["name"]: entry["keypair"] for entry in demo.get("compute", "/os-keypairs")["keypairs"]}
    if KEY in pairs:
        there = pairs[KEY]["public_key"].split()
        if there[:2] == public_key.split()[:2]:
            return True
        if there[2:] != [ssh_key.COMMENT]:
            return False
        demo.delete("compute", f"/os-keypairs/{KEY}")
    demo.post("compute", "/os-keypairs", {"keypair": {"name": KEY, "public_key": public_key, "type": "ssh"}})
    return True


def rules(demo: Cloud) -> None:
    """ssh and ping into the demo project's default group: visible rules, to be taken away like any other."""
    groups = demo.get("network", "/security-groups", name="default", project_id=demo.project_id)["security_groups"]
    group = groups[0]
    have = {
        (rule["protocol"], rule["port_range_min"])
        for rule in group["security_group_rules"]
        if rule["direction"] == "ingress" and rule["ethertype"] == "IPv4"
    }
    for protocol, port, why in (("tcp", 22, "ssh, by nova0 up"), ("icmp", None, "ping, by nova0 up")):
        if (protocol, port) in have:
            continue
        rule: dict[str, Any] = {
            "security_group_id": group["id"],
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": protocol,
            "description": why,
        }
        if port:
            rule.update(port_range_min=port, port_range_max=port)
        demo.post("network", "/security-group-rules", {"security_group_rule": rule})
