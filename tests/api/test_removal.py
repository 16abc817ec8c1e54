"""A project that still has something stays, and says what; a user takes along what was only the user's."""

from __future__ import annotations

from served import PASSWORD, login

from nova0.controller.db.compute_tables import KeypairRow, QuotaRow, ServerGroupRow
from nova0.controller.db.network_tables import SecurityGroupRow, SecurityGroupRuleRow

pytest_plugins = ["compute_cloud"]
V3 = "/identity/v3"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1GnaZKnrXPvPDNLCKCnQ4F9nDfLxRN3iSuIwXcmNB0 me@here"


def test_a_project_with_servers_images_or_networks_is_not_deleted_and_says_what_is_left(cloud, compute):
    member = cloud.new_user("keeper", "kept", "member")
    project = f"{V3}/projects/{member.project_id}"
    server = compute.boot("left", http=member)
    image = member.post("/image/v2/images", {"name": "left"}).json()["id"]
    network = member.post("/network/v2.0/networks", {"network": {"name": "left"}}).json()["network"]["id"]
    group = member.post("/network/v2.0/security-groups", {"security_group": {"name": "left"}}).json()
    refused = cloud.admin.delete(project)
    assert refused.status_code == 409
    told = refused.json()["error"]["message"]
    for what in ("1 servers", "1 images", "1 networks", "1 security groups"):
        assert what in told
    assert member.get(f"/v2.1/servers/{server}").json()["server"]["status"] == "ACTIVE", "nothing was done"
    for path in (
        f"/v2.1/servers/{server}",
        f"/image/v2/images/{image}",
        f"/network/v2.0/networks/{network}",
        f"/network/v2.0/security-groups/{group['security_group']['id']}",
    ):
        assert member.delete(path).status_code == 204, path
    compute.wait(server, "gone", http=member)
    member.post("/v2.1/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}})
    assert cloud.admin.delete(project).status_code == 204
    left = cloud.store.read(
        lambda: [
            table.select().where(table.project_id == member.project_id).count()
            for table in (SecurityGroupRow, SecurityGroupRuleRow, ServerGroupRow, QuotaRow)
        ]
    )
    assert left == [0, 0, 0, 0]
    assert member.get("/v2.1/servers").status_code == 401


def test_a_domain_is_not_deleted_over_a_project_that_is_not(cloud, compute):
    admin = cloud.admin
    domain = admin.post(f"{V3}/domains", {"domain": {"name": "d"}}).json()["domain"]["id"]
    admin.post(f"{V3}/users", {"user": {"name": "inside", "domain_id": domain}})
    project = admin.post(f"{V3}/projects", {"project": {"name": "inside", "domain_id": domain}}).json()["project"]["id"]
    admin.post("/image/v2/images", {"name": "left", "owner": project})
    admin.patch(f"{V3}/domains/{domain}", {"domain": {"enabled": False}})
    refused = admin.delete(f"{V3}/domains/{domain}")
    assert refused.status_code == 409 and "1 images" in refused.text
    assert len(admin.get(f"{V3}/users?domain_id={domain}").json()["users"]) == 1, "all or nothing"


def test_a_users_keys_credentials_and_tokens_go_and_the_projects_servers_stay(cloud, compute):
    member = cloud.new_user("leaver", "demo", "member")
    server = compute.boot("stays", http=member)
    assert member.post("/v2.1/os-keypairs", {"keypair": {"name": "k", "public_key": KEY}}).status_code < 300
    made = member.post(
        f"{V3}/users/{member.user_id}/application_credentials", {"application_credential": {"name": "a"}}
    ).json()["application_credential"]
    assert cloud.admin.delete(f"{V3}/users/{member.user_id}").status_code == 204
    assert member.get("/v2.1/servers").status_code == 401
    secret = {"id": made["id"], "secret": made["secret"]}
    body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": secret}}}
    assert cloud.nobody.post(f"{V3}/auth/tokens", body).status_code == 401
    assert cloud.nobody.post(f"{V3}/auth/tokens", login("leaver", "demo", PASSWORD)).status_code == 401
    assert cloud.store.read(lambda: KeypairRow.select().where(KeypairRow.user_id == member.user_id).count()) == 0
    assert cloud.demo.get(f"/v2.1/servers/{server}").json()["server"]["status"] == "ACTIVE"
