"""What a guest is told of itself: a pure function of the instance, in the field's two forms.

The OpenStack form (openstack/<version>/...) and the EC2 form (<version>/meta-data/...); the same values
go over 169.254.169.254 and onto config drives. No socket, no file, no clock, no randomness may enter.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from nova0.objects.instance import Instance
from nova0.objects.network import Port

LATEST = "latest"
OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
    LATEST,
)
EC2_VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    LATEST,
)


def tree(instance: Instance, random_seed: bytes | None = None) -> dict[str, bytes]:
    """path -> content of everything served over HTTP, e.g. "openstack/latest/meta_data.json" and
    "latest/meta-data/instance-id". `random_seed`: fresh random bytes for the guest's own generator, left
    out where None."""
    files = openstack_tree(instance, random_seed)
    user_data = _user_data(instance)
    for version in EC2_VERSIONS:
        for path, value in _flat(ec2_meta_data(instance, version)).items():
            files[f"{version}/meta-data/{path}"] = value.encode()
        if user_data is not None:
            files[f"{version}/user-data"] = user_data
    return files


def openstack_tree(instance: Instance, random_seed: bytes | None = None) -> dict[str, bytes]:
    """The part of `tree` below openstack/."""
    files: dict[str, bytes] = {}
    user_data = _user_data(instance)
    for version in OPENSTACK_VERSIONS:
        root = f"openstack/{version}"
        files[f"{root}/meta_data.json"] = _json(openstack_meta_data(instance, version, random_seed))
        if user_data is not None:
            files[f"{root}/user_data"] = user_data
        if version >= "2013-10-17":  # "latest" sorts after every date
            files[f"{root}/vendor_data.json"] = _json({})
        if version >= "2015-10-15":
            files[f"{root}/network_data.json"] = _json(network_data(instance))
        if version >= "2016-10-06":
            files[f"{root}/vendor_data2.json"] = _json({})
    return files


def config_drive_tree(instance: Instance, random_seed: bytes | None = None) -> dict[str, bytes]:
    """path -> content of a config drive: the OpenStack form, and the EC2 form as one file a version."""
    files = openstack_tree(instance, random_seed)
    if instance.admin_password:
        for version in OPENSTACK_VERSIONS:
            data = openstack_meta_data(instance, version, random_seed) | {"admin_pass": instance.admin_password}
            files[f"openstack/{version}/meta_data.json"] = _json(data)
    user_data = _user_data(instance)
    for version in ("2009-04-04", LATEST):
        files[f"ec2/{version}/meta-data.json"] = _json(ec2_meta_data(instance, version))
        if user_data is not None:
            files[f"ec2/{version}/user-data"] = user_data
    return files


def openstack_meta_data(instance: Instance, version: str, random_seed: bytes | None = None) -> dict[str, Any]:
    """meta_data.json as of `version`."""
    data: dict[str, Any] = {
        "uuid": instance.uuid,
        "hostname": instance.hostname,
        "name": instance.name,
        "launch_index": instance.launch_index,
        "availability_zone": instance.availability_zone,
    }
    if instance.metadata:
        data["meta"] = instance.metadata
    if instance.keypair is not None:
        key = instance.keypair
        data["public_keys"] = {key.name: key.public_key}
        data["keys"] = [{"name": key.name, "type": key.type, "data": key.public_key}]
    if version >= "2013-04-04" and random_seed is not None:
        data["random_seed"] = base64.b64encode(random_seed).decode()
    if version >= "2015-10-15":
        data["project_id"] = instance.project_id
    if version >= "2016-06-30":
        data["devices"] = []  # only tagged devices are listed; there are no device tags yet
    if version >= "2020-10-14":
        data["dedicated_cpus"] = []
    return data


def network_data(instance: Instance) -> dict[str, Any]:
    """network_data.json: links, networks (static, from the store) and services."""
    links, networks, resolvers = [], [], dict[str, None]()
    for index, port in enumerate(instance.ports):
        links.append(
            {
                "id": port.tap,
                "vif_id": port.id,
                "type": "bridge",
                "mtu": port.mtu,
                "ethernet_mac_address": port.mac,
            }
        )
        networks.append(_network(index, port))
        resolvers.update(dict.fromkeys(port.dns))
    return {
        "links": links,
        "networks": networks,
        "services": [{"type": "dns", "address": address} for address in resolvers],
    }


def ec2_meta_data(instance: Instance, version: str) -> dict[str, Any]:
    """The EC2 meta-data directory as of `version`: values are texts, sub-directories are mappings."""
    address = next((port.ip for port in instance.ports if ":" not in port.ip), "")
    data: dict[str, Any] = {
        "ami-id": ec2_image_id(instance.image.id, "ami") if instance.image else "",
        "ami-launch-index": str(instance.launch_index),
        "ami-manifest-path": "FIXME",  # the field's own word; tools compare it
        "hostname": instance.hostname,
        "instance-id": f"i-{instance.number:08x}",
        "local-ipv4": address,
        "reservation-id": instance.reservation_id,
    }
    if instance.keypair is not None:
        data["public-keys"] = {"0": {"openssh-key": instance.keypair.public_key}}
    if version >= "2007-01-19":
        data |= {"local-hostname": instance.hostname, "public-hostname": instance.hostname, "public-ipv4": ""}
    if version >= "2007-08-29":
        data["instance-type"] = instance.flavor.name
    if version >= "2007-12-15":
        data["block-device-mapping"] = {"ami": "vda", "root": "/dev/vda"}
        if instance.image and instance.image.kernel:
            data["kernel-id"] = ec2_image_id(instance.image.kernel.id, "aki")
        if instance.image and instance.image.ramdisk:
            data["ramdisk-id"] = ec2_image_id(instance.image.ramdisk.id, "ari")
    if version >= "2008-02-01":
        data["placement"] = {"availability-zone": instance.availability_zone}
    if version >= "2008-09-01":
        data["instance-action"] = "none"
    return data


def ec2_image_id(image_id: str, kind: str) -> str:
    """An EC2-shaped id for an image, the same everywhere and always: ami-xxxxxxxx."""
    return f"{kind}-{hashlib.sha256(image_id.encode()).hexdigest()[:8]}"


def listing(instance: Instance, files: Mapping[str, bytes], path: str) -> bytes | None:
    """What a directory of `tree` answers; None when `path` is no directory. Versions are named bare, other
    sub-directories end in "/", a key directory reads 0=<key name>, as the field's clients expect."""
    path = path.strip("/")
    if path == "":
        return "\n".join(EC2_VERSIONS).encode()
    if path == "openstack":
        return "\n".join(OPENSTACK_VERSIONS).encode()
    below = {rest for name in files if (rest := name.removeprefix(f"{path}/")) != name}
    if not below:
        return None
    if path.endswith("/meta-data/public-keys") and instance.keypair is not None:
        return f"0={instance.keypair.name}".encode()
    names = {first + ("/" if slash else "") for first, slash, _ in (name.partition("/") for name in below)}
    return "\n".join(sorted(names)).encode()


def _network(index: int, port: Port) -> dict[str, Any]:
    interface = ipaddress.ip_interface(f"{port.ip}/{port.prefix_length}")
    anywhere = "::" if interface.version == 6 else "0.0.0.0"  # noqa: S104 (a route, not a socket)
    routes = [{"network": anywhere, "netmask": anywhere, "gateway": port.gateway}] if port.gateway else []
    return {
        "id": f"network{index}",
        "type": f"ipv{interface.version}",
        "link": port.tap,
        "network_id": port.network_id,
        "ip_address": port.ip,
        "netmask": str(interface.netmask),
        "routes": routes,
        "services": [{"type": "dns", "address": address} for address in port.dns],
    }


def _user_data(instance: Instance) -> bytes | None:
    if not instance.user_data:
        return None
    try:
        return base64.b64decode(instance.user_data)
    except ValueError:  # not base64, or not even ASCII
        return instance.user_data.encode()  # checked at the API's edge; never keep a guest from its own words


def _flat(directory: Mapping[str, Any], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in directory.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{name}/")
        else:
            found[above + name] = value
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
