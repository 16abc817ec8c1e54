"""Filters that no default turns on, and weighers, each alone and through the API: who is left of lab1 to lab3, in which
order, and where a server then goes."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import gevent
import pytest
from scheduler_cloud import Template

from nova0.controller.scheduler.drivers.filter_scheduler import FILTERS, WEIGHTS
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.loading import built_in
from nova0.controller.scheduler.weigher import Weigher
from nova0.host.compute.machine import Machine, Settings
from nova0.objects.errors import DriverError
from tests.unit.host.test_load import Kernel

pytestmark = pytest.mark.slow  # a cloud for each; test_scheduling and tests/unit/scheduler are quick

THREE = {"lab1": {}, "lab2": {}, "lab3": {}}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Template(tmp_path_factory.mktemp("filters"))


def one(**of_lab1):
    """lab1 as told, the others plain."""
    return THREE | {"lab1": of_lab1}


# what a test does before it asks


def holds(host="lab1", number=1, **asked):
    """`number` servers are there."""

    def do(lab):
        flavor = {"flavor": lab.flavor(**asked.get("size", {}))} | {k: v for k, v in asked.items() if k != "size"}
        for _ in range(number):
            assert lab.where(availability_zone=f"nova:{host}", **flavor) == host

    return do


def builds(host="lab1", number=1):
    """`number` servers are being built there, and don't end."""

    def do(lab):
        lab.machines[host].script["prepare"] = lambda *_: gevent.sleep(600)
        begun = [lab.boot(availability_zone=f"nova:{host}") for _ in range(number)]
        with gevent.Timeout(60):
            while len([u for method, u in lab.machines[host].asked if method == "prepare" and u in begun]) < number:
                gevent.sleep(0.01)

    return do


def failed(host="lab1"):
    """A build failed there."""

    def do(lab):
        def broken(*_):
            raise DriverError("the disk is on fire")

        lab.machines[host].script["prepare"] = broken
        assert "on fire" in lab.where(availability_zone=f"nova:{host}")
        lab.machines[host].script.clear()

    return do


def aggregate(host="lab1", **metadata):
    def do(lab):
        lab.aggregate("a", host, **metadata)

    return do


def member(policy, host="lab1"):
    """A group with one member there; what is asked for is of that group."""

    def do(lab):
        group = {"hints": {"group": lab.group(policy)}}
        assert lab.where(**group, host=host) == host
        return group

    return do


def both(*doings):
    def do(lab):
        for one in doings:
            one(lab)

    return do


PCI = {"pci_passthrough:alias": "gpu:2"}
TABLE = [  # filter, options, hosts, before, asked, who is left
    ("DiskFilter", "", one(disk_gb=20), None, {"size": {"disk_gb": 30}}, "lab2 lab3"),
    ("InstanceTypeFilter", "", one(memory_mb=512), None, {"size": {"memory_mb": 1024}}, "lab2 lab3"),
    ("InstanceTypeFilter", "", one(disk_gb=20), None, {"size": {"disk_gb": 30}}, "lab2 lab3"),
    ("InstanceTypeFilter", "", THREE, None, {"size": {"memory_mb": 9000}}, ""),
    ("AggregateCoreFilter", "", THREE, aggregate(cpu_allocation_ratio="1.0"), {"size": {"vcpus": 5}}, "lab2 lab3"),
    ("AggregateRamFilter", "", THREE, aggregate(ram_allocation_ratio="2.0"), {"size": {"memory_mb": 9000}}, "lab1"),
    ("AggregateDiskFilter", "", THREE, aggregate(disk_allocation_ratio="0.1"), {"size": {"disk_gb": 60}}, "lab2 lab3"),
    ("ExactCoreFilter", "cpu_allocation_ratio = 1", one(vcpus=8), None, {"size": {"vcpus": 8}}, "lab1"),
    ("ExactRamFilter", "", one(memory_mb=2048), None, {"size": {"memory_mb": 2048}}, "lab1"),
    ("ExactDiskFilter", "", one(disk_gb=40), None, {"size": {"disk_gb": 40}}, "lab1"),
    ("IoOpsFilter", "max_io_ops_per_host = 2", THREE, builds(number=2), {}, "lab2 lab3"),
    ("IoOpsFilter", "max_io_ops_per_host = 3", THREE, builds(number=2), {}, "lab1 lab2 lab3"),
    ("AggregateIoOpsFilter", "", THREE, both(aggregate(max_io_ops_per_host="1"), builds()), {}, "lab2 lab3"),
    ("NumInstancesFilter", "max_instances_per_host = 2", THREE, holds(number=2), {}, "lab2 lab3"),
    (
        "AggregateNumInstancesFilter",
        "",
        THREE,
        both(aggregate(max_instances_per_host="1"), holds("lab1"), holds("lab2")),
        {},
        "lab2 lab3",
    ),
    ("AggregateTypeAffinityFilter", "", THREE, aggregate(instance_type="m1.tiny, m1.small"), {}, "lab2 lab3"),
    (
        "AggregateTypeAffinityFilter",
        "",
        THREE,
        aggregate(instance_type="m1.tiny, m1.small"),
        {"flavor": "2"},
        "lab1 lab2 lab3",
    ),
    ("TypeAffinityFilter", "", THREE, holds(flavor="1"), {"flavor": "2"}, "lab2 lab3"),
    ("TypeAffinityFilter", "", THREE, holds(flavor="1"), {"flavor": "1"}, "lab1 lab2 lab3"),
    ("AggregateImagePropertiesIsolation", "", THREE, aggregate(os_distro="bsd"), {"image": "debian"}, "lab2 lab3"),
    ("AggregateImagePropertiesIsolation", "", THREE, aggregate(os_distro="bsd"), {}, "lab1 lab2 lab3"),
    ("MetricsFilter", "metrics_weight_setting = cpu.percent", one(metrics={"cpu.percent": 0.5}), None, {}, "lab1"),
    (
        "NUMATopologyFilter",
        "",
        one(numa=[{"cpus": 2, "memory_mb": 4096}] * 2),
        None,
        {"size": {"vcpus": 2, "specs": {"hw:numa_nodes": "2"}}},
        "lab1",
    ),
    ("PciPassthroughFilter", "", one(resources={"CUSTOM_PCI_GPU": 2}), None, {"size": {"specs": PCI}}, "lab1"),
    ("TrustedFilter", "", THREE, None, {"size": {"specs": {"trust:trusted_host": "trusted"}}}, ""),
    ("TrustedFilter", "", THREE, None, {"size": {"specs": {"trust:trusted_host": "untrusted"}}}, "lab1 lab2 lab3"),
    ("ServerGroupAntiAffinityFilter", "", THREE, member("anti-affinity"), {}, "lab2 lab3"),
    ("ServerGroupAffinityFilter", "", THREE, member("affinity"), {}, "lab1"),
    ("GroupAffinityFilter", "", THREE, member("affinity"), {}, "lab1"),
]
BY_THEMSELVES = {  # in test_scheduling.py and test_scheduler_policies.py
    "AllHostsFilter", "AvailabilityZoneFilter", "ComputeFilter", "CoreFilter", "RamFilter", "DifferentHostFilter",
    "SameHostFilter", "IsolatedHostsFilter", "SimpleCIDRAffinityFilter", "AggregateInstanceExtraSpecsFilter",
    "AggregateMultiTenancyIsolation", "ComputeCapabilitiesFilter", "GroupAntiAffinityFilter", "ImagePropertiesFilter",
    "JsonFilter", "RetryFilter", "TraitsFilter", "CustomResourcesFilter",
}  # fmt: skip


def asked_for(lab, before, asked):
    """What is asked for, as a boot and as a question."""
    asked = asked | ((before(lab) if before else None) or {})
    asked.setdefault("flavor", lab.flavor(**asked.pop("size", {})))
    return asked, asked | ({"image": lab.images[asked["image"]]} if "image" in asked else {})


@pytest.mark.covers("S087", "S158")
@pytest.mark.parametrize(
    ("name", "options", "hosts", "before", "asked", "left"), TABLE, ids=[f"{n}-{row[0]}" for n, row in enumerate(TABLE)]
)
def test_a_filter_alone_leaves_the_hosts_it_should(template, name, options, hosts, before, asked, left):
    with template.cloud(f"enabled_filters = ComputeFilter, {name}\n{options}", hosts) as lab:
        asked, question = asked_for(lab, before, asked)
        assert sorted(lab.order(**question)) == left.split()
        for machine in lab.machines.values():
            machine.script.clear()
        found = lab.where(**asked)
        assert found in left.split() if left else f"{name} left 0" in found


def test_every_filter_is_tried_over_http():
    names = {name for name, found in built_in(FILTERS).items() if issubclass(found, Filter)}
    assert names == {row[0] for row in TABLE} | BY_THEMSELVES


DEBIAN = "os_distro=1"
FEW = "num_instances_weight_multiplier = -1"
QUIET = "metrics_required = false\nmetrics_weight_setting = quiet=2"
TWO = {"lab1": {}, "lab2": {}}
WEIGHS = [  # weigher, options, hosts, before, asked, the best
    ("RAMWeigher", "", one(memory_mb=9000), None, {}, "lab1"),
    ("RAMWeigher", "ram_weight_multiplier = -1", one(memory_mb=8000), None, {}, "lab1"),
    ("CPUWeigher", "", one(vcpus=5), None, {}, "lab1"),
    ("DiskWeigher", "", one(disk_gb=501), None, {}, "lab1"),
    ("HypervisorVersionWeigher", "", one(hypervisor_version=8_000_000), None, {}, "lab1"),
    ("NumInstancesWeigher", "num_instances_weight_multiplier = 1", THREE, holds(), {}, "lab1"),
    ("NumInstancesWeigher", FEW, THREE, both(holds("lab2"), holds("lab3")), {}, "lab1"),
    ("IoOpsWeigher", "io_ops_weight_multiplier = 1", THREE, builds(), {}, "lab1"),
    ("IoOpsWeigher", "", THREE, both(builds("lab2"), builds("lab3")), {}, "lab1"),
    ("BuildFailureWeigher", "", THREE, both(failed("lab2"), failed("lab3")), {}, "lab1"),
    ("ServerGroupSoftAffinityWeigher", "", THREE, member("soft-affinity"), {}, "lab1"),
    ("ServerGroupSoftAntiAffinityWeigher", "", TWO, member("soft-anti-affinity", "lab2"), {}, "lab1"),
    ("MetricsWeigher", QUIET, one(metrics={"quiet": 1.0}), None, {}, "lab1"),
    (
        "MetricsWeigher",
        "metrics_weight_setting = load=-1",
        {f"lab{n}": {"metrics": {"load": float(n)}} for n in (1, 2, 3)},
        None,
        {},
        "lab1",
    ),
    ("PCIWeigher", "", {n: {"resources": {"CUSTOM_PCI_GPU": 2}} for n in THREE} | {"lab1": {}}, None, {}, "lab1"),
    (
        "PCIWeigher",
        "",
        {n: {"resources": {"CUSTOM_PCI_GPU": 2}} for n in THREE} | {"lab1": {"resources": {"CUSTOM_PCI_GPU": 4}}},
        None,
        {"size": {"specs": PCI}},
        "lab1",
    ),
    (
        "ImagePropertiesWeigher",
        f"image_props_weight_multiplier = 1\nimage_props_weight_setting = {DEBIAN}",
        THREE,
        both(holds("lab2"), holds("lab1", image="debian")),
        {"image": "debian"},
        "lab1",
    ),
]  # fmt: skip


@pytest.mark.covers("S088")
@pytest.mark.parametrize(
    ("name", "options", "hosts", "before", "asked", "best"),
    WEIGHS,
    ids=[f"{n}-{row[0]}" for n, row in enumerate(WEIGHS)],
)
def test_a_weigher_alone_prefers_the_host_it_should(template, name, options, hosts, before, asked, best):
    with template.cloud(f"weight_classes = {name}\n{options}", hosts) as lab:
        asked, question = asked_for(lab, before, asked)
        assert lab.order(**question)[0] == best
        for machine in lab.machines.values():
            machine.script.clear()
        assert lab.where(**asked) == best


def test_every_weigher_is_tried_over_http():
    names = {name for name, found in built_in(WEIGHTS).items() if issubclass(found, Weigher)}
    assert names - {row[0] for row in WEIGHS} == {"CrossCellWeigher"}, "there is one cell"


@pytest.mark.parametrize("multiplier", ["1.0", "-1.0"])
def test_an_aggregates_own_multiplier_stands_before_the_option(template, multiplier):
    options = "weight_classes = RAMWeigher, DiskWeigher\nram_weight_multiplier = 0"
    with template.cloud(options, one(memory_mb=9000, disk_gb=400)) as lab:
        for host in THREE:
            lab.aggregate(host, host, ram_weight_multiplier=f"{float(multiplier) * 3}")
        assert (lab.order()[0] == "lab1") is (multiplier == "1.0")


def test_an_aggregates_weight_of_image_properties_counts_where_the_option_is_zero(template):
    with template.cloud("weight_classes = ImagePropertiesWeigher", THREE) as lab:
        assert lab.where(image="debian", host="lab2") == "lab2"
        for host in THREE:
            lab.aggregate(host, host, image_props_weight_multiplier="1.0")
        assert lab.order(image=lab.images["debian"])[0] == "lab2"


@contextmanager
def compute_agents(lab, folder, **says):
    """Real agents with the fake driver; the kernel's files are ours: `says` name -> what they hold."""
    with ExitStack() as ended:
        for name, files in says.items():
            kernel = Kernel(folder / name)
            kernel.says(**files)
            bus = lab.net.bus(name, "host", ("host",))
            state = folder / name / "state"
            machine = Machine(bus, Settings(cluster_id="c1", state_dir=state, compute_driver="fake"))
            machine.open()
            ended.callback(machine.close)
            ended.callback(lab.net.kill, bus)
            machine.resources._load = kernel.load()
            for agent in machine.agents():
                bus.offer(agent)
            bus.start()
            assert machine.adoption.adopted.wait(60)
            machine.resources.report()
        yield


BUSY = {"ticks": (90, 0, 0, 10, 0, 0, 0, 0), "received": 1000}
LOADED = {"ticks": (10, 0, 0, 90, 0, 0, 0, 0), "received": 10**9}


@pytest.mark.covers("S164")
@pytest.mark.parametrize(
    ("setting", "best"),
    [
        ("network.incoming.bytes.rate=-1.0", "busy"),
        ("cpu.percent=-1.0", "loaded"),
        ("cpu.idle.percent=1.0, network.outgoing.bytes.rate=-0.00001", "loaded"),
    ],
)
def test_a_host_with_less_traffic_or_load_is_preferred_by_what_it_measures_itself(template, tmp_path, setting, best):
    options = f"weight_classes = MetricsWeigher\nmetrics_weight_setting = {setting}"
    with template.cloud(options, ()) as lab, compute_agents(lab, tmp_path, busy=BUSY, loaded=LOADED):
        assert lab.order()[0] == best
        assert lab.where() == best
        figures = {one["host"]: one["weights"]["MetricsWeigher"]["raw"] for one in lab.explain()["order"]}
        assert setting != "cpu.percent=-1.0" or figures == {"busy": -0.9, "loaded": -0.1}


def test_a_metric_that_no_host_reports_is_named(template, tmp_path):
    with template.cloud("metrics_weight_setting = disk.percent", ()) as lab, compute_agents(lab, tmp_path, lab1={}):
        assert "lab1 does not report the metric disk.percent" in lab.where()
