"""Servers over HTTP: what is made, shown and found, at the lowest and the highest microversion."""

import base64

import pytest
from compute_oracle import check
from conductor_stand_in import HOST

from nova0.controller.api.microversion import MAXIMUM

pytest_plugins = ("compute_cloud",)
HIGHEST = str(MAXIMUM)
EVERY = ["2.1", "2.3", "2.9", "2.16", "2.19", "2.26", "2.47", "2.63", "2.71", "2.73", "2.75", "2.90", "2.96", "2.98"]
VERSIONS = [*(one for one in EVERY if int(one[2:]) < MAXIMUM.minor), HIGHEST]


@pytest.mark.covers("S074", "S076", "S357", "S358", "S374")
@pytest.mark.parametrize("version", VERSIONS)
def test_shown_and_listed_servers_fit_the_schema_of_their_version(cloud, compute, version):
    uuid = compute.boot(f"shown-{version}", metadata={"a": "b"})
    for http in (cloud.demo, cloud.as_user("admin", "demo")):
        body = check("servers", "get_server", version, http.get(f"/v2.1/servers/{uuid}", version=version))
        assert body["server"]["status"] == "ACTIVE"
        assert (body["server"].get("OS-EXT-SRV-ATTR:host") == HOST) is (http is not cloud.demo)
        check("servers", "list_servers", version, http.get("/v2.1/servers", version=version))
        check("servers", "list_servers_detail", version, http.get("/v2.1/servers/detail", version=version))
    wanted = {"server": {"name": f"renamed-{version}"}}
    body = check("servers", "update_server", version, cloud.demo.put(f"/v2.1/servers/{uuid}", wanted, version=version))
    assert body["server"]["name"] == f"renamed-{version}"
    check("servers", "delete_server", version, cloud.demo.delete(f"/v2.1/servers/{uuid}", version=version))


@pytest.mark.covers("S374", "S375", "S399", "S001", "S203", "S281", "S365", "S367", "S397")
@pytest.mark.parametrize("version", ["2.1", HIGHEST])
def test_create_answers_at_once_with_id_password_and_location(cloud, compute, version):
    compute.conductor.held = True
    networks = "none" if version != "2.1" else []  # below 2.37 there is no word for none
    body = compute.body(f"  new-{version}  ", networks=networks, adminPass="hunter22")
    answer = cloud.demo.post("/v2.1/servers", body, version=version)
    server = check("servers", "create_server_with_admin_pass", version, answer)["server"]
    assert server["adminPass"] == "hunter22"
    assert answer.headers["Location"].endswith("/servers/" + server["id"])
    shown = cloud.demo.get(f"/v2.1/servers/{server['id']}").json()["server"]
    assert (shown["name"], shown["status"], shown["hostId"]) == (f"new-{version}", "BUILD", "")
    assert shown["OS-EXT-STS:task_state"] == "scheduling"
    compute.conductor.release()
    compute.wait(server["id"], "ACTIVE")
    cloud.demo.delete(f"/v2.1/servers/{server['id']}")


@pytest.mark.covers("S380", "S388")
def test_max_count_three_makes_three_numbered_servers_of_one_reservation(cloud, compute):
    wanted = compute.body("many", min_count=2, max_count=3, return_reservation_id=True)
    answer = cloud.demo.post("/v2.1/servers", wanted, version="2.37")
    reservation = answer.json()["reservation_id"]
    assert reservation.startswith("r-")
    found = cloud.demo.get(f"/v2.1/servers?reservation_id={reservation}&sort_key=display_name&sort_dir=asc").json()
    assert [one["name"] for one in found["servers"]] == ["many-1", "many-2", "many-3"]
    for one in found["servers"]:
        cloud.demo.delete(f"/v2.1/servers/{one['id']}")


def _with(**fields):
    return fields


@pytest.mark.covers("S075", "S384", "S383", "S386", "S389", "S377", "S392", "S394", "S302", "S382")
@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        (_with(flavorRef="no-such"), 400, "no-such"),
        (_with(imageRef="6d0d60e4-6b4b-4ef8-9d1e-b8a2ab0ff3a6"), 400, "image"),
        (_with(imageRef=""), 400, "imageRef"),
        (_with(key_name="no-key"), 400, "key_name"),
        (_with(name=""), 400, "name"),
        (_with(name="   "), 400, "name"),
        (_with(name="x" * 256), 400, "name"),
        (_with(name=3), 400, "name"),
        (_with(user_data="not base64!"), 400, "user_data"),
        (_with(user_data=base64.b64encode(b"x" * 60000).decode()), 400, "user_data"),
        (_with(security_groups=[{"name": "no-group"}]), 400, "no-group"),
        (_with(availability_zone="nowhere"), 400, "nowhere"),
        (_with(availability_zone=f"nova:{HOST}"), 403, "forced_host"),
        (_with(min_count=3, max_count=2), 400, "min_count"),
        (_with(min_count=0), 400, "min_count"),
        (_with(networks=[{"uuid": "6d0d60e4-6b4b-4ef8-9d1e-b8a2ab0ff3a6"}]), 400, "6d0d60e4"),
        (_with(networks="some"), 400, "networks"),
        (_with(colour="red"), 400, "colour"),
        (_with(metadata={"k": 1}), 400, "metadata"),
        (_with(metadata={"k" * 256: "v"}), 400, "metadata"),
        (_with(accessIPv4="300.1.1.1"), 400, "accessIPv4"),
        (_with(personality=[{"path": "/x", "contents": "eA=="}]), 400, "personality"),
        (
            _with(block_device_mapping_v2=[{"boot_index": 0, "uuid": "x", "source_type": "volume"}]),
            400,
            "block storage",
        ),
        (_with(block_device_mapping=[{"volume_id": "x", "device_name": "vda"}]), 400, "block storage"),
    ],
)
def test_bad_input_names_its_field_and_changes_nothing(cloud, compute, fields, code, named):
    body = compute.body("bad")
    body["server"] |= fields
    answer = cloud.demo.post("/v2.1/servers", body, version="2.37")
    assert answer.status_code == code, answer.text
    [error] = answer.json().values()
    assert named in error["message"]
    assert "bad" not in {one["name"].strip() for one in cloud.demo.get("/v2.1/servers").json()["servers"]}


@pytest.mark.covers("S381", "S394")
def test_hints_are_kept_and_an_unknown_group_is_refused(cloud, compute):
    body = compute.body("hinted") | {"os:scheduler_hints": {"group": "6d0d60e4-6b4b-4ef8-9d1e-b8a2ab0ff3a6"}}
    answer = cloud.demo.post("/v2.1/servers", body, version="2.37")
    assert answer.status_code == 400
    assert "6d0d60e4" in answer.json()["badRequest"]["message"]
    group = cloud.demo.post("/v2.1/os-server-groups", {"server_group": {"name": "g", "policies": ["anti-affinity"]}})
    group_id = group.json()["server_group"]["id"]
    body["os:scheduler_hints"]["group"] = group_id
    uuid = cloud.demo.post("/v2.1/servers", body, version="2.37").json()["server"]["id"]
    assert cloud.demo.get(f"/v2.1/os-server-groups/{group_id}").json()["server_group"]["members"] == [uuid]
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S345", "S346", "S396")
def test_over_quota_is_403_and_leaves_no_rows(cloud, compute):
    path = f"/v2.1/os-quota-sets/{cloud.demo.project_id}"
    used = len(cloud.demo.get("/v2.1/servers").json()["servers"])
    for resource, limit in (("instances", used + 1), ("cores", used + 1)):
        done = cloud.admin.put(path, {"quota_set": {resource: limit, "force": True}})
        assert done.status_code == 200, done.text
        answer = cloud.demo.post("/v2.1/servers", compute.body("over", min_count=2), version="2.37")
        assert answer.status_code == 403
        assert f"Quota exceeded for {resource}" in answer.json()["forbidden"]["message"]
        assert len(cloud.demo.get("/v2.1/servers").json()["servers"]) == used
        cloud.admin.delete(path)


@pytest.mark.covers("S236", "S393")
@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ({"min_ram": 65}, "memory is too small"),
        ({"min_disk": 2}, "smaller than the minimum size"),
        ({"size": 2 * 1024**3}, "disk is too small"),
    ],
)
def test_an_image_that_asks_for_more_than_the_flavor_has_is_a_400_and_leaves_no_rows(cloud, compute, asks, said):
    from nova0.controller.db.image_tables import ImageRow

    def image(**columns):
        return ImageRow.create(
            name="picky", status="active", visibility="public", disk_format="qcow2", container_format="bare",
            sha512="ab", owner="x", **{"size": 1000} | columns,
        ).id  # fmt: skip

    picky, content = cloud.store.write(lambda: (image(**asks), image(min_ram=64, min_disk=1)))
    flavor = cloud.demo.get(f"/v2.1/flavors/{compute.flavor_id}").json()["flavor"]
    assert (flavor["ram"], flavor["disk"]) == (64, 1)
    before = len(cloud.demo.get("/v2.1/servers").json()["servers"])
    answer = cloud.demo.post("/v2.1/servers", compute.body("picky", imageRef=picky), version="2.37")
    assert (answer.status_code, said in answer.json()["badRequest"]["message"]) == (400, True)
    assert len(cloud.demo.get("/v2.1/servers").json()["servers"]) == before
    cloud.demo.delete(f"/v2.1/servers/{compute.boot('content', imageRef=content)}")


@pytest.mark.covers("S341")
def test_a_server_of_another_project_does_not_exist(cloud, compute):
    uuid = compute.boot("private")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/metadata"), ("GET", "/os-instance-actions")):
        assert cloud.stranger(method, f"/v2.1/servers/{uuid}{path}").status_code == 404
    assert cloud.stranger.get("/v2.1/servers").json()["servers"] == []
    assert cloud.stranger.get("/v2.1/servers?all_tenants=1").status_code == 403
    everyone = cloud.admin.get("/v2.1/servers?all_tenants=1&name=^private$").json()["servers"]
    assert [one["id"] for one in everyone] == [uuid]
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S353", "S366")
def test_a_reader_reads_and_changes_nothing(cloud, compute):
    uuid = compute.boot("read")
    assert cloud.reader.get(f"/v2.1/servers/{uuid}").status_code == 200
    assert cloud.reader.delete(f"/v2.1/servers/{uuid}").status_code == 403
    assert compute.act(uuid, "os-stop", http=cloud.reader).status_code == 403
    assert cloud.reader.post("/v2.1/servers", compute.body("x"), version="2.37").status_code == 403
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


def test_filters_sorting_and_pages(cloud, compute):
    made = [compute.boot(f"page-{n}", metadata={"n": str(n)}, wait=n != 4) for n in range(5)]
    names = lambda query, **more: [  # noqa: E731
        one["name"] for one in cloud.demo.get(f"/v2.1/servers{query}", **more).json()["servers"]
    ]
    assert names("?name=^page-[12]$&sort_key=display_name&sort_dir=asc") == ["page-1", "page-2"]
    first = cloud.demo.get("/v2.1/servers?name=page-&limit=2&sort_key=display_name&sort_dir=asc").json()
    assert [one["name"] for one in first["servers"]] == ["page-0", "page-1"]
    [link] = first["servers_links"]
    second = cloud.demo.get(link["href"].removeprefix(cloud.url)).json()
    assert [one["name"] for one in second["servers"]] == ["page-2", "page-3"]
    last = cloud.demo.get(second["servers_links"][0]["href"].removeprefix(cloud.url)).json()
    assert [one["name"] for one in last["servers"]] == ["page-4"]
    assert "servers_links" not in last
    assert cloud.demo.get("/v2.1/servers?marker=nothing").status_code == 400
    assert cloud.demo.get("/v2.1/servers?limit=-1").status_code == 400
    assert cloud.demo.get("/v2.1/servers?sort_key=colour").status_code == 400
    assert cloud.demo.get("/v2.1/servers?changes-since=yesterday").status_code == 400
    assert cloud.demo.get("/v2.1/servers?name=(a%2B)%2B%24").status_code == 200
    assert names("?flavor=42&name=page-3") == ["page-3"]
    assert names("?flavor=1") == []
    assert names(f"?image={compute.image_id}&name=page-3") == ["page-3"]
    assert names("?status=ACTIVE&name=page-3") == ["page-3"]
    assert names("?status=nonsense") == []
    assert names("?colour=red&name=page-3") == ["page-3"]
    for uuid in made:
        cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.skipif(MAXIMUM.minor < 75, reason="the promise is lower")
def test_from_2_75_an_unknown_query_key_is_refused(cloud, compute):
    assert cloud.demo.get("/v2.1/servers?colour=red", version="2.75").status_code == 400
    assert cloud.demo.get("/v2.1/servers?status=nonsense", version="2.38").status_code == 400


@pytest.mark.covers("S178")
def test_deleted_servers_are_history_for_admins_and_pollers(cloud, compute):
    uuid = compute.boot("gone")
    assert cloud.demo.delete(f"/v2.1/servers/{uuid}").status_code == 204
    compute.wait(uuid, "gone")
    admin = cloud.as_user("admin", "demo")
    assert uuid not in [one["id"] for one in admin.get("/v2.1/servers").json()["servers"]]
    deleted = admin.get("/v2.1/servers/detail?deleted=True").json()["servers"]
    assert {one["id"]: one["status"] for one in deleted}[uuid] == "DELETED"
    polled = cloud.demo.get("/v2.1/servers/detail?changes-since=2020-01-01T00:00:00Z").json()["servers"]
    assert {one["id"]: one["status"] for one in polled}[uuid] == "DELETED"
    assert cloud.demo.get("/v2.1/servers/detail?deleted=False").status_code == 200


@pytest.mark.covers("S175", "S001", "S398")
def test_a_failed_boot_shows_its_fault(cloud, compute):
    compute.conductor.fail_with = "No valid host was found. RamFilter left 0 of 1"
    uuid = compute.boot("failed", wait=False)
    server = compute.wait(uuid, "ERROR")
    compute.conductor.fail_with = ""
    assert server["fault"]["code"] == 500
    assert "RamFilter" in server["fault"]["message"]
    check("servers", "get_server", "2.1", cloud.demo.get(f"/v2.1/servers/{uuid}"))
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S307")
def test_addresses_groups_and_interfaces_come_from_the_ports(cloud, compute):
    uuid = compute.boot("wired", networks=[{"uuid": compute.network_id}])
    server = cloud.demo.get(f"/v2.1/servers/{uuid}").json()["server"]
    [address] = server["addresses"]["private"]
    assert address["OS-EXT-IPS:type"] == "fixed"
    base = f"/v2.1/servers/{uuid}"
    check("servers", "list_addresses", "2.1", cloud.demo.get(base + "/ips"))
    shown = check("servers", "list_addresses_by_network", "2.1", cloud.demo.get(base + "/ips/private"))
    assert shown["private"][0]["addr"] == address["addr"]
    assert cloud.demo.get(base + "/ips/other").status_code == 404
    [port] = check("interfaces", "list_interfaces", HIGHEST, cloud.demo.get(base + "/os-interface", version=HIGHEST))[
        "interfaceAttachments"
    ]
    check("interfaces", "get_create_interfaces", "2.1", cloud.demo.get(base + "/os-interface/" + port["port_id"]))
    found = cloud.demo.get(f"/v2.1/servers?ip={address['addr'].replace('.', '%5C.')}%24").json()["servers"]
    assert [one["id"] for one in found] == [uuid]
    cloud.demo.delete(base)


@pytest.mark.covers("S308")
def test_access_addresses_are_settable_and_shown(cloud, compute):
    uuid = compute.boot("access", accessIPv4="192.0.2.9")
    answer = cloud.demo.put(f"/v2.1/servers/{uuid}", {"server": {"accessIPv6": "2001:db8::9"}})
    assert (answer.json()["server"]["accessIPv4"], answer.json()["server"]["accessIPv6"]) == (
        "192.0.2.9",
        "2001:db8::9",
    )
    assert cloud.demo.put(f"/v2.1/servers/{uuid}", {"server": {"accessIPv4": "2001:db8::9"}}).status_code == 400
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S062")
def test_the_legacy_path_drops_unknown_fields(cloud, compute):
    body = compute.body("legacy", networks=[], colour="red")
    assert cloud.demo.post("/v2.1/servers", body).status_code == 400
    answer = cloud.demo.post("/v2/servers", body)
    assert answer.status_code == 202, answer.text
    cloud.demo.delete(f"/v2/servers/{answer.json()['server']['id']}")
