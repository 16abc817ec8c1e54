"""Each filter of the field through the API: the real controller and scheduler, hosts that answer like compute agents.

A test asks for a server as a client would and looks at the host it went to.
"""

from __future__ import annotations

import pytest
from scheduler_cloud import Template

from nova0.config import CONF

HOSTS = {  # lab1 is small, lab2 has a disk array and newer features, lab3 is of another architecture
    "lab1": {"vcpus": 4, "memory_mb": 4096, "address": "10.1.1.1", "arch": "x86_64"},
    "lab2": {"vcpus": 8, "memory_mb": 16384, "address": "10.1.2.1", "arch": "x86_64", "traits": ["CUSTOM_ARRAY"],
             "resources": {"CUSTOM_GPU": 1}, "cpu_info": {"features": ["aes", "avx"]}},
    "lab3": {"vcpus": 8, "memory_mb": 8192, "address": "10.1.3.1", "arch": "aarch64"},
}  # fmt: skip
FILTERS = [
    "AllHostsFilter", "ComputeFilter", "AvailabilityZoneFilter", "CoreFilter", "RamFilter", "DiskFilter",
    "DifferentHostFilter", "SameHostFilter", "IsolatedHostsFilter", "SimpleCIDRAffinityFilter",
    "AggregateInstanceExtraSpecsFilter", "AggregateMultiTenancyIsolation", "ComputeCapabilitiesFilter",
    "GroupAntiAffinityFilter", "ServerGroupAffinityFilter", "ImagePropertiesFilter", "JsonFilter", "RetryFilter",
    "TraitsFilter", "CustomResourcesFilter",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    template = Template(tmp_path_factory.mktemp("scheduling"))
    with template.cloud(f"enabled_filters = {', '.join(FILTERS)}", HOSTS) as made:
        yield made


@pytest.fixture
def lab(whole):
    yield whole
    whole.clear()


@pytest.mark.covers("S142")
def test_all_hosts_filter_leaves_every_host(lab):
    shown = lab.post("/nova0/v1/schedule/explain", {"flavor": lab.flavor()})
    assert shown["filters"][0] == {"name": "AllHostsFilter", "left": 3, "removed": []}


@pytest.mark.covers("S143")
def test_availability_zone_filter(lab):
    made = lab.aggregate("east", "lab3", availability_zone="east")
    assert {lab.where(availability_zone="east") for _ in range(3)} == {"lab3"}
    lab.clear()
    lab.no_aggregate(made, "lab3")


@pytest.mark.covers("S144")
def test_compute_filter(lab):
    services = lab.cloud.admin.get("/v2.1/os-services?binary=nova-compute", version="2.90").json()["services"]
    of = {service["host"]: service["id"] for service in services}
    for host in ("lab2", "lab3"):
        lab.cloud.admin.put(f"/v2.1/os-services/{of[host]}", {"status": "disabled"}, version="2.90")
    try:
        assert {lab.where() for _ in range(3)} == {"lab1"}
    finally:
        for host in ("lab2", "lab3"):
            lab.cloud.admin.put(f"/v2.1/os-services/{of[host]}", {"status": "enabled"}, version="2.90")


@pytest.mark.covers("S145")
def test_core_filter_keeps_to_the_ratio(lab):
    wanted = {"host": "lab1"}
    assert lab.where(flavor=lab.flavor(vcpus=16, memory_mb=64), **wanted) == "lab1"  # 4 CPUs, ratio 4
    assert "CoreFilter left 0" in lab.where(flavor=lab.flavor(vcpus=1, memory_mb=64), **wanted)


@pytest.mark.covers("S146")
def test_ram_filter(lab):
    assert lab.where(flavor=lab.flavor(memory_mb=16000)) == "lab2"
    assert "RamFilter left 0" in lab.where(flavor=lab.flavor(memory_mb=16000))


@pytest.mark.covers("S147", "S148", "S381")
def test_different_and_same_host_filters(lab):
    first = lab.boot()
    host = lab.settled(first)["OS-EXT-SRV-ATTR:host"]
    assert lab.where(hints={"same_host": [first]}) == host
    assert host not in {lab.where(hints={"different_host": [first]}) for _ in range(3)}


@pytest.mark.covers("S149")
def test_isolated_hosts_filter(lab):
    CONF.set_override("isolated_images", [lab.images["secret"]], "scheduler")
    CONF.set_override("isolated_hosts", ["lab1"], "scheduler")
    try:
        assert {lab.where(image="secret") for _ in range(2)} == {"lab1"}
        assert "lab1" not in {lab.where() for _ in range(4)}
    finally:
        CONF.set_override("isolated_images", [], "scheduler")
        CONF.set_override("isolated_hosts", [], "scheduler")


@pytest.mark.covers("S150")
def test_simple_cidr_affinity_filter(lab):
    assert {lab.where(hints={"build_near_host_ip": "10.1.3.77", "cidr": "/24"}) for _ in range(2)} == {"lab3"}
    assert "SimpleCIDRAffinityFilter left 0" in lab.where(hints={"build_near_host_ip": "10.9.9.9", "cidr": "/24"})


@pytest.mark.covers("S151")
def test_aggregate_instance_extra_specs_filter(lab):
    made = lab.aggregate("fast", "lab1", ssd="true")
    fast = lab.flavor(specs={"aggregate_instance_extra_specs:ssd": "true"})
    assert {lab.where(flavor=fast) for _ in range(3)} == {"lab1"}
    lab.clear()
    lab.no_aggregate(made, "lab1")


@pytest.mark.covers("S152")
def test_aggregate_multi_tenancy_isolation(lab):
    made = lab.aggregate("ours", "lab2", filter_tenant_id=lab.cloud.admin.project_id)
    assert "lab2" not in {lab.where(http=lab.cloud.demo) for _ in range(4)}
    assert lab.where(flavor=lab.flavor(memory_mb=12000)) == "lab2"
    lab.clear()
    lab.no_aggregate(made, "lab2")


@pytest.mark.covers("S153")
def test_compute_capabilities_filter(lab):
    assert {lab.where(flavor=lab.flavor(specs={"capabilities:vcpus": "<= 4"})) for _ in range(2)} == {"lab1"}
    assert lab.where(flavor=lab.flavor(specs={"capabilities:cpu_info:features": "<in> avx"})) == "lab2"


@pytest.mark.covers("S154", "S381")
def test_group_anti_affinity_filter(lab):
    group = {"server_group": {"name": "apart", "policy": "anti-affinity"}}
    made = lab.post("/v2.1/os-server-groups", group)["server_group"]["id"]
    places = [lab.where(hints={"group": made}) for _ in range(4)]
    assert set(places[:3]) == set(HOSTS) and "GroupAntiAffinityFilter left 0" in places[3]


@pytest.mark.covers("S155")
def test_image_properties_filter(lab):
    assert {lab.where(image="arm") for _ in range(2)} == {"lab3"}
    assert "ImagePropertiesFilter left 0" in lab.where(image="xen")


@pytest.mark.covers("S156")
def test_json_filter(lab):
    query = '["and", [">=", "$free_ram_mb", 1024], ["<", "$vcpus_total", 5]]'
    assert {lab.where(hints={"query": query}) for _ in range(2)} == {"lab1"}


@pytest.mark.covers("S157")
def test_a_host_that_failed_is_not_tried_again_and_three_are_enough(lab):
    def broken(uuid, *_):
        from nova0.objects.errors import DriverError

        raise DriverError("the disk is on fire")

    for machine in lab.machines.values():
        machine.script["prepare"] = broken
    try:
        server = lab.boot()
        shown = lab.settled(server)
        assert shown["status"] == "ERROR" and shown["fault"]["message"].count("on fire") == 3
        assert [sum(u == server for m, u in one.asked if m == "prepare") for one in lab.machines.values()] == [1, 1, 1]
    finally:
        for machine in lab.machines.values():
            machine.script.clear()


def test_traits_and_custom_resources(lab):
    assert lab.where(flavor=lab.flavor(specs={"trait:CUSTOM_ARRAY": "required"})) == "lab2"
    assert "lab2" not in {lab.where(flavor=lab.flavor(specs={"trait:CUSTOM_ARRAY": "forbidden"})) for _ in range(3)}
    gpu = lab.flavor(specs={"resources:CUSTOM_GPU": "1"})
    holder = lab.boot(flavor=gpu)
    assert lab.settled(holder)["OS-EXT-SRV-ATTR:host"] == "lab2"
    assert "CustomResourcesFilter left 0" in lab.where(flavor=gpu)
    lab.clear()
    assert lab.where(flavor=gpu) == "lab2", "given back with the server"


def test_a_host_asked_for_is_filtered_and_a_forced_one_is_not(lab):
    large = lab.flavor(memory_mb=6000)
    assert "(lab1 was asked for)" in lab.where(flavor=large, host="lab1")
    assert "lab1 was forced and has no room" in lab.where(flavor=large, availability_zone="nova:lab1")
    asked = {"hints": {"different_host": [lab.boot(availability_zone="nova:lab1")]}}
    lab.settled(asked["hints"]["different_host"][0])
    assert "DifferentHostFilter left 0" in lab.where(host="lab1", **asked)
    assert lab.where(availability_zone="nova:lab1", **asked) == "lab1"


@pytest.mark.covers("S128")
def test_explain_shows_filters_and_weights_and_places_nothing(lab):
    body = {"flavor": lab.flavor(memory_mb=6000), "hints": {}}
    shown = lab.post("/nova0/v1/schedule/explain", body)
    left = {one["name"]: one["left"] for one in shown["filters"]}
    assert shown["hosts"] == 3 and left["RamFilter"] == 2
    assert next(one["removed"] for one in shown["filters"] if one["name"] == "RamFilter") == ["lab1"]
    assert [one["host"] for one in shown["order"]] == ["lab2", "lab3"]
    weights = shown["order"][0]["weights"]["RAMWeigher"]
    assert weights["scaled"] == 1.0 and weights["raw"] > 15000
    server = lab.boot()
    lab.settled(server)
    assert len(lab.post("/nova0/v1/schedule/explain", {"server": server})["order"]) == 3
    refused = lab.cloud.demo.post("/nova0/v1/schedule/explain", body)
    assert refused.status_code == 403
    assert lab.cloud.admin.post("/nova0/v1/schedule/explain", {}).status_code == 400
    assert lab.cloud.admin.post("/nova0/v1/schedule/explain", {"server": "nix"}).status_code == 404
