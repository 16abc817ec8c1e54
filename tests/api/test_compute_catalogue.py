"""Flavors, key pairs, limits, quotas, server groups: what a project finds and makes beside servers."""

import pytest
from compute_oracle import check
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from nova0.controller.api.microversion import MAXIMUM

pytest_plugins = ("compute_cloud",)
HIGHEST = str(MAXIMUM)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQdPfIpXBhMxQrMqyEWG0NGcqx+N7Wd3NgGLLmHMjfP someone@somewhere"


@pytest.mark.covers("S177", "S074", "S076")
@pytest.mark.parametrize("version", ["2.1", "2.55", "2.61", "2.75", HIGHEST])
def test_flavors_are_made_shown_listed_and_deleted(cloud, compute, version):
    body = {"flavor": {"name": f"f {version}", "ram": 64, "vcpus": "2", "disk": 0, "id": f"f-{version}", "swap": 7}}
    if int(version[2:]) >= 55:
        body["flavor"]["description"] = "small"
    made = check("flavors", "create_update_get_flavor_details", version,
                 cloud.admin.post("/v2.1/flavors", body, version=version))["flavor"]  # fmt: skip
    assert (made["ram"], made["vcpus"], made["swap"], made["id"]) == (64, 2, 7, f"f-{version}")
    check("flavors", "list_flavors", version, cloud.demo.get("/v2.1/flavors", version=version))
    check("flavors", "list_flavors_details", version, cloud.demo.get("/v2.1/flavors/detail", version=version))
    shown = cloud.demo.get(f"/v2.1/flavors/{made['id']}", version=version)
    check("flavors", "create_update_get_flavor_details", version, shown)
    assert cloud.admin.post("/v2.1/flavors", body, version=version).status_code == 409
    if int(version[2:]) >= 55:
        put = cloud.admin.put(f"/v2.1/flavors/{made['id']}", {"flavor": {"description": None}}, version=version)
        assert put.json()["flavor"]["description"] is None
    assert cloud.demo.delete(f"/v2.1/flavors/{made['id']}").status_code == 403
    check("flavors", "delete_flavor", "2.1", cloud.admin.delete(f"/v2.1/flavors/{made['id']}", version=version))
    assert cloud.demo.get(f"/v2.1/flavors/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ram", 0),
        ("ram", "x"),
        ("vcpus", -1),
        ("disk", 2**31),
        ("name", ""),
        ("id", "a/b"),
        ("rxtx_factor", -1),
        ("x", 1),
    ],
)
def test_a_bad_flavor_names_its_field(cloud, compute, field, value):
    body = {"flavor": {"name": "bad", "ram": 64, "vcpus": 1, "disk": 1} | {field: value}}
    answer = cloud.admin.post("/v2.1/flavors", body)
    assert answer.status_code == 400
    assert field in answer.json()["badRequest"]["message"]


def test_flavor_lists_filter_sort_and_page(cloud, compute):
    names = lambda query: [one["name"] for one in cloud.demo.get("/v2.1/flavors" + query).json()["flavors"]]  # noqa: E731
    assert names("?minRam=4096&sort_key=memory_mb&sort_dir=asc") == ["m1.medium", "m1.large", "m1.xlarge"]
    assert names("?minDisk=100") == ["m1.xlarge"]
    page = cloud.demo.get("/v2.1/flavors?limit=1&sort_key=memory_mb&sort_dir=desc").json()
    assert page["flavors"][0]["name"] == "m1.xlarge"
    follow = cloud.demo.get(page["flavors_links"][0]["href"].removeprefix(cloud.url)).json()
    assert follow["flavors"][0]["name"] == "m1.large"
    for bad in ("minRam=x", "limit=x", "marker=none", "sort_key=colour"):
        assert cloud.demo.get(f"/v2.1/flavors?{bad}").status_code == 400


def test_a_private_flavor_is_seen_by_those_it_was_given_to(cloud, compute):
    body = {"flavor": {"name": "secret", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": "False"}}
    flavor = cloud.admin.post("/v2.1/flavors", body).json()["flavor"]["id"]
    assert cloud.demo.get(f"/v2.1/flavors/{flavor}").status_code == 404
    assert flavor not in [one["id"] for one in cloud.demo.get("/v2.1/flavors?is_public=None").json()["flavors"]]
    assert flavor in [one["id"] for one in cloud.admin.get("/v2.1/flavors?is_public=None").json()["flavors"]]
    path, project = f"/v2.1/flavors/{flavor}", cloud.demo.project_id
    listed = check(
        "flavors_access", "add_remove_list_flavor_access", "2.1", cloud.admin.get(path + "/os-flavor-access")
    )
    assert listed["flavor_access"] == []
    given = cloud.admin.post(path + "/action", {"addTenantAccess": {"tenant": project}})
    check("flavors_access", "add_remove_list_flavor_access", "2.1", given)
    assert cloud.demo.get(path).status_code == 200
    assert cloud.admin.post(path + "/action", {"addTenantAccess": {"tenant": project}}).status_code == 409
    assert cloud.admin.post(path + "/action", {"addTenantAccess": {"tenant": "nobody"}}).status_code == 400
    assert cloud.admin.post(path + "/action", {"removeTenantAccess": {"tenant": project}}).status_code == 200
    assert cloud.demo.get(path).status_code == 404
    assert cloud.admin.get("/v2.1/flavors/42/os-flavor-access").status_code == 404
    public = {"addTenantAccess": {"tenant": project}}
    assert cloud.admin.post("/v2.1/flavors/1/action", public, version="2.7").status_code == 409


def test_extra_specs(cloud, compute):
    path = "/v2.1/flavors/2/os-extra_specs"
    check("flavors_extra_specs", "set_get_flavor_extra_specs", "2.1",
          cloud.admin.post(path, {"extra_specs": {"hw:cpu_policy": "shared", "mine": "1"}}))  # fmt: skip
    check("flavors_extra_specs", "set_get_flavor_extra_specs", "2.1", cloud.demo.get(path))
    check("flavors_extra_specs", "set_get_flavor_extra_specs_key", "2.1", cloud.demo.get(path + "/mine"))
    check(
        "flavors_extra_specs", "set_get_flavor_extra_specs_key", "2.1", cloud.admin.put(path + "/mine", {"mine": "2"})
    )
    assert cloud.admin.put(path + "/mine", {"other": "2"}).status_code == 400
    check("flavors_extra_specs", "unset_flavor_extra_specs", "2.1", cloud.admin.delete(path + "/mine"))
    assert cloud.demo.get(path + "/mine").status_code == 404
    assert cloud.admin.delete(path + "/mine").status_code == 404
    assert cloud.demo.post(path, {"extra_specs": {"a": "b"}}).status_code == 403
    bad = {"extra_specs": {"hw:cpu_policy": "purple"}}
    assert cloud.admin.post(path, bad, version="2.85").status_code == 200
    assert cloud.admin.post(path, bad, version="2.86").status_code == 400
    assert cloud.admin.post(path, {"extra_specs": {"hw:nonsense": "1"}}, version="2.86").status_code == 400
    assert cloud.admin.delete(path + "/hw:cpu_policy").status_code == 200


@pytest.mark.covers("S179", "S303")
@pytest.mark.parametrize("version", ["2.1", "2.2", "2.10", HIGHEST])
def test_key_pairs_are_imported_shown_and_deleted(cloud, compute, version):
    name, minor = f"key-{version.replace('.', '-')}", int(version[2:])
    answer = cloud.demo.post("/v2.1/os-keypairs", {"keypair": {"name": name, "public_key": KEY}}, version=version)
    made = check("keypairs", "create_keypair", version, answer)["keypair"]
    assert (
        made["fingerprint"] == "82:c5:cb:70:96:b7:7a:26:ba:e0:5f:0a:88:b3:11:fd" or made["fingerprint"].count(":") == 15
    )
    check("keypairs", "list_keypairs", version, cloud.demo.get("/v2.1/os-keypairs", version=version))
    check("keypairs", "get_keypair", version, cloud.demo.get(f"/v2.1/os-keypairs/{name}", version=version))
    assert cloud.stranger.get(f"/v2.1/os-keypairs/{name}").status_code == 404
    again = cloud.demo.post("/v2.1/os-keypairs", {"keypair": {"name": name, "public_key": KEY}}, version=version)
    assert again.status_code == 409
    if minor >= 10:
        path = f"/v2.1/os-keypairs/{name}?user_id={cloud.demo.user_id}"
        assert cloud.admin.get(path, version=version).status_code == 200
        assert cloud.stranger.get(path, version=version).status_code == 403
    check("keypairs", "delete_keypair", version, cloud.demo.delete(f"/v2.1/os-keypairs/{name}", version=version))
    assert cloud.demo.get(f"/v2.1/os-keypairs/{name}").status_code == 404


@pytest.mark.covers("S379")
def test_a_generated_key_pair_fits_together_and_reaches_the_server(cloud, compute):
    made = cloud.demo.post("/v2.1/os-keypairs", {"keypair": {"name": "made"}}).json()["keypair"]
    private = load_pem_private_key(made["private_key"].encode(), None)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert made["public_key"].startswith(public)
    uuid = compute.boot("keyed", key_name="made")
    assert cloud.demo.get(f"/v2.1/servers/{uuid}").json()["server"]["key_name"] == "made"
    cloud.demo.delete(f"/v2.1/servers/{uuid}")
    answer = cloud.demo.post("/v2.1/os-keypairs", {"keypair": {"name": "none"}}, version="2.92")
    assert answer.status_code == 400
    bad = cloud.demo.post("/v2.1/os-keypairs", {"keypair": {"name": "bad", "public_key": "ssh-rsa nonsense"}})
    assert bad.status_code == 400
    assert "fingerprint" in bad.json()["badRequest"]["message"]


@pytest.mark.parametrize("version", ["2.1", "2.36", "2.39", "2.57", HIGHEST])
def test_limits_and_quotas_fit_their_schemas(cloud, compute, version):
    limits = check("limits", "get_limit", version, cloud.demo.get("/v2.1/limits", version=version))
    assert limits["limits"]["absolute"]["maxTotalInstances"] == 10
    path = f"/v2.1/os-quota-sets/{cloud.demo.project_id}"
    check("quotas", "get_quota_set", version, cloud.demo.get(path, version=version))
    check("quotas", "get_quota_set", version, cloud.demo.get(path + "/defaults", version=version))
    detail = check("quotas", "get_quota_set_details", version, cloud.demo.get(path + "/detail", version=version))
    assert set(detail["quota_set"]["instances"]) == {"limit", "in_use", "reserved"}
    body = {"quota_set": {"instances": 11, "cores": -1}}
    updated = check("quotas", "update_quota_set", version, cloud.admin.put(path, body, version=version))
    assert (updated["quota_set"]["instances"], updated["quota_set"]["cores"]) == (11, -1)
    assert cloud.demo.get("/v2.1/limits").json()["limits"]["absolute"]["maxTotalInstances"] == 11
    assert cloud.demo.put(path, body, version=version).status_code == 403
    assert cloud.stranger.get(path, version=version).status_code == 403
    check("quotas", "delete_quota", "2.1", cloud.admin.delete(path, version=version))
    assert cloud.demo.get(path).json()["quota_set"]["instances"] == 10
    class_path = "/v2.1/os-quota-class-sets/default"
    check("quota_classes", "get_quota_class_set", version, cloud.admin.get(class_path, version=version))
    body = {"quota_class_set": {"key_pairs": 100}}
    check("quota_classes", "update_quota_class_set", version, cloud.admin.put(class_path, body, version=version))


def test_a_quota_below_use_needs_force(cloud, compute):
    uuid = compute.boot("counted")
    path = f"/v2.1/os-quota-sets/{cloud.demo.project_id}"
    answer = cloud.admin.put(path, {"quota_set": {"instances": 0}})
    assert (answer.status_code, "instances" in answer.text) == (400, True)
    assert cloud.admin.put(path, {"quota_set": {"instances": 0, "force": True}}).status_code == 200
    cloud.admin.delete(path)
    assert cloud.admin.put(path, {"quota_set": {"instances": "many"}}).status_code == 400
    cloud.demo.delete(f"/v2.1/servers/{uuid}")


@pytest.mark.covers("S355")
@pytest.mark.parametrize("version", ["2.1", "2.13", "2.15", "2.64", HIGHEST])
def test_server_groups(cloud, compute, version):
    minor = int(version[2:])
    body = {"name": "together"} | ({"policy": "affinity"} if minor >= 64 else {"policies": ["affinity"]})
    answer = cloud.demo.post("/v2.1/os-server-groups", {"server_group": body}, version=version)
    made = check("server_groups", "create_show_server_group", version, answer)["server_group"]
    path = f"/v2.1/os-server-groups/{made['id']}"
    check("server_groups", "create_show_server_group", version, cloud.demo.get(path, version=version))
    check("server_groups", "list_server_groups", version, cloud.demo.get("/v2.1/os-server-groups", version=version))
    assert cloud.stranger.get(path).status_code == 404
    if version == HIGHEST:
        rules = {"server_group": {"name": "x", "policy": "affinity", "rules": {"max_server_per_host": 2}}}
        assert cloud.demo.post("/v2.1/os-server-groups", rules, version=version).status_code == 400
        quota = f"/v2.1/os-quota-sets/{cloud.demo.project_id}"
        cloud.admin.put(quota, {"quota_set": {"server_group_members": 1}})
        hinted = compute.body("member", min_count=2) | {"os:scheduler_hints": {"group": made["id"]}}
        refused = cloud.demo.post("/v2.1/servers", hinted, version="2.37")
        assert (refused.status_code, "too many servers in group" in refused.text) == (403, True)
        cloud.admin.delete(quota)
    check("server_groups", "delete_server_group", version, cloud.demo.delete(path, version=version))
    assert cloud.demo.get(path).status_code == 404


def test_extensions_and_removed_calls(cloud, compute):
    check("extensions", "list_extensions", "2.1", cloud.demo.get("/v2.1/extensions"))
    assert cloud.demo.get("/v2.1/extensions/os-keypairs").json()["extension"]["name"] == "Keypairs"
    assert cloud.demo.get("/v2.1/extensions/none").status_code == 404
    for path in (
        "os-cells",
        "os-cells/detail",
        "os-fixed-ips/10.0.0.1",
        "os-fping",
        "os-certificates/root",
        "os-agents",
    ):
        answer = cloud.admin.get(f"/v2.1/{path}", version=HIGHEST)
        assert answer.status_code == 410, path


def test_old_proxies_answer_below_2_36_and_not_after(cloud, compute):
    images = check("images", "list_images", "2.1", cloud.demo.get("/v2.1/images"))
    assert compute.image_id in [one["id"] for one in images["images"]]
    check("images", "list_images_details", "2.1", cloud.demo.get("/v2.1/images/detail"))
    check("images", "get_image", "2.1", cloud.demo.get(f"/v2.1/images/{compute.image_id}"))
    check("images", "image_metadata", "2.1", cloud.demo.get(f"/v2.1/images/{compute.image_id}/metadata"))
    assert cloud.demo.get("/v2.1/images?name=none").json()["images"] == []
    labels = [one["label"] for one in cloud.demo.get("/v2.1/os-networks").json()["networks"]]
    assert labels == ["private"]
    check("tenant_networks", "list_tenant_networks", "2.1", cloud.demo.get("/v2.1/os-tenant-networks"))
    check(
        "tenant_networks", "get_tenant_network", "2.1", cloud.demo.get(f"/v2.1/os-tenant-networks/{compute.network_id}")
    )
    for path in ("images", "os-networks", "os-tenant-networks"):
        assert cloud.demo.get(f"/v2.1/{path}", version="2.36").status_code == 404
    assert cloud.demo.get("/v2.1/images/none").status_code == 404


def test_a_quota_class_of_any_name_is_kept_and_only_default_counts(cloud, compute):
    body = {"quota_class_set": {"instances": 99, "floating_ips": 7}}
    answer = cloud.admin.put("/v2.1/os-quota-class-sets/mine", body)
    assert (answer.status_code, answer.json()["quota_class_set"]["floating_ips"]) == (200, 7)
    assert cloud.admin.get("/v2.1/os-quota-class-sets/mine").json()["quota_class_set"]["instances"] == 99
    assert cloud.demo.get("/v2.1/limits").json()["limits"]["absolute"]["maxTotalInstances"] == 10


def test_device_tags_of_networks_are_kept_in_the_versions_that_have_them(cloud, compute):
    networks = [{"uuid": compute.network_id, "tag": "front"}]
    for version, code in (("2.31", 400), ("2.36", 202), ("2.37", 400), ("2.42", 202)):
        answer = cloud.demo.post("/v2.1/servers", compute.body("nic", networks=networks), version=version)
        assert answer.status_code == code, version
    uuid = answer.json()["server"]["id"]
    compute.wait(uuid, "ACTIVE")
    [port] = cloud.demo.get(f"/v2.1/servers/{uuid}/os-interface", version="2.70").json()["interfaceAttachments"]
    assert port["tag"] == "front"
    for one in cloud.demo.get("/v2.1/servers?name=^nic$").json()["servers"]:
        cloud.demo.delete(f"/v2.1/servers/{one['id']}")
