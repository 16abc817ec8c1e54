"""Identity v3 as clients see it: tokens, scopes, projects, users, roles, application credentials."""

import json
import time

import pytest
from served import PASSWORD, Http, client_env, login

from nova0.controller.api.identity import application_credentials

V3 = "/identity/v3"


@pytest.mark.covers("S036")
def test_version_documents_link_to_the_public_address(cloud):
    root = cloud.nobody.get("/identity", allow_redirects=False)
    assert root.status_code == 300
    assert root.json()["versions"]["values"][0]["links"][0]["href"] == cloud.url + "/identity/v3/"
    assert cloud.nobody.get(V3).status_code == 200
    assert cloud.nobody.get(V3).json()["version"]["links"][0]["href"] == cloud.url + "/identity/v3/"


@pytest.mark.covers("S036", "S354")
def test_a_password_gives_a_scoped_token_with_roles_and_catalog(cloud):
    answer = cloud.nobody.post(V3 + "/auth/tokens", login("demo", "demo"))
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert token["user"]["name"] == "demo"
    assert token["project"]["name"] == "demo"
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    urls = {service["type"]: service["endpoints"][0]["url"] for service in token["catalog"]}
    assert urls["compute"] == cloud.url + "/v2.1"
    assert urls["identity"] == cloud.url + "/identity"
    assert token["expires_at"].endswith("Z")
    again = cloud.nobody.post(V3 + "/auth/tokens?nocatalog", login("demo", "demo"))
    assert "catalog" not in again.json()["token"]


@pytest.mark.covers("S354")
def test_the_old_v2_login_is_clearly_gone(cloud):
    assert cloud.nobody.post("/identity/v2.0/tokens", {"auth": {}}).status_code == 404


@pytest.mark.parametrize(
    ("name", "password"), [("demo", "wrong"), ("nosuchuser", PASSWORD), ("demo", ""), ("demo", "x" * 100000)]
)
def test_a_wrong_password_and_an_unknown_user_look_the_same(cloud, name, password):
    answer = cloud.nobody.post(V3 + "/auth/tokens", login(name, "demo", password))
    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "The request you have made requires authentication."


def test_a_password_is_never_logged(cloud, caplog):
    caplog.set_level("DEBUG")
    cloud.nobody.post(V3 + "/auth/tokens", login("demo", "demo", "s3cr3t-wrong"))
    cloud.nobody.post(V3 + "/auth/tokens", {"auth": {"identity": {"methods": ["nonsense"]}, "x": "s3cr3t-wrong"}})
    assert "s3cr3t-wrong" not in caplog.text


def test_a_malformed_login_names_the_field(cloud):
    answer = cloud.nobody.post(V3 + "/auth/tokens", {"auth": {"identity": {"methods": "password"}}})
    assert answer.status_code == 400
    assert "auth.identity.methods" in answer.json()["error"]["message"]


def test_scopes_other_than_a_project(cloud):
    body = login("admin", None)
    for scope, key in (
        ({"system": {"all": True}}, "system"),
        ({"domain": {"id": "default"}}, "domain"),
        ({"domain": {"name": "Default"}}, "domain"),
    ):
        token = cloud.nobody.post(V3 + "/auth/tokens", {"auth": body["auth"] | {"scope": scope}}).json()["token"]
        assert key in token
        assert "admin" in {role["name"] for role in token["roles"]}
    unscoped = cloud.nobody.post(V3 + "/auth/tokens", {"auth": body["auth"] | {"scope": "unscoped"}})
    assert "project" not in unscoped.json()["token"]
    assert "catalog" not in unscoped.json()["token"]
    me = Http(cloud.url, unscoped.headers["X-Subject-Token"])
    assert {one["name"] for one in me.get(V3 + "/auth/projects").json()["projects"]} == {"admin", "demo"}
    assert me.get("/network/v2.0/networks").status_code in (403, 404)


def test_no_scope_asked_means_the_default_project_and_no_role_means_401(cloud):
    assert cloud.nobody.post(V3 + "/auth/tokens", login("demo", None)).json()["token"]["project"]["name"] == "demo"
    assert cloud.nobody.post(V3 + "/auth/tokens", login("demo", "admin")).status_code == 401
    assert cloud.nobody.post(V3 + "/auth/tokens", login("demo", "no-such-project")).status_code == 401


def test_a_token_can_be_exchanged_and_keeps_its_end(cloud):
    first = cloud.nobody.post(V3 + "/auth/tokens", login("admin", "admin"))
    body = {
        "auth": {
            "identity": {"methods": ["token"], "token": {"id": first.headers["X-Subject-Token"]}},
            "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
        }
    }
    second = cloud.nobody.post(V3 + "/auth/tokens", body).json()["token"]
    assert second["project"]["name"] == "demo"
    assert second["expires_at"] == first.json()["token"]["expires_at"]
    assert second["audit_ids"][1] == first.json()["token"]["audit_ids"][0]


@pytest.mark.covers("S036")
def test_tokens_are_shown_checked_and_taken_back(cloud):
    text = cloud.nobody.post(V3 + "/auth/tokens", login("demo", "demo")).headers["X-Subject-Token"]
    mine = Http(cloud.url, text)
    subject = {"X-Subject-Token": text}
    assert mine.get(V3 + "/auth/tokens", headers=subject).json()["token"]["user"]["name"] == "demo"
    assert cloud.admin("HEAD", V3 + "/auth/tokens", headers=subject).status_code == 200
    assert cloud.admin("HEAD", V3 + "/auth/tokens", headers=subject).content == b""
    others = {"X-Subject-Token": cloud.admin.token}
    assert mine.get(V3 + "/auth/tokens", headers=others).status_code == 403
    assert mine.delete(V3 + "/auth/tokens", headers=subject).status_code == 204
    assert mine.get(V3 + "/auth/projects").status_code == 401
    assert cloud.admin.get(V3 + "/auth/tokens", headers=subject).status_code == 404


@pytest.mark.covers("S036")
def test_an_expired_token_is_401(cloud, monkeypatch):
    demo = cloud.demo
    assert demo.get(V3 + "/auth/projects").status_code == 200
    real = time.time
    monkeypatch.setattr("nova0.controller.identity.tokens.time.time", lambda: real() + 5 * 3600)
    assert demo.get(V3 + "/auth/projects").status_code == 401


def test_the_key_of_tokens_is_readable_by_its_owner_only(cloud):
    assert (cloud.services.state_dir / "token.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.covers("S341", "S348", "S352")
def test_projects_users_and_roles_from_making_to_removal(cloud):
    admin = cloud.admin
    project = admin.post(V3 + "/projects", {"project": {"name": "p1", "tags": ["a"]}}).json()["project"]
    user = admin.post(V3 + "/users", {"user": {"name": "u1", "password": "pw-u1"}}).json()["user"]
    assert "password" not in json.dumps(user).replace("password_expires_at", "")
    member = admin.get(V3 + "/roles?name=member").json()["roles"][0]
    grant = f"{V3}/projects/{project['id']}/users/{user['id']}/roles/{member['id']}"
    assert admin("HEAD", grant).status_code == 404
    assert admin.put(grant).status_code == 204
    assert admin.put(grant).status_code == 204
    assert admin("HEAD", grant).status_code == 204
    answer = cloud.nobody.post(V3 + "/auth/tokens", login("u1", "p1", "pw-u1"))
    mine = Http(cloud.url, answer.headers["X-Subject-Token"])
    assert mine.get(V3 + "/users").status_code == 403
    assert mine.get(f"{V3}/users/{user['id']}").status_code == 200
    assert [one["id"] for one in mine.get(f"{V3}/users/{user['id']}/projects").json()["projects"]] == [project["id"]]
    listed = admin.get(f"{V3}/role_assignments?user.id={user['id']}&include_names&effective").json()
    assert {one["role"]["name"] for one in listed["role_assignments"]} == {"member", "reader"}
    assert listed["role_assignments"][0]["scope"]["project"]["name"] == "p1"
    assert admin.delete(grant).status_code == 204
    assert mine.get(f"{V3}/users/{user['id']}").status_code == 401, "a role taken away counts at once"
    assert admin.delete(f"{V3}/users/{user['id']}").status_code == 204
    assert admin.delete(f"{V3}/projects/{project['id']}").status_code == 204
    assert admin.get(f"{V3}/projects/{project['id']}").status_code == 404


def test_two_of_one_name_conflict_and_bad_values_name_their_field(cloud):
    admin = cloud.admin
    assert admin.post(V3 + "/projects", {"project": {"name": "demo"}}).status_code == 409
    assert admin.post(V3 + "/users", {"user": {"name": "demo"}}).status_code == 409
    assert admin.post(V3 + "/roles", {"role": {"name": "admin"}}).status_code == 409
    for name in ("", "x" * 65, 7, None):
        answer = admin.post(V3 + "/projects", {"project": {"name": name}})
        assert answer.status_code == 400
        assert "project.name" in answer.json()["error"]["message"]
    assert admin.post(V3 + "/projects", {"project": {"description": "no name"}}).status_code == 400
    assert admin.post(V3 + "/projects").status_code == 400


@pytest.mark.covers("S353")
def test_only_an_admin_changes_identity(cloud):
    for role in (cloud.demo, cloud.reader):
        assert role.post(V3 + "/projects", {"project": {"name": "mine"}}).status_code == 403
        assert role.get(V3 + "/users").status_code == 403
        assert role.get(V3 + "/role_assignments").status_code == 403


def test_a_new_password_voids_old_tokens(cloud):
    admin = cloud.admin
    mine = cloud.new_user("changer", "demo", "member")
    path = f"{V3}/users/{mine.user_id}/password"
    wrong = {"user": {"original_password": "not it", "password": "new-one"}}
    assert mine.post(path, wrong).status_code == 401
    right = {"user": {"original_password": PASSWORD, "password": "new-one"}}
    assert mine.post(path, right).status_code == 204
    assert mine.get(V3 + "/auth/projects").status_code == 401
    assert cloud.nobody.post(V3 + "/auth/tokens", login("changer", "demo", "new-one")).status_code == 201
    assert admin.patch(f"{V3}/users/{mine.user_id}", {"user": {"enabled": False}}).status_code == 200
    assert cloud.nobody.post(V3 + "/auth/tokens", login("changer", "demo", "new-one")).status_code == 401


def test_an_application_credential_logs_in_within_its_bounds(cloud):
    demo = cloud.demo
    path = f"{V3}/users/{demo.user_id}/application_credentials"
    body = {"application_credential": {"name": "robot", "roles": [{"name": "reader"}]}}
    made = demo.post(path, body)
    assert made.status_code == 201
    credential = made.json()["application_credential"]
    assert demo.post(path, body).status_code == 409
    assert "secret" not in demo.get(f"{path}/{credential['id']}").json()["application_credential"]
    proof = {"id": credential["id"], "secret": credential["secret"]}
    auth = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}}
    answer = cloud.nobody.post(V3 + "/auth/tokens", auth)
    assert [role["name"] for role in answer.json()["token"]["roles"]] == ["reader"]
    robot = Http(cloud.url, answer.headers["X-Subject-Token"])
    more = {"application_credential": {"name": "robot2"}}
    assert robot.post(path, more).status_code == 403
    assert demo.post(path, {"application_credential": {"name": "r", "roles": [{"name": "admin"}]}}).status_code == 400
    proof["secret"] = "wrong"
    assert cloud.nobody.post(V3 + "/auth/tokens", auth).status_code == 401
    assert demo.delete(f"{path}/{credential['id']}").status_code == 204
    assert robot.get(V3 + "/auth/projects").status_code == 401


def test_a_user_has_so_many_application_credentials_and_no_more(cloud, monkeypatch):
    monkeypatch.setattr(application_credentials, "CREDENTIALS_MOST", 3)
    user = cloud.new_user("collector", "demo", "member")
    path = f"{V3}/users/{user.user_id}/application_credentials"
    made = [user.post(path, {"application_credential": {"name": f"n{number}"}}) for number in range(4)]
    assert [one.status_code for one in made] == [201, 201, 201, 403]
    assert "maximum of 3 already exceeded" in made[3].text
    assert user.delete(f"{path}/{made[0].json()['application_credential']['id']}").status_code == 204
    assert user.post(path, {"application_credential": {"name": "n3"}}).status_code == 201


def test_bootstrap_again_changes_nothing(cloud):
    from nova0.controller.identity.bootstrap import bootstrap

    before = cloud.admin.get(V3 + "/role_assignments").json()["role_assignments"]
    bootstrap(cloud.store, "another password")
    assert cloud.admin.get(V3 + "/role_assignments").json()["role_assignments"] == before
    assert cloud.nobody.post(V3 + "/auth/tokens", login("admin", "admin")).status_code == 201


@pytest.mark.covers("S357", "S358")
def test_everything_has_an_address_that_answers(cloud):
    admin = cloud.admin
    for kind in ("projects", "users", "roles", "domains", "services", "endpoints", "regions"):
        listed = admin.get(f"{V3}/{kind}").json()
        assert listed["links"]["self"].startswith(cloud.url)
        for one in listed[kind]:
            shown = admin.get(one["links"]["self"].removeprefix(cloud.url))
            assert shown.status_code == 200
            assert shown.json()[kind[:-1]] == one


@pytest.mark.covers("S036")
def test_openstack_client_token_and_catalog(clients, cloud):
    assert len(clients.openstack("token", "issue", "-f", "value", "-c", "id")) > 50
    names = clients.openstack("catalog", "list", "-f", "value", "-c", "Name").split()
    assert {"nova", "glance", "neutron", "keystone"} <= set(names)


@pytest.mark.slow
@pytest.mark.covers("S036")
def test_openstack_client_manages_projects_and_users(clients, cloud):
    clients = type(clients)(clients.bin_dir, client_env(cloud, "admin", "admin"))
    project = json.loads(clients.openstack("project", "create", "osc-p", "-f", "json"))
    clients.openstack("user", "create", "osc-u", "--password", "pw", "--project", "osc-p")
    clients.openstack("role", "add", "--project", "osc-p", "--user", "osc-u", "member")
    listed = clients.openstack("role", "assignment", "list", "--user", "osc-u", "--names", "-f", "value")
    assert "member osc-u@Default" in listed
    assert clients.openstack("project", "show", "osc-p", "-f", "value", "-c", "id") == project["id"]
    clients.openstack("user", "delete", "osc-u")
    clients.openstack("project", "delete", "osc-p")
    assert "osc-p" not in clients.openstack("project", "list", "-f", "value")
