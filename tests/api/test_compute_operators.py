"""What operators see and set: hypervisors, services, zones, aggregates, usage."""

import pytest
from compute_oracle import check
from conductor_stand_in import HOST

from nova0.controller.api.microversion import MAXIMUM
from nova0.controller.db.compute_tables import HostRow
from nova0.controller.services import HostLife

pytest_plugins = ("compute_cloud",)
HIGHEST = str(MAXIMUM)


@pytest.fixture
def server(cloud, compute):
    uuid = compute.boot("placed")
    yield uuid
    cloud.demo.delete(f"/v2.1/servers/{uuid}")
    compute.wait(uuid, "gone")


@pytest.mark.covers("S002", "S168")
@pytest.mark.parametrize("version", ["2.1", "2.28", "2.33", "2.53", "2.75", "2.87"])
def test_hypervisors_fit_the_schema_of_their_version(cloud, compute, server, version):
    get = lambda path: cloud.admin.get(f"/v2.1/os-hypervisors{path}", version=version)  # noqa: E731
    listed = check("hypervisors", "list_search_hypervisors", version, get(""))
    [one] = listed["hypervisors"]
    assert (one["hypervisor_hostname"], one["state"], one["status"]) == (HOST, "up", "enabled")
    check("hypervisors", "list_hypervisors_detail", version, get("/detail"))
    shown = check("hypervisors", "get_hypervisor", version, get(f"/{one['id']}"))["hypervisor"]
    assert (shown["running_vms"] >= 1, shown["memory_mb"]) == (True, 65536)
    check("hypervisors", "get_hypervisor_statistics", version, get("/statistics"))
    check("hypervisors", "get_hypervisor_uptime", version, get(f"/{one['id']}/uptime"))
    if int(version[2:]) < 53:
        check("hypervisors", "list_search_hypervisors", version, get(f"/{HOST}/search"))
        served = check("hypervisors", "get_hypervisors_servers", version, get(f"/{HOST}/servers"))
        assert server in [each["uuid"] for each in served["hypervisors"][0]["servers"]]
        assert get("/999").status_code == 404
        assert get("/nothing/search").status_code == 404
    else:
        with_servers = get("?with_servers=true").json()["hypervisors"][0]
        assert server in [each["uuid"] for each in with_servers["servers"]]
        assert get("/1").status_code == 400
        assert get("?hypervisor_hostname_pattern=lab").status_code == 200
        assert get("?hypervisor_hostname_pattern=none").status_code == 404


@pytest.mark.skipif(MAXIMUM.minor < 88, reason="the promise is lower")
def test_from_2_88_hypervisors_have_uptime_and_no_usage(cloud, compute):
    [one] = cloud.admin.get("/v2.1/os-hypervisors/detail", version="2.88").json()["hypervisors"]
    assert "load average" in one["uptime"]
    assert not {"memory_mb", "cpu_info", "running_vms"} & set(one)
    assert cloud.admin.get("/v2.1/os-hypervisors/statistics", version="2.88").status_code == 404
    assert cloud.demo.get("/v2.1/os-hypervisors").status_code == 403


@pytest.mark.covers("S186")
@pytest.mark.parametrize("version", ["2.1", "2.11", "2.53", HIGHEST])
def test_services_are_listed_disabled_and_enabled(cloud, compute, version):
    minor = int(version[2:])
    listed = check("services", "list_services", version, cloud.admin.get("/v2.1/os-services", version=version))
    by_binary = {one["binary"]: one for one in listed["services"]}
    assert set(by_binary) == {"nova-compute", "nova-conductor", "nova-scheduler"}
    mine = by_binary["nova-compute"]
    assert (mine["host"], mine["state"], mine["status"], mine["zone"]) == (HOST, "up", "enabled", "nova")
    if minor < 53:
        named = {"host": HOST, "binary": "nova-compute"}
        put = lambda what, **more: cloud.admin.put(f"/v2.1/os-services/{what}", named | more, version=version)  # noqa: E731
        check("services", "disable_log_reason", version, put("disable-log-reason", disabled_reason="repair"))
        assert _service(cloud)["disabled_reason"] == "repair"
        check("services", "enable_disable_service", version, put("enable"))
        assert _service(cloud)["disabled_reason"] is None
        assert cloud.admin.put("/v2.1/os-services/enable", {"host": "x", "binary": "y"}).status_code == 404
        assert cloud.admin.put("/v2.1/os-services/disable", {"host": HOST}).status_code == 400
    else:
        path = f"/v2.1/os-services/{mine['id']}"
        body = {"status": "disabled", "disabled_reason": "repair"}
        check("services", "update_service", version, cloud.admin.put(path, body, version=version))
        assert _service(cloud)["status"] == "disabled"
        assert cloud.admin.put(path, {"disabled_reason": "x"}, version=version).status_code == 400
        assert cloud.admin.put(path, {"status": "enabled"}, version=version).status_code == 200
        assert cloud.admin.put("/v2.1/os-services/7", {"status": "enabled"}, version=version).status_code == 400
    assert cloud.demo.get("/v2.1/os-services").status_code == 403
    found = cloud.admin.get(f"/v2.1/os-services?host={HOST}&binary=nova-compute", version=version).json()["services"]
    assert len(found) == 1


def _service(cloud):
    return cloud.admin.get("/v2.1/os-services?binary=nova-compute").json()["services"][0]


@pytest.mark.covers("S186")
def test_a_silent_host_is_down_at_once_and_can_be_forced_down(cloud, compute):
    cloud.hosts.lives[HOST] = HostLife(host=HOST, alive=False, status="down", age_s=6.0)
    assert _service(cloud)["state"] == "down"
    assert cloud.admin.get("/v2.1/os-hypervisors").json()["hypervisors"][0]["state"] == "down"
    cloud.hosts.lives[HOST] = HostLife(host=HOST, alive=True, status="up", age_s=0.2)
    assert _service(cloud)["state"] == "up"
    body = {"host": HOST, "binary": "nova-compute", "forced_down": True}
    assert cloud.admin.put("/v2.1/os-services/force-down", body, version="2.11").status_code == 200
    assert _service(cloud)["state"] == "down"
    cloud.admin.put("/v2.1/os-services/force-down", body | {"forced_down": False}, version="2.11")
    assert _service(cloud)["state"] == "up"


@pytest.mark.parametrize("version", ["2.1", "2.16", HIGHEST])
def test_servers_of_a_host_that_was_put_out_are_unknown_and_say_what_to_do(cloud, compute, server, version):
    def found(status):
        query = "" if status is None else f"?status={status}"
        servers = cloud.demo.get(f"/v2.1/servers/detail{query}", version=version).json()["servers"]
        return [one["status"] for one in servers if one["id"] == server]

    path = f"/v2.1/servers/{server}"
    assert (found(None), found("ACTIVE"), found("UNKNOWN")) == (["ACTIVE"], ["ACTIVE"], [])
    cloud.hosts.out[HOST] = f"{HOST} was put out of the cluster by ann: stolen", 1764000000.0
    try:
        assert (found(None), found("ACTIVE"), found("UNKNOWN")) == (["UNKNOWN"], [], ["UNKNOWN"])
        seen = check("servers", "get_server", version, cloud.demo.get(path, version=version))["server"]
        assert seen["fault"]["message"].startswith("Its host was put out of the cloud")
        assert "details" not in seen["fault"] and HOST not in str(seen["fault"])
        told = cloud.admin.get(path, version=version).json()["server"]["fault"]
        assert "by ann: stolen" in told["details"] and f"`nova0 fence {HOST}`" in told["details"]
        assert told["created"] == "2025-11-24T16:00:00Z"
    finally:
        cloud.hosts.out.clear()
    assert found(None) == ["ACTIVE"] and "fault" not in cloud.demo.get(path, version=version).json()["server"]


def test_a_host_is_forgotten_only_when_gone_and_empty(cloud, compute, server):
    number = _service(cloud)["id"]
    assert cloud.admin.delete(f"/v2.1/os-services/{number}").status_code == 409
    gone = cloud.store.write(
        lambda: HostRow.create(host="old", state={"host": "old"}, vcpus=1, memory_mb=1, disk_gb=1).service_uuid
    )
    assert cloud.admin.delete(f"/v2.1/os-services/{gone}", version="2.53").status_code == 204
    assert cloud.admin.delete(f"/v2.1/os-services/{gone}", version="2.53").status_code == 404


@pytest.mark.covers("S333")
def test_zones_follow_aggregates(cloud, compute):
    zones = lambda: [  # noqa: E731
        one["zoneName"] for one in cloud.demo.get("/v2.1/os-availability-zone").json()["availabilityZoneInfo"]
    ]
    check("availability_zone", "list_availability_zone_list", "2.1", cloud.demo.get("/v2.1/os-availability-zone"))
    detail = check("availability_zone", "list_availability_zone_list_detail", "2.1",
                   cloud.admin.get("/v2.1/os-availability-zone/detail"))  # fmt: skip
    assert [one["zoneName"] for one in detail["availabilityZoneInfo"]] == ["internal", "nova"]
    assert cloud.demo.get("/v2.1/os-availability-zone/detail").status_code == 403
    assert zones() == ["nova"]
    body = {"aggregate": {"name": "rack", "availability_zone": "west"}}
    made = check("aggregates", "create_aggregate", "2.1", cloud.admin.post("/v2.1/os-aggregates", body))["aggregate"]
    path = f"/v2.1/os-aggregates/{made['id']}"
    act = lambda name, **value: cloud.admin.post(path + "/action", {name: value})  # noqa: E731
    check("aggregates", "aggregate_add_remove_host", "2.1", act("add_host", host=HOST))
    assert zones() == ["west"]
    uuid = compute.boot("west", availability_zone="west")
    assert cloud.demo.get(f"/v2.1/servers/{uuid}").json()["server"]["OS-EXT-AZ:availability_zone"] == "west"
    assert act("remove_host", host=HOST).status_code == 409
    cloud.demo.delete(f"/v2.1/servers/{uuid}")
    compute.wait(uuid, "gone")
    assert act("add_host", host=HOST).status_code == 409
    assert act("add_host", host="nobody").status_code == 404
    assert cloud.admin.delete(path).status_code == 400
    check("aggregates", "aggregate_add_remove_host", "2.1", act("remove_host", host=HOST))
    assert cloud.admin.delete(path).status_code == 200
    assert zones() == ["nova"]


@pytest.mark.parametrize("version", ["2.1", "2.41", HIGHEST])
def test_aggregates_fit_their_schemas(cloud, compute, version):
    post = lambda path, body: cloud.admin.post("/v2.1/os-aggregates" + path, body, version=version)  # noqa: E731
    made = check("aggregates", "create_aggregate", version, post("", {"aggregate": {"name": f"a{version}"}}))
    path = f"/{made['aggregate']['id']}"
    check("aggregates", "list_aggregates", version, cloud.admin.get("/v2.1/os-aggregates", version=version))
    check("aggregates", "get_aggregate", version, cloud.admin.get("/v2.1/os-aggregates" + path, version=version))
    set_two = post(path + "/action", {"set_metadata": {"metadata": {"a": "1", "b": "2"}}})
    check("aggregates", "aggregate_set_metadata", version, set_two)
    left = post(path + "/action", {"set_metadata": {"metadata": {"a": None}}}).json()["aggregate"]["metadata"]
    assert left == {"b": "2"}
    renamed = cloud.admin.put("/v2.1/os-aggregates" + path, {"aggregate": {"name": f"b{version}"}}, version=version)
    check("aggregates", "update_aggregate", version, renamed)
    assert post("", {"aggregate": {"name": f"b{version}"}}).status_code == 409
    assert post("", {"aggregate": {"name": ""}}).status_code == 400
    assert cloud.demo.get("/v2.1/os-aggregates").status_code == 403
    check("aggregates", "delete_aggregate", version, cloud.admin.delete("/v2.1/os-aggregates" + path, version=version))
    assert cloud.admin.get("/v2.1/os-aggregates" + path).status_code == 404
    assert cloud.admin.get("/v2.1/os-aggregates/none").status_code == 404


@pytest.mark.parametrize("version", ["2.1", "2.40", HIGHEST])
def test_usage_counts_what_ran(cloud, compute, server, version):
    window = "start=2020-01-01T00:00:00&end=2036-01-01T00:00:00"
    every = cloud.admin.get(f"/v2.1/os-simple-tenant-usage?{window}&detailed=1", version=version)
    every = check("tenant_usages", "list_tenant_usage", version, every)["tenant_usages"]
    assert cloud.demo.project_id in [one["tenant_id"] for one in every]
    path = f"/v2.1/os-simple-tenant-usage/{cloud.demo.project_id}?{window}"
    one = check("tenant_usages", "get_tenant_usage", version, cloud.demo.get(path, version=version))["tenant_usage"]
    assert server in [each["instance_id"] for each in one["server_usages"]]
    assert one["total_hours"] > 0
    assert cloud.stranger.get(path).status_code == 403
    assert cloud.demo.get("/v2.1/os-simple-tenant-usage").status_code == 403
    assert cloud.admin.get("/v2.1/os-simple-tenant-usage?start=x").status_code == 400


def test_migrations_and_old_hosts(cloud, compute, server):
    for version in ("2.1", "2.23", "2.59", "2.80", HIGHEST):
        check("migrations", "list_migrations", version, cloud.admin.get("/v2.1/os-migrations", version=version))
    check("hosts", "list_hosts", "2.1", cloud.admin.get("/v2.1/os-hosts"))
    shown = check("hosts", "get_host_detail", "2.1", cloud.admin.get(f"/v2.1/os-hosts/{HOST}"))
    assert cloud.demo.project_id in [one["resource"]["project"] for one in shown["host"]]
    assert cloud.admin.get("/v2.1/os-hosts/none").status_code == 404
    assert cloud.admin.get("/v2.1/os-hosts", version="2.43").status_code == 404


@pytest.mark.covers("S386")
def test_an_admin_places_a_server_by_hand(cloud, compute):
    admin = cloud.as_user("admin", "demo")
    body = compute.body("forced", availability_zone=f"nova:{HOST}")
    uuid = admin.post("/v2.1/servers", body, version="2.37").json()["server"]["id"]
    compute.wait(uuid, "ACTIVE", admin)
    refused = admin.post("/v2.1/servers", compute.body("x", availability_zone="nova:nobody"), version="2.37")
    assert (refused.status_code, "nobody" in refused.text) == (400, True)
    named = admin.post("/v2.1/servers", compute.body("y", host=HOST), version="2.74")
    assert named.status_code == 202
    assert cloud.demo.post("/v2.1/servers", compute.body("z", host=HOST), version="2.74").status_code == 403
    for one in (uuid, named.json()["server"]["id"]):
        admin.delete(f"/v2.1/servers/{one}")
