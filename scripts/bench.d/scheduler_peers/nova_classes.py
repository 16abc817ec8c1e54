"""The field's own filter scheduler classes, in this process, over hosts given as a number: run with an environment
that has the package `nova`. Commands on standard input, one JSON answer a line.

    {"hosts": 1000, "requests": 9}  ->  {"choose_ms": [...], "states_ms": [...]}

No database, no placement, no messages: host states are made from its objects (`states_ms`: what it does anew for
every request), then its filters and weighers are run and the best host consumed (`choose_ms`).
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from unittest import mock

from nova import monkey_patch

try:
    monkey_patch.patch(backend="threading")
except TypeError:  # older releases know one backend only
    monkey_patch.patch()

import nova.conf
from nova import config, objects
from nova.scheduler import host_manager

config.parse_args(["bench", "--config-file", "/dev/null"])
nova.conf.CONF.set_override("service_down_time", 10**8)
objects.register_all()

MOMENT = __import__("datetime").datetime.now(__import__("datetime").timezone.utc).replace(microsecond=0)


def manager() -> host_manager.HostManager:
    with (
        mock.patch.object(host_manager.HostManager, "_init_aggregates"),
        mock.patch.object(host_manager.HostManager, "_init_instance_info"),
        mock.patch.object(host_manager.HostManager, "refresh_cells_caches"),
    ):
        return host_manager.HostManager()


def rows(number: int):
    """(compute node, service as a mapping) for each host: 16 CPUs, 64 GiB, 1000 GB, some of it in use."""
    for at in range(number):
        name = f"host{at:05}"
        node = objects.ComputeNode(
            id=at, uuid=str(uuid.uuid4()), host=name, hypervisor_hostname=name, host_ip="192.0.2.1", vcpus=16,
            vcpus_used=at % 8, memory_mb=65536, free_ram_mb=65536 - at % 977, local_gb=1000, local_gb_used=0,
            free_disk_gb=1000, disk_available_least=1000, hypervisor_type="QEMU", hypervisor_version=7002022,
            updated_at=MOMENT, numa_topology=None, supported_hv_specs=[], pci_device_pools=None, cpu_info=None,
            metrics="[]", stats={"failed_builds": "0"}, cpu_allocation_ratio=4.0, ram_allocation_ratio=1.0,
            disk_allocation_ratio=1.0,
        )  # fmt: skip
        service = objects.Service(
            id=at, uuid=str(uuid.uuid4()), host=name, binary="nova-compute", topic="compute", report_count=1,
            disabled=False, disabled_reason=None, forced_down=False, last_seen_up=MOMENT, updated_at=MOMENT,
            created_at=MOMENT,
        )  # fmt: skip
        yield node, dict(service.items())


def states(hosts, cell: str) -> list[host_manager.HostState]:
    made = []
    for node, service in hosts:
        state = host_manager.HostState(node.host, node.hypervisor_hostname, cell)
        state.update(compute=node, service=service, aggregates=[], inst_dict={})
        made.append(state)
    return made


def request() -> objects.RequestSpec:
    flavor = objects.Flavor(
        id=1, flavorid="bench", name="bench", vcpus=1, memory_mb=64, root_gb=1, ephemeral_gb=0, swap=0,
        rxtx_factor=1.0, vcpu_weight=0, disabled=False, is_public=True, extra_specs={},
    )  # fmt: skip
    image = objects.ImageMeta(id=str(uuid.uuid4()), min_disk=0, min_ram=0, properties=objects.ImageMetaProps())
    networks = objects.NetworkMetadata(physnets=set(), tunneled=False)
    return objects.RequestSpec(
        flavor=flavor, image=image, project_id="p", user_id="u", num_instances=1, instance_uuid=str(uuid.uuid4()),
        availability_zone=None, force_hosts=None, force_nodes=None, ignore_hosts=None, instance_group=None,
        numa_topology=None, pci_requests=None, retry=None, scheduler_hints={}, requested_destination=None,
        requested_resources=[], network_metadata=networks, limits=objects.SchedulerLimits(), is_bfv=False,
        security_groups=objects.SecurityGroupList(objects=[]),
        requested_networks=objects.NetworkRequestList(objects=[]),
        request_level_params=objects.RequestLevelParams(),
    )  # fmt: skip


def measure(hosts: int, requests: int) -> dict[str, object]:
    chooser, made, cell = manager(), list(rows(hosts)), str(uuid.uuid4())
    making, choosing = [], []
    kept = states(made, cell)
    for _ in range(requests):
        began = time.perf_counter()
        states(made, cell)
        making.append((time.perf_counter() - began) * 1000)
        asked = request()
        began = time.perf_counter()
        left = chooser.get_filtered_hosts(kept, asked, 0)
        best = chooser.get_weighed_hosts(left, asked)[0].obj
        with mock.patch.object(best, "instances", {}):
            best.consume_from_request(asked)
        choosing.append((time.perf_counter() - began) * 1000)
    names = [type(one).__name__ for one in chooser.enabled_filters]
    return {"choose_ms": choosing, "states_ms": making, "filters": names, "weighers": len(chooser.weighers)}


for line in sys.stdin:
    print(json.dumps(measure(**json.loads(line))), flush=True)
