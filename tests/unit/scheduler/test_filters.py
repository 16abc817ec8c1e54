"""Each filter by a table: the request, the host, and whether it may go there."""

from __future__ import annotations

import pytest

from nova0.controller.scheduler.drivers.filter_scheduler import FILTERS
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.loading import built_in, load
from tests.unit.scheduler.made import flavor, host, image, request, taken

ON_H1 = {"placed_on": frozenset(["h1"])}


def spec(**specs):
    return request(specs={name.replace("__", ":"): value for name, value in specs.items()})


def caps(name, want):
    return request(specs={name: want})


TABLE = [
    # filter, host, request, passes
    ("AllHostsFilter", host(), request(), True),
    ("ComputeFilter", host(), request(), True),
    ("ComputeFilter", host(enabled=False), request(), False),
    ("ComputeFilter", host(alive=False), request(), False),
    ("AvailabilityZoneFilter", host(zone="az1"), request(zone="az1"), True),
    ("AvailabilityZoneFilter", host(zone="az2"), request(zone="az1"), False),
    ("AvailabilityZoneFilter", host(zone="az2"), request(), True),
    ("CoreFilter", host(ratio=2.0, servers={"a": taken(vcpus=7)}), request(), True),
    ("CoreFilter", host(ratio=2.0, servers={"a": taken(vcpus=8)}), request(), False),
    ("RamFilter", host(servers={"a": taken(memory_mb=7680)}), request(), True),
    ("RamFilter", host(servers={"a": taken(memory_mb=7681)}), request(), False),
    ("DiskFilter", host(servers={"a": taken(disk_gb=99)}), request(), True),
    ("DiskFilter", host(servers={"a": taken(disk_gb=100)}), request(), False),
    ("AggregateCoreFilter", host(servers={"a": taken(vcpus=4)}), request(), False),
    ("AggregateRamFilter", host(servers={"a": taken(memory_mb=8000)}), request(), False),
    ("AggregateDiskFilter", host(servers={"a": taken(disk_gb=100)}), request(), False),
    ("InstanceTypeFilter", host(), request(), True),
    ("InstanceTypeFilter", host(servers={"a": taken(memory_mb=8000)}), request(), False),
    ("InstanceTypeFilter", host(servers={"a": taken(disk_gb=100)}), request(), False),
    ("ExactCoreFilter", host(), request(flavor=flavor(vcpus=4)), True),
    ("ExactCoreFilter", host(), request(flavor=flavor(vcpus=3)), False),
    ("ExactRamFilter", host(), request(flavor=flavor(memory_mb=8192)), True),
    ("ExactRamFilter", host(), request(flavor=flavor(memory_mb=8191)), False),
    ("ExactDiskFilter", host(), request(flavor=flavor(root_gb=100)), True),
    ("ExactDiskFilter", host(), request(flavor=flavor(root_gb=99)), False),
    ("DifferentHostFilter", host(servers={"a": taken()}), request(hints={"different_host": ["a"]}), False),
    ("DifferentHostFilter", host(servers={"b": taken()}), request(hints={"different_host": "a"}), True),
    ("SameHostFilter", host(servers={"a": taken()}), request(hints={"same_host": "a"}), True),
    ("SameHostFilter", host(servers={"b": taken()}), request(hints={"same_host": ["a", "c"]}), False),
    ("SameHostFilter", host(), request(), True),
    ("RetryFilter", host("h1"), request(tried=("h1",)), False),
    ("RetryFilter", host("h2"), request(tried=("h1",)), True),
    ("IsolatedHostsFilter", host("iso"), request(image=image("secret")), True),
    ("IsolatedHostsFilter", host("h1"), request(image=image("secret")), False),
    ("IsolatedHostsFilter", host("iso"), request(image=image("plain")), False),
    ("IsolatedHostsFilter", host("h1"), request(image=image("plain")), True),
    (
        "SimpleCIDRAffinityFilter",
        host(address="10.1.2.3"),
        request(hints={"build_near_host_ip": "10.1.2.200", "cidr": "/24"}),
        True,
    ),
    (
        "SimpleCIDRAffinityFilter",
        host(address="10.1.3.3"),
        request(hints={"build_near_host_ip": "10.1.2.200", "cidr": "/24"}),
        False,
    ),
    ("SimpleCIDRAffinityFilter", host(address="10.1.3.3"), request(hints={"build_near_host_ip": "nonsense"}), False),
    (
        "AggregateInstanceExtraSpecsFilter",
        host(aggregates=[{"ssd": "true"}]),
        spec(aggregate_instance_extra_specs__ssd="true"),
        True,
    ),
    ("AggregateInstanceExtraSpecsFilter", host(), spec(aggregate_instance_extra_specs__ssd="true"), False),
    (
        "AggregateInstanceExtraSpecsFilter",
        host(aggregates=[{"ssd": "false"}]),
        spec(aggregate_instance_extra_specs__ssd="<or> true <or> yes"),
        False,
    ),
    ("AggregateMultiTenancyIsolation", host(aggregates=[{"filter_tenant_id": "p, q"}]), request(), True),
    ("AggregateMultiTenancyIsolation", host(aggregates=[{"filter_tenant_id2": "q"}]), request(), False),
    ("AggregateMultiTenancyIsolation", host(), request(project_id="other"), True),
    ("AggregateTypeAffinityFilter", host(aggregates=[{"instance_type": "m1.tiny, m1.big"}]), request(), True),
    ("AggregateTypeAffinityFilter", host(aggregates=[{"instance_type": "m1.big"}]), request(), False),
    ("AggregateTypeAffinityFilter", host(), request(), True),
    ("TypeAffinityFilter", host(servers={"a": taken(flavor_id="1")}), request(), True),
    ("TypeAffinityFilter", host(servers={"a": taken(flavor_id="2")}), request(), False),
    (
        "AggregateImagePropertiesIsolation",
        host(aggregates=[{"os_distro": "debian"}]),
        request(properties={"os_distro": "debian"}),
        True,
    ),
    (
        "AggregateImagePropertiesIsolation",
        host(aggregates=[{"os_distro": "windows"}]),
        request(properties={"os_distro": "debian"}),
        False,
    ),
    ("AggregateImagePropertiesIsolation", host(), request(properties={"os_distro": "debian"}), True),
    ("ImagePropertiesFilter", host(arch="x86_64"), request(properties={"hw_architecture": "x86_64"}), True),
    ("ImagePropertiesFilter", host(arch="x86_64"), request(properties={"hw_architecture": "aarch64"}), False),
    ("ImagePropertiesFilter", host(), request(properties={"img_hv_requested_version": ">=7.0,<8"}), True),
    ("ImagePropertiesFilter", host(), request(properties={"img_hv_requested_version": ">=8"}), False),
    ("ImagePropertiesFilter", host(), request(properties={"img_hv_requested_version": "new"}), False),
    ("ComputeCapabilitiesFilter", host(vcpus=8), caps("vcpus", ">= 4"), True),
    ("ComputeCapabilitiesFilter", host(vcpus=2), caps("vcpus", ">= 4"), False),
    ("ComputeCapabilitiesFilter", host(vcpus=8), caps("capabilities:vcpus", "= 4"), True),
    ("ComputeCapabilitiesFilter", host(vcpus=8), caps("vcpus", "== 4"), False),
    ("ComputeCapabilitiesFilter", host(vcpus=8), caps("vcpus", "!= 4"), True),
    ("ComputeCapabilitiesFilter", host(vcpus=8), caps("vcpus", "<= 4"), False),
    ("ComputeCapabilitiesFilter", host(), caps("hypervisor_type", "s== QEMU"), True),
    ("ComputeCapabilitiesFilter", host(), caps("hypervisor_type", "s!= QEMU"), False),
    ("ComputeCapabilitiesFilter", host(), caps("hypervisor_type", "<or> fake <or> QEMU"), True),
    ("ComputeCapabilitiesFilter", host(), caps("hypervisor_type", "QEMU"), True),
    (
        "ComputeCapabilitiesFilter",
        host(cpu_info={"features": ["aes", "avx"]}),
        caps("capabilities:cpu_info:features", "<in> aes"),
        True,
    ),
    (
        "ComputeCapabilitiesFilter",
        host(cpu_info={"features": ["aes"]}),
        caps("capabilities:cpu_info:features", "<all-in> aes avx"),
        False,
    ),
    ("ComputeCapabilitiesFilter", host(), caps("no_such_thing", "1"), False),
    ("ComputeCapabilitiesFilter", host(), caps("hw:cpu_policy", "dedicated"), True),
    ("JsonFilter", host(), request(hints={"query": '["and",[">=","$free_ram_mb",1024],["=","$host","h1"]]'}), True),
    ("JsonFilter", host(), request(hints={"query": '[">=","$free_ram_mb",100000]'}), False),
    ("JsonFilter", host(), request(hints={"query": '["not",["=","$host","h1"]]'}), False),
    ("JsonFilter", host(), request(hints={"query": '["in","$host","h1","h2"]'}), True),
    ("JsonFilter", host(), request(hints={"query": '["or",["<","$vcpus_used",0],[">","$vcpus_total",3]]'}), True),
    ("JsonFilter", host(), request(hints={"query": "this is no JSON"}), False),
    ("JsonFilter", host(), request(hints={"query": '["like","$host","h"]'}), False),
    ("MetricsFilter", host(metrics={"cpu.percent": 0.1}), request(), True),
    ("MetricsFilter", host(), request(), False),
    ("IoOpsFilter", host(heavy=set("abcdefg")), request(), True),
    ("IoOpsFilter", host(heavy=set("abcdefgh")), request(), False),
    ("AggregateIoOpsFilter", host(heavy=set("ab"), aggregates=[{"max_io_ops_per_host": "2"}]), request(), False),
    ("AggregateIoOpsFilter", host(heavy=set("ab"), aggregates=[{"max_io_ops_per_host": "x"}]), request(), True),
    ("NumInstancesFilter", host(servers={str(n): taken() for n in range(49)}), request(), True),
    ("NumInstancesFilter", host(servers={str(n): taken() for n in range(50)}), request(), False),
    (
        "AggregateNumInstancesFilter",
        host(servers={"a": taken()}, aggregates=[{"max_instances_per_host": "1"}]),
        request(),
        False,
    ),
    ("AggregateNumInstancesFilter", host(servers={"a": taken()}), request(), True),
    ("TrustedFilter", host(), spec(trust__trusted_host="trusted"), False),
    ("TrustedFilter", host(), spec(trust__trusted_host="untrusted"), True),
    ("TraitsFilter", host(traits=["HW_CPU_X86_AVX2"]), spec(trait__HW_CPU_X86_AVX2="required"), True),
    ("TraitsFilter", host(), spec(trait__HW_CPU_X86_AVX2="required"), False),
    ("TraitsFilter", host(traits=["CUSTOM_OLD"]), spec(trait__CUSTOM_OLD="forbidden"), False),
    ("CustomResourcesFilter", host(resources={"CUSTOM_GPU": 1}), spec(resources__CUSTOM_GPU="1"), True),
    (
        "CustomResourcesFilter",
        host(resources={"CUSTOM_GPU": 1}, servers={"a": taken(resources={"CUSTOM_GPU": 1})}),
        spec(resources__CUSTOM_GPU="1"),
        False,
    ),
    ("CoreFilter", host(), spec(resources__VCPU="5"), False),
    ("PciPassthroughFilter", host(resources={"CUSTOM_PCI_GPU": 2}), spec(pci_passthrough__alias="gpu:2"), True),
    ("PciPassthroughFilter", host(resources={"CUSTOM_PCI_GPU": 1}), spec(pci_passthrough__alias="gpu:2"), False),
    ("NUMATopologyFilter", host(numa=[{"cpus": 2, "memory_mb": 4096}] * 2), spec(hw__numa_nodes="2"), True),
    ("NUMATopologyFilter", host(), spec(hw__numa_nodes="2"), False),
    ("NUMATopologyFilter", host(), request(), True),
    (
        "ServerGroupAffinityFilter",
        host("h1"),
        request(group=("affinity", "ab", {"placed_on": frozenset(["h1"])})),
        True,
    ),
    (
        "ServerGroupAffinityFilter",
        host("h2"),
        request(group=("affinity", "ab", {"placed_on": frozenset(["h1"])})),
        False,
    ),
    ("GroupAffinityFilter", host("h2"), request(group=("affinity", "ab")), True),
    ("ServerGroupAntiAffinityFilter", host(servers={"a": taken()}), request(group=("anti-affinity", "ab")), False),
    ("GroupAntiAffinityFilter", host(servers={"c": taken()}), request(group=("anti-affinity", "ab")), True),
    (
        "ServerGroupAntiAffinityFilter",
        host(servers={"a": taken()}),
        request(group=("anti-affinity", "ab", {"most_per_host": 2})),
        True,
    ),
]


@pytest.fixture(autouse=True)
def set_up(option):
    option(
        isolated_images=["secret"],
        isolated_hosts=["iso"],
        metrics_weight_setting=["cpu.percent=1.0"],
        max_io_ops_per_host=8,
        max_instances_per_host=50,
    )


@pytest.mark.covers(
    "S087", "S142", "S143", "S144", "S145", "S146", "S147", "S148", "S149", "S150", "S151", "S152", "S153", "S154",
    "S155", "S156", "S157", "S158",
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "view", "asked", "passes"), TABLE, ids=[f"{n}-{name}-{p}" for n, (name, _, _, p) in enumerate(TABLE)]
)
def test_a_filter_passes_the_hosts_it_should(name, view, asked, passes):
    made = load(name, FILTERS, Filter)()
    assert made.host_passes(view, asked) is passes
    if not passes:
        assert made.applies(asked), "a filter that refuses a host may not say that it has nothing to say"


def test_every_filter_stands_in_the_table_with_a_host_it_refuses():
    names = {name for name, found in built_in(FILTERS).items() if issubclass(found, Filter)}
    assert names - {"AllHostsFilter"} == {name for name, _, _, passes in TABLE if not passes} | {
        "GroupAffinityFilter",
        "GroupAntiAffinityFilter",
    }


def test_isolated_hosts_take_anything_where_they_may(option):
    option(restrict_isolated_hosts_to_isolated_images=False)
    made = load("IsolatedHostsFilter", FILTERS, Filter)()
    assert made.host_passes(host("iso"), request(image=image("plain")))


def test_image_properties_outside_the_chosen_beginning_do_not_isolate(option):
    option(aggregate_image_properties_isolation_namespace="our")
    made = load("AggregateImagePropertiesIsolation", FILTERS, Filter)()
    odd = host(aggregates=[{"os_distro": "windows", "our.kind": "a"}])
    assert made.host_passes(odd, request(properties={"os_distro": "debian"}))
    assert not made.host_passes(odd, request(properties={"our.kind": "b"}))
