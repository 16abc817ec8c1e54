"""Each filter against what it promises in plain words, each weigher against what it measures, on generated hosts.

A predicate here is written from the words beside it and from what the host holds; it asks nothing of the filter.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from nova0.controller.scheduler import selection
from nova0.controller.scheduler.drivers.filter_scheduler import FILTERS, WEIGHTS
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_columns import HostColumns
from nova0.controller.scheduler.loading import built_in
from nova0.controller.scheduler.selection import Trace, Weighing
from nova0.controller.scheduler.weigher import Weigher
from tests.unit.scheduler.made import flavor, host, image, request, taken

FILTER = {name: found() for name, found in sorted(built_in(FILTERS).items()) if issubclass(found, Filter)}
WEIGHER = {name: found() for name, found in sorted(built_in(WEIGHTS).items()) if issubclass(found, Weigher)}

# what is generated

maybe = st.sampled_from
sizes = st.builds(
    taken,
    vcpus=st.integers(0, 4),
    memory_mb=maybe([0, 512, 4096]),
    disk_gb=maybe([0, 20, 50]),
    flavor_id=maybe(["1", "2"]),
    resources=maybe([{}, {"CUSTOM_GPU": 1}, {"CUSTOM_PCI_NIC": 1}]),
)
AGGREGATES = [
    {"ssd": "true"}, {"ssd": "false"}, {"filter_tenant_id": "p"}, {"filter_tenant_id2": "q, r"},
    {"instance_type": "m1.tiny, m1.big"}, {"instance_type": "m1.big"}, {"max_instances_per_host": "1"},
    {"max_io_ops_per_host": "1"}, {"os_distro": "debian"}, {"os_distro": "bsd"},
]  # fmt: skip
hosts = st.builds(
    host,
    maybe(["h1", "h2", "iso"]),
    ratio=maybe([1.0, 2.0]),
    vcpus=st.integers(1, 8),
    memory_mb=maybe([512, 4096, 8192]),
    disk_gb=maybe([20, 100]),
    aggregates=st.lists(maybe(AGGREGATES), max_size=2),
    servers=st.dictionaries(maybe("abcd"), sizes, max_size=3),
    zone=maybe(["nova", "az1"]),
    alive=st.booleans(),
    enabled=st.booleans(),
    heavy=st.sets(maybe("xyz")),
    hypervisor_type=maybe(["QEMU", "fake"]),
    hypervisor_version=maybe([7_002_022, 8_000_000]),
    address=maybe(["10.0.0.1", "10.0.1.1", ""]),
    traits=st.lists(maybe(["T1", "T2"]), unique=True),
    resources=maybe([{}, {"CUSTOM_GPU": 1}, {"CUSTOM_GPU": 2, "CUSTOM_PCI_NIC": 2}]),
    metrics=maybe([{}, {"m": 1.0}, {"m": 1.0, "n": 2.0}]),
    numa=maybe([[], [{"cpus": 2, "memory_mb": 4096}] * 2, [{"cpus": 8, "memory_mb": 512}] * 4]),
    arch=maybe(["x86_64", "aarch64"]),
)
# extra specs, and what they mean in words: values of the host to be compared
CAPABLE = {
    "vcpus >= 4": ({"vcpus": ">= 4"}, lambda h: h.state.vcpus >= 4),
    "at most 4096 MiB": ({"capabilities:memory_mb": "<= 4096"}, lambda h: h.state.memory_mb <= 4096),
    "QEMU or xen": ({"hypervisor_type": "<or> QEMU <or> xen"}, lambda h: h.state.hypervisor_type == "QEMU"),
    "free memory": ({"free_ram_mb": ">= 4000"}, lambda h: h.limits["memory_mb"] - used(h, "memory_mb") >= 4000),
    "what no host has": ({"no_such_value": "1"}, lambda h: False),
}
QUERIES = {
    '[">=", "$free_ram_mb", 4000]': lambda h: h.limits["memory_mb"] - used(h, "memory_mb") >= 4000,
    '["and", ["=", "$host", "h1"], ["<", "$vcpus_total", 5]]': lambda h: h.host == "h1" and h.state.vcpus < 5,
    '["not", ["in", "$availability_zone", "az1", "az2"]]': lambda h: h.zone != "az1",
    "no JSON": lambda h: False,
}
VERSIONS = {
    ">=8": lambda v: v >= 8_000_000,
    "<8,!=7.2.22": lambda v: v < 8_000_000 and v != 7_002_022,
    "?": lambda v: False,
}
SPECS = [
    {}, {"trait:T1": "required"}, {"trait:T1": "required", "trait:T2": "forbidden"}, {"resources:CUSTOM_GPU": "1"},
    {"resources:CUSTOM_GPU": "2", "resources:VCPU": "3"}, {"pci_passthrough:alias": "nic:1"}, {"hw:numa_nodes": "2"},
    {"pci_passthrough:alias": "nic:2"}, {"hw:numa_nodes": "4"}, {"trust:trusted_host": "trusted"},
    {"aggregate_instance_extra_specs:ssd": "true"},
    *(specs for specs, _ in CAPABLE.values()),
]  # fmt: skip
HINTS = [
    {}, {"different_host": ["a", "b"]}, {"different_host": "c"}, {"same_host": ["b", "c"]}, {"same_host": "a"},
    {"build_near_host_ip": "10.0.0.9", "cidr": "/24"}, {"build_near_host_ip": "10.0.0.9", "cidr": "/16"},
    {"build_near_host_ip": "10.0.0.9"},
    *({"query": text} for text in QUERIES),
]  # fmt: skip
GROUPS = [
    None, ("anti-affinity", "ab"), ("anti-affinity", "abc", {"most_per_host": 2}), ("affinity", "ab"),
    ("affinity", "ab", {"placed_on": frozenset(["h1"])}), ("soft-affinity", "ab"),
]  # fmt: skip
IMAGES = [
    None, image("secret"), image(hw_architecture="aarch64"), image(os_distro="debian"), image(img_hv_type="qemu"),
    *(image(img_hv_requested_version=text) for text in VERSIONS),
]  # fmt: skip
requests = st.builds(
    request,
    flavor=st.builds(
        flavor,
        vcpus=st.integers(1, 8),
        memory_mb=maybe([512, 4096, 8192]),
        root_gb=maybe([1, 50, 100]),
        specs=maybe(SPECS),
        name=maybe(["m1.tiny", "m1.other"]),
        flavor_id=maybe(["1", "2"]),
    ),
    image=maybe(IMAGES),
    project_id=maybe(["p", "q"]),
    zone=maybe([None, "az1"]),
    tried=maybe([(), ("h1",)]),
    hints=maybe(HINTS),
    group=maybe(GROUPS),
)


@pytest.fixture(autouse=True)
def set_up(option):
    option(
        isolated_images=["secret"], isolated_hosts=["iso"], metrics_weight_setting=["m=1.0", "n=1.0"],
        max_io_ops_per_host=3, max_instances_per_host=2,
    )  # fmt: skip


# what filters promise


def used(h, what):
    return sum(getattr(server, what) for server in h.servers.values())


def fits(h, r, what):
    """What is promised there with what is asked for is within the host's limit."""
    return used(h, what) + amount(r, what) <= h.limits[what]


def amount(r, what):
    """By the flavor, or by its resources:VCPU."""
    if what == "vcpus":
        return int(r.flavor.extra_specs.get("resources:VCPU", r.flavor.vcpus))
    return {"memory_mb": r.flavor.memory_mb, "disk_gb": r.flavor.root_gb}[what]


def fills(h, r, what):
    return used(h, what) + amount(r, what) == h.limits[what]


def left_of(h, resource):
    return h.state.resources.get(resource, 0) - sum(s.resources.get(resource, 0) for s in h.servers.values())


def numbers_of_aggregates(h, key, otherwise):
    return min((int(value) for value in h.metadata.get(key, ())), default=otherwise)


def specs(r, start):
    return {name.removeprefix(start): v for name, v in r.flavor.extra_specs.items() if name.startswith(start)}


def listed(value):
    return [value] if isinstance(value, str) else value or []


def members_here(h, r):
    return len(set(h.servers) & (r.group.members - {r.uuid}))


def near(h, r):
    hint = r.hints.get("build_near_host_ip")
    if not hint:
        return True
    prefix = int(r.hints.get("cidr", "/24")[1:])
    if not h.state.address:
        return False
    one, other = (int(ipaddress.ip_address(a)) >> (32 - prefix) for a in (hint, h.state.address))
    return one == other


def numa(h, r):
    cells = int(r.flavor.extra_specs.get("hw:numa_nodes", 0))
    large = [
        c for c in h.state.numa if c["cpus"] * cells >= r.flavor.vcpus and c["memory_mb"] * cells >= r.flavor.memory_mb
    ]
    return len(large) >= cells


def capable(h, r):
    return all(holds(h) for asked, holds in CAPABLE.values() if asked.items() <= r.flavor.extra_specs.items())


def image_runs(h, r):
    wants = r.image_properties
    version = wants.get("img_hv_requested_version")
    return (
        wants.get("hw_architecture", h.state.arch) == h.state.arch
        and wants.get("img_hv_type", h.state.hypervisor_type).lower() == h.state.hypervisor_type.lower()
        and (version is None or VERSIONS[version](h.state.hypervisor_version))
    )


def isolated(h, r):
    return (r.image is not None and r.image.id == "secret") == (h.host == "iso")


def tenants(h, r):
    kept_for = {p.strip() for key in h.metadata if "tenant" in key for v in h.metadata[key] for p in v.split(",")}
    return not kept_for or r.project_id in kept_for


def types(h, r):
    return "instance_type" not in h.metadata or any(r.flavor.name in v.split(", ") for v in h.metadata["instance_type"])


def distro(h, r):
    return "os_distro" not in r.image_properties or r.image_properties["os_distro"] in h.metadata.get(
        "os_distro", {r.image_properties["os_distro"]}
    )


def traits(h, r):
    asked = specs(r, "trait:")
    return all((name in h.state.traits) == (word == "required") for name, word in asked.items())


def devices(h, r):
    alias = r.flavor.extra_specs.get("pci_passthrough:alias")
    return alias is None or left_of(h, "CUSTOM_PCI_NIC") >= int(alias.partition(":")[2])


def resources(h, r):
    wanted = r.flavor.extra_specs.get("resources:CUSTOM_GPU")
    return devices(h, r) and (wanted is None or left_of(h, "CUSTOM_GPU") >= int(wanted))


CORE = ("vCPUs promised, with those asked for, are within the limit", lambda h, r: fits(h, r, "vcpus"))
RAM = ("memory promised, with that asked for, is within the limit", lambda h, r: fits(h, r, "memory_mb"))
DISK = ("disk promised, with that asked for, is within the limit", lambda h, r: fits(h, r, "disk_gb"))
APART = (
    "fewer other members of an anti-affinity group are there than may be",
    lambda h, r: r.group is None or r.group.policy != "anti-affinity" or members_here(h, r) < r.group.most_per_host,
)
TOGETHER = (
    "members of an affinity group are there, or nowhere yet",
    lambda h, r: (
        r.group is None or r.group.policy != "affinity" or not r.group.placed_on or h.host in r.group.placed_on
    ),
)
PROMISES = {
    "AggregateCoreFilter": CORE,
    "AggregateDiskFilter": DISK,
    "AggregateImagePropertiesIsolation": ("the image's distribution is one the aggregates name, if they do", distro),
    "AggregateInstanceExtraSpecsFilter": (
        "an aggregate of the host has each value asked for",
        lambda h, r: all(v in h.metadata.get(k, ()) for k, v in specs(r, "aggregate_instance_extra_specs:").items()),
    ),
    "AggregateIoOpsFilter": (
        "fewer servers are being built there than the smallest number its aggregates, else the option, allow",
        lambda h, r: len(h.heavy) < numbers_of_aggregates(h, "max_io_ops_per_host", 3),
    ),
    "AggregateMultiTenancyIsolation": ("the host is kept for nobody, or for this project too", tenants),
    "AggregateNumInstancesFilter": (
        "fewer servers are there than the smallest number its aggregates, else the option, allow",
        lambda h, r: len(h.servers) < numbers_of_aggregates(h, "max_instances_per_host", 2),
    ),
    "AggregateRamFilter": RAM,
    "AggregateTypeAffinityFilter": ("the aggregates list no flavors, or one of them lists this one", types),
    "AllHostsFilter": ("any host", lambda h, r: True),
    "AvailabilityZoneFilter": ("the zone asked for, if one is", lambda h, r: r.zone is None or r.zone == h.zone),
    "ComputeCapabilitiesFilter": ("each condition on the host's values holds", capable),
    "ComputeFilter": ("enabled and alive", lambda h, r: h.enabled and h.alive),
    "CoreFilter": CORE,
    "CustomResourcesFilter": ("of each class as much is left as is asked for, devices included", resources),
    "DifferentHostFilter": (
        "none of the servers named is there",
        lambda h, r: not any(s in h.servers for s in listed(r.hints.get("different_host"))),
    ),
    "DiskFilter": DISK,
    "ExactCoreFilter": ("the request fills it: vCPUs", lambda h, r: fills(h, r, "vcpus")),
    "ExactDiskFilter": ("the request fills it: disk", lambda h, r: fills(h, r, "disk_gb")),
    "ExactRamFilter": ("the request fills it: memory", lambda h, r: fills(h, r, "memory_mb")),
    "GroupAffinityFilter": TOGETHER,
    "GroupAntiAffinityFilter": APART,
    "ImagePropertiesFilter": ("it runs the image's architecture, hypervisor and version of it", image_runs),
    "InstanceTypeFilter": ("memory and disk fit", lambda h, r: fits(h, r, "memory_mb") and fits(h, r, "disk_gb")),
    "IoOpsFilter": ("fewer than three servers are being built there", lambda h, r: len(h.heavy) < 3),
    "IsolatedHostsFilter": ("isolated images on isolated hosts, all others elsewhere", isolated),
    "JsonFilter": (
        "what the query says holds",
        lambda h, r: "query" not in r.hints or QUERIES[r.hints["query"]](h),
    ),
    "MetricsFilter": ("it reports both metrics", lambda h, r: {"m", "n"} <= set(h.state.metrics)),
    "NUMATopologyFilter": ("as many cells as asked for, each large enough for its share", numa),
    "NumInstancesFilter": ("fewer than two servers are there", lambda h, r: len(h.servers) < 2),
    "PciPassthroughFilter": ("as many devices are left as are asked for", devices),
    "RamFilter": RAM,
    "RetryFilter": ("it has not failed this request", lambda h, r: h.host not in r.tried),
    "SameHostFilter": (
        "one of the servers named is there, if any is named",
        lambda h, r: not r.hints.get("same_host") or any(s in h.servers for s in listed(r.hints["same_host"])),
    ),
    "ServerGroupAffinityFilter": TOGETHER,
    "ServerGroupAntiAffinityFilter": APART,
    "SimpleCIDRAffinityFilter": ("its address is in the network of the one named", near),
    "TraitsFilter": ("it has the traits required and none of those forbidden", traits),
    "TrustedFilter": (
        "nobody asks for trust, which no host has",
        lambda h, r: "trust:trusted_host" not in r.flavor.extra_specs,
    ),
    "TypeAffinityFilter": (
        "all servers there are of this flavor",
        lambda h, r: all(s.flavor_id == r.flavor.flavor_id for s in h.servers.values()),
    ),
}


def test_every_filter_has_its_promise():
    assert set(PROMISES) == set(FILTER)


@pytest.mark.slow
@pytest.mark.covers("S087")
def test_a_host_passes_a_filter_exactly_if_what_it_promises_holds():
    seen = defaultdict(set)

    @given(h=hosts, r=requests)
    @settings(max_examples=500, deadline=None, derandomize=True)
    def check(h, r):
        for name, made in FILTER.items():
            words, holds = PROMISES[name]
            passes = made.host_passes(h, r) if made.applies(r) else True
            seen[name].add(passes)
            assert passes is bool(holds(h, r)), f"{name}: {words}"

    check()
    assert sum(both == {True, False} for both in seen.values()) > 30, "nearly all let hosts pass and refused some"


def test_what_was_found_for_a_smaller_server_is_not_taken_for_a_larger_one():
    """On many hosts answers are kept; how large each cell must be is part of what they depend on."""
    numa = FILTER["NUMATopologyFilter"]
    columns = HostColumns([host(numa=[{"cpus": 2, "memory_mb": 4096}] * 2)], {})
    for vcpus, memory_mb, fits_there in (
        (2, 512, True),
        (5, 512, False),
        (8, 512, False),
        (2, 16384, False),
        (4, 8192, True),
    ):
        asked = request(flavor=flavor(vcpus=vcpus, memory_mb=memory_mb, specs={"hw:numa_nodes": "2"}))
        mask = selection.filter_fast(columns, columns.all(), asked, [("NUMATopologyFilter", numa)], Trace())
        assert mask.tolist() == [fits_there], (vcpus, memory_mb)


@pytest.mark.slow
@given(some=st.lists(hosts, min_size=1, max_size=4), r=requests, size=st.integers(1, 16), data=st.data())
@settings(max_examples=100, deadline=None)
def test_filters_in_any_order_and_by_either_way_leave_the_same_hosts(some, r, size, data):
    other = structs.replace(r, flavor=structs.replace(r.flavor, vcpus=size, memory_mb=size * 512, name="m1.big"))
    some = [named(h, f"h{n}") for n, h in enumerate(some)]
    columns = HostColumns(some, {server: h.host for h in some for server in h.servers})
    alone = {
        name: [h.host for h in some if not made.applies(r) or made.host_passes(h, r)] for name, made in FILTER.items()
    }
    order = data.draw(st.permutations(list(FILTER.items())))
    left = [h.host for h in selection.filter_plain(some, r, order, Trace(), named=False)]
    assert left == [h.host for h in some if all(h.host in kept for kept in alone.values())]
    for asked in (other, r):  # answers kept for one request are not taken for another
        for name, made in order:
            mask = selection.filter_fast(columns, columns.all(), asked, [(name, made)], Trace())
            fair = [not made.applies(asked) or made.host_passes(h, asked) for h in some]
            assert mask.tolist() == fair, name


def named(h, name):
    """As `h`, under a name of its own, with servers that are on no other host."""
    h.host, h.state.host = name, name
    h.servers = {f"{uuid}{name}": server for uuid, server in h.servers.items()}
    return h


# monotony

EXACT = {"ExactCoreFilter", "ExactRamFilter", "ExactDiskFilter"}  # a whole machine: more room is too much
ANY_CONDITION = {"JsonFilter", "ComputeCapabilitiesFilter"}  # the user may ask for little room


@pytest.mark.slow
@given(h=hosts, r=requests, more=st.integers(0, 10**6), cells=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_more_room_never_makes_a_host_fail(h, r, more, cells):
    before = {name: made.host_passes(h, r) for name, made in FILTER.items()}
    h.limits = {what: limit + more for what, limit in h.limits.items()}
    h.state.resources = {name: number + more for name, number in h.state.resources.items()}
    h.state.numa = [*h.state.numa, *[{"cpus": 64, "memory_mb": 10**6}] * cells]
    h.heavy = set(list(h.heavy)[1:])
    after = {name: made.host_passes(h, r) for name, made in FILTER.items()}
    assert not {name for name, passed in before.items() if passed and not after[name]} - EXACT - ANY_CONDITION


@pytest.mark.slow
@given(h=hosts, r=requests, more=st.integers(0, 64))
@settings(max_examples=200, deadline=None)
def test_asking_for_more_never_makes_a_failing_host_pass(h, r, more):
    extra = dict(r.flavor.extra_specs)
    for name in ("resources:CUSTOM_GPU", "resources:VCPU"):
        if name in extra:
            extra[name] = str(int(extra[name]) + more)
    if "pci_passthrough:alias" in extra:
        extra["pci_passthrough:alias"] = f"nic:{int(extra['pci_passthrough:alias'][4:]) + more}"
    large = structs.replace(
        r.flavor,
        vcpus=r.flavor.vcpus + more,
        memory_mb=r.flavor.memory_mb + more,
        root_gb=r.flavor.root_gb + more,
        extra_specs=extra,
    )
    asked = structs.replace(r, flavor=large)
    for name, made in FILTER.items():
        if name not in EXACT and not made.host_passes(h, r):
            assert not made.host_passes(h, asked), name


# what weighers measure

MEMBERS = [f"{server}h{at}" for server in range(10) for at in range(6)]
PCI = {"specs": {"pci_passthrough:alias": "gpu:1"}}
MEASURES = {  # weigher: what, a host with so much of it, the request, more is better
    "BuildFailureWeigher": ("builds that failed", lambda n: host(failed_builds=n), {}, False),
    "CPUWeigher": ("free vCPUs", lambda n: host(vcpus=n), {}, True),
    "CrossCellWeigher": ("the server's own cell", lambda n: host(cell="c1" if n > 5 else "c2"), {"cell": "c1"}, True),
    "DiskWeigher": ("free disk", lambda n: host(disk_gb=n), {}, True),
    "HypervisorVersionWeigher": ("its version", lambda n: host(hypervisor_version=7_000_000 + n), {}, True),
    "ImagePropertiesWeigher": (
        "servers of the same image properties",
        lambda n: host(servers={str(s): taken(image={"os_distro": "debian"}) for s in range(n)}),
        {"properties": {"os_distro": "debian"}},
        True,
    ),
    "IoOpsWeigher": ("servers being built", lambda n: host(heavy={str(s) for s in range(n)}), {}, True),
    "MetricsWeigher": ("the weighted sum", lambda n: host(metrics={"m": float(n), "n": 1.0}), {}, True),
    "NumInstancesWeigher": ("servers", lambda n: host(servers={str(s): taken() for s in range(n)}), {}, True),
    "PCIWeigher": ("devices left", lambda n: host(resources={"CUSTOM_PCI_GPU": n}), PCI, True),
    "PCIWeigher ": ("devices left, for who needs none", lambda n: host(resources={"CUSTOM_PCI_GPU": n}), {}, False),
    "RAMWeigher": ("free memory", lambda n: host(memory_mb=n), {}, True),
    "ServerGroupSoftAffinityWeigher": (
        "members of the group",
        lambda n: host(servers={str(s): taken() for s in range(n)}),
        {"group": ("soft-affinity", MEMBERS)},
        True,
    ),
    "ServerGroupSoftAntiAffinityWeigher": (
        "members of the group",
        lambda n: host(servers={str(s): taken() for s in range(n)}),
        {"group": ("soft-anti-affinity", MEMBERS)},
        False,
    ),
}


def test_every_weigher_has_what_it_measures():
    assert {name.strip() for name in MEASURES} == set(WEIGHER)


def cloud_of(name, amounts, multiplier):
    """Hosts with these amounts, in aggregates that give them this multiplier; the request; the weigher."""
    _, make, asked, _ = MEASURES[name]
    option = WEIGHER[name.strip()].multiplier_option
    views = [make(n) for n in amounts]
    for at, view in enumerate(views):
        named(view, f"h{at}").metadata = {option: {str(multiplier)}}
    return views, request(**asked), [Weighing(name, WEIGHER[name.strip()])]


def sums_of(name, amounts, multiplier):
    views, asked, weighings = cloud_of(name, amounts, multiplier)
    plain = selection.weigh_plain(views, asked, weighings)
    columns = HostColumns(views, {server: view.host for view in views for server in view.servers})
    assert plain == selection.weigh_fast(columns, columns.all().nonzero()[0], asked, weighings).tolist()
    return plain


@pytest.mark.covers("S088", "S141")
@pytest.mark.parametrize("name", MEASURES)
@given(amounts=st.lists(st.integers(0, 10), min_size=2, max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_weigher_follows_what_it_measures(name, amounts):
    better = 1 if MEASURES[name][3] else -1
    sums, turned = sums_of(name, amounts, 2.0), sums_of(name, amounts, -2.0)
    for n, one in zip(amounts, sums, strict=True):
        for m, other in zip(amounts, sums, strict=True):
            if n < m:
                assert better * one <= better * other
            if n == m:
                assert one == other
    assert turned == [-one for one in sums], "the other sign turns the order round"
    assert sums_of(name, amounts, 0) == [0.0] * len(amounts), "0: no effect"
    if len(set(amounts)) > 1 and name != "CrossCellWeigher":
        assert (sums[amounts.index(min(amounts))], sums[amounts.index(max(amounts))]) == (
            (0.0, 2.0) if better > 0 else (2.0, 0.0)
        )
